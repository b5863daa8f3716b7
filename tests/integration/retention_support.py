"""Rows of a given age, and looks at what is left of them."""

from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx
from outreach.simulator import id_of_handle
from tests.stage import House


def received(house: House, content: str, at: datetime, **changes: Any) -> int:
    """A message that came in then, and was understood unless told otherwise; its number."""
    values: dict[str, Any] = {
        "channel": "twitter", "account_key": id_of_handle("we"), "content_id": content, "kind": "message_in", "peer_kind": "twitter_id",
        "peer": id_of_handle("ann"), "text": f"words of {content}", "state": "digested", "class": "neutral", "via": "webhook", "at": at,
        "account": house.db.read("SELECT id FROM account WHERE name = 'we'")[0]["id"], "person": None,
    }  # fmt: skip

    def work(tx: Tx) -> int:
        row = tx.one(
            "INSERT INTO inbound (channel, account_key, content_id, kind, account_id, peer_kind, peer, text, raw, via, occurred_at, received_at,"
            " state, class, person_id) VALUES (%(channel)s, %(account_key)s, %(content_id)s, %(kind)s, %(account)s, %(peer_kind)s, %(peer)s,"
            " %(text)s, '{\"id\": 1}', %(via)s, %(at)s, %(at)s, %(state)s, %(class)s, %(person)s) RETURNING id",
            values | {"content_id": content} | changes,
        )
        return int(row["id"])

    return house.db.run(work)


def words(house: House) -> dict[str, str | None]:
    """What each message says, by its content's id; raw forms are gone together with the words."""
    rows = house.db.read("SELECT content_id, text, raw::text AS raw, gone FROM inbound ORDER BY id")
    assert [row for row in rows if row["gone"] and (row["raw"] != "{}" or row["text"] is not None)] == []
    return {row["content_id"]: row["text"] for row in rows}


def bodies(house: House) -> list[int]:
    """Executions whose words are still here."""
    return [r["execution_id"] for r in house.db.read("SELECT execution_id FROM message_body ORDER BY 1")]


def logged(house: House, kind: str) -> list[Row]:
    """payload, actor of the events of that kind."""
    return house.db.read("SELECT actor, payload FROM event WHERE kind = %s ORDER BY id", (kind,))
