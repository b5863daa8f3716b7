"""Fixtures that every test may use: real servers for the whole session, an empty migrated database per test."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest

from outreach.embedded.servers import Servers, start_servers
from outreach.errors import ConfigurationError
from outreach.models.base import Database
from outreach.models.migrate import migrate
from outreach.settings import Settings

#: A Monday noon, UTC: inside every working window of the tests.
MONDAY = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Embedded Postgres and Valkey. Missing ones skip at home and fail in CI."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("servers"))
    try:
        with start_servers(settings, scratch=True) as started:
            yield started
    except ConfigurationError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no servers: {error}")


def _on_server(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@pytest.fixture(scope="session")
def template(servers: Servers) -> str:
    """The name of a migrated database that tests are copied from."""
    return make_template(servers.database_url)


def make_template(server_url: str) -> str:
    """Migrate a database there that others are copied from; its name."""
    _on_server(server_url, "CREATE DATABASE outreach_template")
    database = Database(_database_url(server_url, "outreach_template"), pool_size=1)
    migrate(database, MONDAY)
    database.close()
    return "outreach_template"


@pytest.fixture
def database_url(servers: Servers, template: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database of this test's own, migrated and empty."""
    name = f"test_{abs(hash(request.node.nodeid))}"
    _on_server(servers.database_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _database_url(servers.database_url, name)
    _on_server(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """An empty, migrated database."""
    database = Database(database_url, pool_size=12)
    yield database
    database.close()


@pytest.fixture
def tmp_file(tmp_path: Path) -> Path:
    """A path for one file."""
    return tmp_path / "file"


def _database_url(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    base = head.rsplit("/", 1)[0]
    return f"{base}/{name}" + (f"?{query}" if query else "")
