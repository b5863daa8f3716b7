"""What no transaction can do: emptying a database that is ours to empty."""

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
