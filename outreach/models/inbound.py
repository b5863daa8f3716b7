"""What came in: stored raw under the content's own id, once and for ever; then matched."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from outreach.models.base import Hot, Row, Tx, columns_of, table_of, to_json

_INSERT = """
INSERT INTO inbound (channel, account_key, content_id, kind, account_id, peer_kind, peer, peer_handle, text, raw, via, occurred_at,
                     received_at, state, class, gone)
VALUES %s ON CONFLICT (channel, account_key, content_id) DO NOTHING RETURNING id, channel, account_key, content_id, kind"""


#: The same content told twice, with a handle only now. Whoever was erased comes without a peer, and stays so.
_NAME = """
UPDATE inbound m SET peer_handle = f.handle, state = CASE m.state WHEN 'unmatched' THEN 'stored' ELSE m.state END
  FROM (VALUES %s) AS f (channel, account_key, content_id, peer, handle)
 WHERE m.channel = f.channel AND m.account_key = f.account_key AND m.content_id = f.content_id
   AND m.peer = f.peer AND m.peer <> '' AND m.peer_handle = '' AND m.state IN ('stored', 'waiting', 'unmatched') RETURNING m.id, m.channel, m.account_key, m.content_id, m.kind"""


def store(tx: Tx, rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Those that are to be digested, the new ones and those that only now say who wrote them: id, kind, and what they are kept under."""
    names = [
        "channel",
        "account_key",
        "content_id",
        "kind",
        "account_id",
        "peer_kind",
        "peer",
        "peer_handle",
        "text",
        "raw",
        "via",
        "occurred_at",
        "received_at",
        "state",
        "class",
        "gone",
    ]
    values = [tuple(to_json(row["raw"]) if n == "raw" else row[n] for n in names) for row in rows]
    new = tx.insert_many(_INSERT, values, returning=True)
    keys = ("channel", "account_key", "content_id", "peer", "peer_handle")
    named = (
        {tuple(row[n] for n in keys) for row in rows if row["peer_handle"]} if len(new) < len(rows) else ()
    )
    return new + tx.insert_many(_NAME, sorted(named), returning=True)


def known_among(tx: Tx, keys: Sequence[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """(channel, account key, content id) of those that are stored already, and that no handle could tell us more about."""
    columns = [list(column) for column in zip(*keys, strict=True)] if keys else [[], [], []]
    rows = tx.rows(
        "SELECT m.channel, m.account_key, m.content_id FROM unnest(%s::text[], %s::text[], %s::text[]) q (channel, account_key, content_id)"
        " JOIN inbound m ON m.channel = q.channel AND m.account_key = q.account_key AND m.content_id = q.content_id"
        " WHERE m.peer_handle <> '' OR m.peer = '' OR m.state NOT IN ('stored', 'waiting', 'unmatched')",
        columns,
    )
    return {(row["channel"], row["account_key"], row["content_id"]) for row in rows}


def claim_for(tx: Tx, identity_ids: Sequence[int]) -> None:
    """Messages of strangers who have turned out to be these: to be digested again, where they may be answers to a lead of theirs.

    What our accounts wrote to them without our knowing them (by hand, or before a backup was restored) is a touch of theirs from now on. Older ones answer nothing that we have said. A stop among them holds already, by its identifier.
    """
    tx.execute(
        """
        UPDATE inbound m SET state = 'stored' FROM identity i
         WHERE i.id = ANY(%s) AND m.state = 'unmatched' AND m.kind = 'message_in' AND m.peer_kind = i.kind AND m.peer = i.value
           AND EXISTS (SELECT 1 FROM lead l WHERE l.person_id = i.person_id AND l.state = 'active' AND l.enrolled_at <= m.occurred_at)""",
        (list(identity_ids),),
    )
    tx.write(
        """
        UPDATE execution e SET identity_id = i.id FROM identity i JOIN inbound m ON m.peer_kind = i.kind AND m.peer = i.value
         WHERE i.id = ANY(%s) AND m.state = 'digested' AND m.kind = 'message_out' AND m.person_id IS NULL
           AND e.inbound_id = m.id AND e.identity_id IS NULL""",
        (list(identity_ids),),
    )


def read(tx: Tx, inbound_id: int) -> Row | None:
    """The row, or None."""
    return tx.row(
        "SELECT id, channel, account_key, content_id, kind, account_id, peer_kind, peer, peer_handle, text, raw, via, occurred_at,"
        " received_at, state, digest_after, person_id, class, gone FROM inbound WHERE id = %s",
        (inbound_id,),
    )


def take(tx: Tx, inbound_id: int) -> bool:
    """Lock the row for digestion. False: somebody has digested it."""
    return (
        tx.row(
            "SELECT 1 AS ok FROM inbound WHERE id = %s AND state IN ('stored', 'waiting') FOR UPDATE",
            (inbound_id,),
        )
        is not None
    )


def digested(
    tx: Tx,
    inbound_id: int,
    *,
    now: datetime,
    person_id: int | None,
    reply_class: str | None,
    state: str = "digested",
) -> None:
    """Understood (or unmatched: kept in sight)."""
    tx.write(
        "UPDATE inbound SET state = %s, digested_at = %s, person_id = %s, class = %s, digest_after = NULL WHERE id = %s",
        (state, now, person_id, reply_class, inbound_id),
    )


def wait(tx: Tx, inbound_id: int, until: datetime) -> None:
    """An echo that nothing open explains yet."""
    tx.write("UPDATE inbound SET state = 'waiting', digest_after = %s WHERE id = %s", (until, inbound_id))


def identity_of(tx: Tx, kind: str, value: str) -> Row | None:
    """The identity and its person."""
    return tx.row(
        "SELECT id, kind, value, hmac, person_id, status FROM identity WHERE kind = %s AND value = %s",
        (kind, value),
    )


def open_executions(tx: Tx, *, account_id: int, identity_id: int, kind: str) -> list[Row]:
    """What an own echo may belong to: open calls, claimed tasks, and settled sends of leads. What was made by hand is no call."""
    return tx.rows(
        """
        SELECT e.id, e.lead_id, e.state, e.body_hash, e.started_at, coalesce(e.call_deadline, e.sent_at) AS last_effect, e.provider_ids,
               e.inbound_id, t.id AS task_id
          FROM execution e LEFT JOIN task t ON t.execution_id = e.id AND t.state IN ('claimed', 'asked')
         WHERE e.account_id = %(account)s AND e.kind = %(kind)s AND e.started_at IS NOT NULL AND e.lead_id IS NOT NULL
           AND e.identity_id IN (SELECT %(identity)s::bigint
                                  UNION ALL
                                 SELECT k.b FROM identity_link k WHERE k.a = %(identity)s AND k.source = 'resolved' AND k.status = 'active'
                                  UNION ALL
                                 SELECT k.a FROM identity_link k WHERE k.b = %(identity)s AND k.source = 'resolved' AND k.status = 'active')
           AND (e.state IN ('calling', 'in_doubt', 'held', 'sent') OR t.id IS NOT NULL)
         ORDER BY e.started_at DESC LIMIT 50""",
        {"account": account_id, "kind": kind, "identity": identity_id},
    )


_ABOUT = Hot("""
SELECT q.id, x.person_id, x.settled, x.under_way FROM unnest(%s::bigint[]) q (id) CROSS JOIN LATERAL (
       SELECT i.person_id, bool_or(e.state = 'sent' AND m.content_id = 'dm:' || (e.provider_ids ->> 'dm_event_id')) AS settled,
              bool_or(e.state = 'calling') AS under_way
         FROM inbound m JOIN identity i ON i.kind = m.peer_kind AND i.value = m.peer
         JOIN execution e ON e.identity_id = i.id AND e.account_id = m.account_id AND e.channel = m.channel
        WHERE m.id = q.id GROUP BY i.person_id OFFSET 0) x""")


def about_own(tx: Tx, inbound_ids: Sequence[int]) -> list[Row]:
    """Of own messages to people we write to: is the send settled under the very id, or a call to them under way?"""
    return tx.rows(_ABOUT, (list(inbound_ids),))


_TOLD = {
    "channel": "text", "account_key": "text", "content_id": "text", "person_id": "bigint", "now": "timestamptz",
}  # fmt: skip
_TICK_OFF = Hot(f"""
UPDATE inbound m SET state = 'digested', digested_at = q.now, person_id = q.person_id, digest_after = NULL
  FROM {table_of(_TOLD)} WHERE m.channel = q.channel AND m.account_key = q.account_key AND m.content_id = q.content_id
   AND m.state IN ('stored', 'waiting')""")


def tick_off(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Own messages that say what the ledger knows already, wherever they are stored: digested. A row: the columns of _TOLD."""
    if rows:
        tx.write(_TICK_OFF, columns_of(_TOLD, rows))


def is_ours(tx: Tx, *, account_id: int, kind: str, dm_event_id: str, since: datetime) -> bool:
    """Does the ledger know this very message? Its effect was not before `since`."""
    return bool(
        dm_event_id
        and tx.value(
            "SELECT EXISTS (SELECT 1 FROM execution e WHERE e.account_id = %s AND e.kind = %s AND e.effect_by > %s"
            " AND e.provider_ids ->> 'dm_event_id' = %s)",
            (account_id, kind, since, dm_event_id),
        )
    )


def leads_in_contact(tx: Tx, person_id: int, by: datetime) -> list[int]:
    """Active leads of the person that had begun a call by then; by id. The caller has locked the person."""
    rows = tx.rows(
        """
        SELECT l.id FROM lead l WHERE l.person_id = %s AND l.state = 'active'
           AND EXISTS (SELECT 1 FROM execution e WHERE e.lead_id = l.id AND e.effect_by IS NOT NULL AND e.started_at <= %s)
         ORDER BY l.id FOR NO KEY UPDATE""",
        (person_id, by),
    )
    return [row["id"] for row in rows]


def leads_followed(tx: Tx, person_id: int, account_id: int) -> list[int]:
    """Active leads of the person for which this account followed them."""
    rows = tx.rows(
        """
        SELECT l.id FROM lead l WHERE l.person_id = %s AND l.state = 'active'
           AND EXISTS (SELECT 1 FROM execution e WHERE e.lead_id = l.id AND e.kind = 'FOLLOW_ON_TWITTER' AND e.account_id = %s
                          AND e.effect_by IS NOT NULL)
         ORDER BY l.id FOR NO KEY UPDATE""",
        (person_id, account_id),
    )
    return [row["id"] for row in rows]
