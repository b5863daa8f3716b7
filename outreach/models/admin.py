"""What no transaction can do: emptying a database that is ours to empty."""

from urllib.parse import urlsplit, urlunsplit

import psycopg2


def empty_database(url: str) -> None:
    """Drop everything in the database. For a demo's own only."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    finally:
        connection.close()


def lose_database(url: str) -> None:
    """Drop the database, whoever is connected, and make an empty one of its name: what a restore begins with. For a drill's own only."""
    parts = urlsplit(url)
    name = parts.path.lstrip("/")
    connection = psycopg2.connect(urlunsplit(parts._replace(path="/postgres")))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{name}"')
    finally:
        connection.close()
