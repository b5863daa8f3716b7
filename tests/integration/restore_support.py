"""Backups and restores of a house's database, as the next operator would make them: the copy becomes the database of the same engine."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg2

from outreach.limits.fences import Fences
from outreach.limits.limiter import MemoryLimiter
from outreach.models.base import Database
from outreach.models.instance import cluster_here
from outreach.offbox import FilePlace
from outreach.runtime.adopting import Adopted, Order, adopt
from outreach.runtime.context import Shared
from outreach.runtime.journaling import journal_place, take_out
from tests.stage import House


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of the database as it was, not looked at yet."""

    url: str


class Backups:
    """Makes copies, and removes them at the end."""

    def __init__(self) -> None:
        self._urls: list[str] = []
        self._opened: list[Database] = []

    def take(self, house: House) -> Backup:
        house.db.close()
        base, _, name = house.db.url.rpartition("/")
        copy = f"{name}_copy{len(self._urls)}"
        on_server(house.db.url, f"CREATE DATABASE {copy} TEMPLATE {name}")
        self._urls.append(f"{base}/{copy}")
        return Backup(f"{base}/{copy}")

    def restore(self, house: House, backup: Backup, *, moved: bool = True, redis_lost: bool = False) -> None:
        """The house goes on with the copy. `moved`: it can be told by where it is; `redis_lost`: nobody knows of claims any more."""
        db = Database(backup.url, pool_size=12)
        self._opened.append(db)
        if not moved:
            db.run(lambda tx: tx.execute("UPDATE instance SET cluster = %s", (cluster_here(tx),)))
        house.hints.clear()
        house.soon.clear()
        fences = Fences() if redis_lost else house.ctx.fences
        house.ctx = replace(house.ctx, db=db, limiter=MemoryLimiter(), together=Shared(), fences=fences)

    def close(self) -> None:
        for db in self._opened:
            db.close()
        for url in self._urls:
            on_server(
                url.rpartition("/")[0] + "/postgres", f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)"
            )


def backups() -> Iterator[Backups]:
    made = Backups()
    yield made
    made.close()


def on_server(url: str, statement: str) -> None:
    connection = psycopg2.connect(url.rpartition("/")[0] + "/postgres")
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def with_journal(house: House, url: str) -> None:
    house.ctx = replace(house.ctx, settings=replace(house.ctx.settings, journal_url=url))


def deliver(house: House) -> None:
    while take_out(house.ctx):
        pass


def adopted(house: House, **order: Any) -> Adopted:
    place = journal_place(house.ctx.settings, house.ctx)
    assert isinstance(place, FilePlace)
    lines = list(place.read()) if place.path.exists() else []
    return adopt(house.ctx, Order(**({"reason": "a test", "by": "test", "lines": lines} | order)))


def row(house: House) -> dict[str, Any]:
    return house.db.read("SELECT * FROM instance")[0]
