"""Searches for what must not be somewhere: in every column of every table, and in everything that Redis holds."""

from collections.abc import Iterator, Mapping
from typing import Any

import redis

from outreach.models.base import Database

#: Tables may hold what is looked for: table -> its rows as text.
Dump = Mapping[str, list[str]]


def tables(db: Database) -> dict[str, list[str]]:
    """Every row of every table and partition, as text in the order of that text."""
    names = db.read(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname"
    )
    return {
        row["relname"]: [
            found["row"] for found in db.read(f"SELECT t::text AS row FROM {row['relname']} t ORDER BY 1")
        ]
        for row in names
    }


def in_tables(dump: Dump, prints: Mapping[str, str]) -> set[tuple[str, str]]:
    """(what, table) of every hit, in whatever case it is written."""
    return {
        (what, table)
        for table, rows in dump.items()
        for what, text in prints.items()
        if any(text.lower() in row.lower() for row in rows)
    }


def everything_in(client: Any) -> Iterator[tuple[str, str]]:
    """(key, what stands in it), whatever its type; bytes as Python shows them."""
    readers: Mapping[bytes, Any] = {
        b"string": lambda key: [client.get(key)],
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"hash": lambda key: list(client.hgetall(key).items()),
        b"stream": client.xrange,
    }
    for key in client.keys("*"):
        reader = readers.get(client.type(key))
        for value in reader(key) if reader else []:
            yield key.decode("utf-8", "replace"), str(value)


def in_redis(url: str, prints: Mapping[str, str]) -> set[tuple[str, str]]:
    """(what, key) of every hit, in keys and in values."""
    client = redis.Redis.from_url(url)
    try:
        found = list(everything_in(client))
    finally:
        client.close()
    return {
        (what, key)
        for key, value in found
        for what, text in prints.items()
        if text.lower() in key.lower() or text.lower() in value.lower()
    }
