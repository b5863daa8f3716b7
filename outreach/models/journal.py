"""The off-box journal's rows: written with what they tell of, numbered when they are first taken out, delivered in that order."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx

#: Advisory lock: one process at a time numbers and takes out.
_JOURNAL_LOCK = 1012


def put(tx: Tx, kind: str, body: Mapping[str, Any], at: datetime) -> None:
    """One line, in the transaction of what it tells of. `body`: digests, words and numbers; never an identifier in the clear."""
    tx.write(
        "INSERT INTO journal (kind, body, at) VALUES (%s, %s, %s)",
        (kind, canonical({**body, "kind": kind, "at": at.isoformat()}), at),
    )


#: Sources that say how somebody became suppressed, and nothing of anybody. Others stay inside.
_TOLD_SOURCES = frozenset(
    {"reply", "block", "operator", "opt_out_page", "import", "merge", "erasure", "task"}
)


def tell(
    tx: Tx, kind: str, digests: Sequence[str], at: datetime, *, person: bool, source: str = "", channel: str | None = None
) -> None:  # fmt: skip
    """A line about somebody: suppressed, lifted or erased. `person`: the human is meant, by all that they carry; else one identifier.

    Words of people stay inside: they may name somebody.
    """
    if not digests:
        return
    body = {"hmacs": list(digests), "person": person, "channel": channel, "fence": newest_fence(tx)}
    if kind == "suppressed":
        body["source"] = source if source in _TOLD_SOURCES else "other"
    put(tx, kind, body, at)


def canonical(body: Mapping[str, Any]) -> str:
    """A line's JSON: the same content is the same text."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def newest_fence(tx: Tx) -> int:
    """The highest fence ever drawn here, used or not."""
    return int(tx.value("SELECT last_value FROM fence"))


def digests_of(tx: Tx, person_id: int) -> list[str]:
    """The digests of a person's identifiers, sorted: what stands for them in another database."""
    rows = tx.rows("SELECT DISTINCT hmac FROM identity WHERE person_id = %s ORDER BY hmac", (person_id,))
    return [row["hmac"] for row in rows]


# --- taking out ------------------------------------------------------------------------------------------------------


def claim(tx: Tx, *, now: datetime, lease: datetime) -> bool:
    """Take the delivery, until `lease`. False: somebody has it, or it is not due again yet."""
    tx.execute("SELECT pg_advisory_xact_lock(%s)", (_JOURNAL_LOCK,))
    return bool(
        tx.execute(
            "UPDATE journal_delivery SET leased_until = %(lease)s"
            " WHERE (leased_until IS NULL OR leased_until <= %(now)s) AND (due_at IS NULL OR due_at <= %(now)s)",
            {"now": now, "lease": lease},
        )
    )


def number_waiting(tx: Tx, limit: int) -> list[Row]:
    """The first lines that are still to go. Their numbers are given now, in the order of their rows. The caller has the delivery."""
    name, last = tx.value("SELECT name FROM instance"), last_number(tx)
    rows = tx.rows("SELECT id, body FROM journal WHERE number IS NULL ORDER BY id LIMIT %s", (limit,))
    for number, row in enumerate(rows, last + 1):
        line = canonical({**json.loads(row["body"]), "instance": name, "n": number})
        tx.write("UPDATE journal SET number = %s, line = %s WHERE id = %s", (number, line, row["id"]))
    return tx.rows(
        "SELECT number, line FROM journal WHERE delivered_at IS NULL AND number IS NOT NULL ORDER BY number LIMIT %s",
        (limit,),
    )


def last_confirmed(tx: Tx) -> int:
    """The highest number that is known to stand outside; 0: none."""
    return int(tx.value("SELECT coalesce(max(number), 0) FROM journal WHERE delivered_at IS NOT NULL"))


def last_number(tx: Tx) -> int:
    """The highest number ever given here; 0: none."""
    return int(tx.value("SELECT coalesce(max(number), 0) FROM journal"))


def line_of(tx: Tx, number: int) -> str | None:
    """The line that has this number here."""
    found: str | None = tx.value("SELECT line FROM journal WHERE number = %s", (number,))
    return found


def delivered(tx: Tx, up_to: int | None, now: datetime) -> None:
    """Everything up to this number stands outside (None: there was nothing to write, and the outside agrees with us)."""
    if up_to is not None:
        tx.execute(
            "UPDATE journal SET delivered_at = %s WHERE number <= %s AND delivered_at IS NULL", (now, up_to)
        )
    tx.execute(
        "UPDATE journal_delivery SET leased_until = NULL, due_at = NULL, attempts = 0, reason = NULL, checked_at = %s",
        (now,),
    )


def put_off(tx: Tx, reason: str, until: datetime) -> None:
    """It was not taken: not before `until`."""
    tx.execute(
        "UPDATE journal_delivery SET leased_until = NULL, due_at = %s, attempts = attempts + 1, reason = %s",
        (until, reason),
    )


def any_due(tx: Tx, *, now: datetime, unchecked_since: datetime) -> bool:
    """Is there something to deliver now, or has nobody looked at the outside since then?"""
    return bool(
        tx.value(
            "SELECT (d.due_at IS NULL OR d.due_at <= %(now)s) AND (d.leased_until IS NULL OR d.leased_until <= %(now)s)"
            " AND (d.checked_at IS NULL OR d.checked_at <= %(unchecked)s OR EXISTS (SELECT 1 FROM journal WHERE delivered_at IS NULL))"
            " FROM journal_delivery d",
            {"now": now, "unchecked": unchecked_since},
        )
    )


def standing(tx: Tx) -> Row:
    """How many lines wait, since when, and what stood in the way the last time; `last`: the number of the newest that is outside."""
    return tx.one(
        """
        SELECT (SELECT count(*) FROM journal WHERE delivered_at IS NULL) AS waiting,
               (SELECT min(at) FROM journal WHERE delivered_at IS NULL) AS oldest,
               (SELECT max(number) FROM journal WHERE delivered_at IS NOT NULL) AS last, d.reason, d.attempts, d.checked_at
          FROM journal_delivery d"""
    )


# --- coming back -----------------------------------------------------------------------------------------------------


def note_applied(tx: Tx, number: int, line: str, body: Mapping[str, Any], now: datetime) -> None:
    """A line that stands outside has been applied here: it is ours from now on. One of our own rows that never learnt that it had gone
    out is this very line."""
    body = {key: value for key, value in body.items() if key not in ("n", "instance")}
    same = tx.value(
        "SELECT id FROM journal WHERE delivered_at IS NULL AND body = %s ORDER BY id LIMIT 1",
        (canonical(body),),
    )
    if same is not None:
        tx.execute(
            "UPDATE journal SET number = %s, line = %s, delivered_at = %s WHERE id = %s",
            (number, line, now, same),
        )
        return
    tx.execute(
        "INSERT INTO journal (kind, body, at, number, line, delivered_at) VALUES (%s, %s, %s, %s, %s, %s)",
        (body.get("kind", ""), canonical(body), body.get("at") or now, number, line, now),
    )


def is_delivered(tx: Tx, number: int) -> bool:
    """Does this database believe that its line of this number stands outside?"""
    return bool(
        tx.value(
            "SELECT EXISTS (SELECT 1 FROM journal WHERE number = %s AND delivered_at IS NOT NULL)", (number,)
        )
    )


def confirm(tx: Tx, number: int) -> None:
    """It was seen to stand outside."""
    tx.write("UPDATE journal SET delivered_at = coalesce(delivered_at, at) WHERE number = %s", (number,))


def is_erased(tx: Tx, person_id: int) -> bool:
    """What they asked for outlives every lift."""
    return bool(tx.value("SELECT erased_at IS NOT NULL FROM person WHERE id = %s", (person_id,)))


def forget_all(tx: Tx) -> None:
    """A clone's: its own lines begin with number 1."""
    tx.execute("DELETE FROM journal")
    tx.execute(
        "UPDATE journal_delivery SET leased_until = NULL, due_at = NULL, attempts = 0, reason = NULL, checked_at = NULL"
    )


def take_back_numbers(tx: Tx, above: int) -> None:
    """Numbers that were given here and never confirmed: the journal outside may have given them to other lines since."""
    tx.execute(
        "UPDATE journal SET number = NULL, line = NULL WHERE delivered_at IS NULL AND number > %s", (above,)
    )


def known_identities(tx: Tx, after: int, limit: int) -> list[Row]:
    """The next identifiers whose words we have: id, kind, value, hmac."""
    return tx.rows(
        "SELECT id, kind, value, hmac FROM identity WHERE id > %s AND value NOT LIKE 'erased:%%' ORDER BY id LIMIT %s",
        (after, limit),
    )


def persons_by(tx: Tx, digests: Sequence[str]) -> list[int]:
    """Everybody who carries one of these identifiers, by id."""
    rows = tx.rows(
        "SELECT DISTINCT i.person_id FROM identity i JOIN person p ON p.id = i.person_id"
        " WHERE i.hmac = ANY(%s) AND p.merged_into IS NULL ORDER BY i.person_id",
        (list(digests),),
    )
    return [row["person_id"] for row in rows]
