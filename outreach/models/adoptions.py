"""Restored and cloned databases: what they remember, who adopted them, and what is still to be read before they send."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx, to_json

#: Why a step is cancelled that a lead had gone on from after the backup.
GONE_ON = "it had gone on after the backup"
#: Fences above all that were ever known: room for those that nobody had told of.
_ROOM = 1_000_000


def remembers(tx: Tx, fence: int, execution_id: int) -> bool:
    """Does this database know of that claim, or of one made after it of the same lead? Adopted, it need not know of older ones."""
    return bool(
        tx.value(
            """
            SELECT EXISTS (SELECT 1 FROM execution e WHERE e.id = %(id)s AND e.fence >= %(fence)s)
                OR EXISTS (SELECT 1 FROM execution e JOIN event v ON v.lead_id = e.lead_id
                            WHERE e.id = %(id)s AND v.kind = 'ActionClaimed' AND (v.payload ->> 'fence')::bigint >= %(fence)s)
                OR EXISTS (SELECT 1 FROM adoption a WHERE a.fence >= %(fence)s)""",
            {"id": execution_id, "fence": fence},
        )
    )


def backup_at(tx: Tx) -> datetime:
    """The last instant that this database knows of: its last event, sweep or message."""
    found: datetime = tx.value(
        """
        SELECT greatest((SELECT max(at) FROM event), (SELECT last_tick_at FROM instance), (SELECT created_at FROM instance),
                        (SELECT received_at FROM inbound ORDER BY id DESC LIMIT 1))"""
    )
    return found


def raise_fence(tx: Tx, above: int) -> int:
    """Every later fence is above this one, which is above `above` and all that were drawn here."""
    last = int(tx.value("SELECT last_value FROM fence"))
    return int(tx.value("SELECT setval('fence', %s)", (max(last, above) + _ROOM,)))


_ADOPT = """
UPDATE instance SET name = %(name)s, key = %(key)s, cluster = %(cluster)s, foreign_since = NULL, foreign_reason = NULL,
       recovering_since = %(now)s, simulated_only = simulated_only OR %(simulated)s,
       live_confirmed_at = CASE WHEN %(simulated)s THEN NULL ELSE live_confirmed_at END,
       live_confirmed_by = CASE WHEN %(simulated)s THEN NULL ELSE live_confirmed_by END"""


def adopt(tx: Tx, values: dict[str, Any]) -> None:
    """The instance is this database's from now on, under a new key, and recovering."""
    tx.execute(_ADOPT, values)


def wake_echoes(tx: Tx, now: datetime) -> None:
    """What our accounts did, and nobody could tell of which step while the database was not adopted, is read now."""
    tx.execute("UPDATE inbound SET digest_after = %s WHERE state = 'waiting'", (now,))


def insert(tx: Tx, values: dict[str, Any]) -> int:
    """Who adopted it, when, why, and from what it was restored."""
    return int(
        tx.value(
            "INSERT INTO adoption (at, by, reason, found, name_was, backup_at, fence)"
            " VALUES (%(now)s, %(by)s, %(reason)s, %(found)s, %(name_was)s, %(backup_at)s, %(fence)s) RETURNING id",
            values,
        )
    )


def newest(tx: Tx) -> Row | None:
    """The adoption that counts."""
    return tx.row("SELECT * FROM adoption ORDER BY id DESC LIMIT 1")


def note_replayed(
    tx: Tx, adoption_id: int, counts: dict[str, int], to_erase: Sequence[int], now: datetime
) -> None:
    """The journal has been applied."""
    tx.execute(
        "UPDATE adoption SET replayed_at = %s, replayed = %s, to_erase = %s WHERE id = %s",
        (now, to_json(counts), list(to_erase), adoption_id),
    )


def note_erased(tx: Tx, adoption_id: int, person_id: int) -> None:
    """Erased again."""
    tx.execute(
        "UPDATE adoption SET to_erase = array_remove(to_erase, %s) WHERE id = %s", (person_id, adoption_id)
    )


def forget_tokens(tx: Tx, now: datetime) -> int:
    """A clone's accounts: nothing of theirs can be called with. How many."""
    return tx.execute(
        "UPDATE account SET access_token = '', refresh_token = NULL, token_expires_at = NULL, state = 'disconnected',"
        " state_reason = 'a clone: its tokens were forgotten', state_at = %s, refresh_fence = NULL, refresh_deadline = NULL",
        (now,),
    )


# --- what the backup does not know -----------------------------------------------------------------------------------


def leads_of(tx: Tx, person_id: int, account_id: int, channel: str) -> list[Row]:
    """The person's active leads to whom this account speaks on this channel, with all that renders their texts. Locked, by id."""
    return tx.rows(
        """
        SELECT l.id AS lead_id, l.version_id, l.cursor, l.data, a.app_id, a.handle, a.name AS account_name,
               s.name AS sequence_name
          FROM lead l JOIN lead_binding b ON b.lead_id = l.id AND b.channel = %s AND b.account_id = %s
          JOIN account a ON a.id = b.account_id JOIN sequence s ON s.id = l.sequence_id
         WHERE l.person_id = %s AND l.state = 'active' ORDER BY l.id FOR NO KEY UPDATE OF l""",
        (channel, account_id, person_id),
    )


def answers(tx: Tx, person_id: int, channel: str, since: datetime) -> list[Row]:
    """What the person wrote on this channel since then, and was understood: id, content_id, class, occurred_at."""
    return tx.rows(
        "SELECT id, content_id, class, occurred_at FROM inbound WHERE person_id = %s AND occurred_at >= %s AND channel = %s"
        " AND kind = 'message_in' AND state = 'digested' AND class IS NOT NULL ORDER BY occurred_at, id",
        (person_id, since, channel),
    )


def note_said(
    tx: Tx, execution_id: int, *, variant: str | None, body_hash: str | None, at: datetime, touch: bool = True
) -> None:
    """A planned one was carried out after the backup; the caller settles it as sent in this transaction."""
    tx.execute(
        "UPDATE execution SET attempts = attempts + 1, variant = %s, body_hash = %s, touch = %s, started_at = %s, effect_by = %s"
        " WHERE id = %s",
        (variant, body_hash, touch, at, at, execution_id),
    )


def cancel_passed(tx: Tx, lead_id: int, now: datetime, *, but: str, identity_id: int) -> list[int]:
    """What the lead had planned before it went on: cancelled, by id. Steps of the kind `but` stay, and go to this identity."""
    tx.execute(
        "UPDATE execution SET identity_id = %s WHERE lead_id = %s AND state = 'planned' AND kind = %s",
        (identity_id, lead_id, but),
    )
    rows = tx.rows(
        "UPDATE execution SET state = 'cancelled', reason = %s, settled_at = %s, effect_by = NULL"
        " WHERE lead_id = %s AND state = 'planned' AND kind <> %s RETURNING id",
        (GONE_ON, now, lead_id, but),
    )
    return [row["id"] for row in rows]


def cancel_left_over(tx: Tx, now: datetime) -> int:
    """Steps that leads have gone on from, and that nothing showed to have been done."""
    return tx.execute(
        "UPDATE execution e SET state = 'cancelled', reason = %s, settled_at = %s, effect_by = NULL FROM lead l, sequence_action k"
        " WHERE l.id = e.lead_id AND k.id = e.action_id AND e.state = 'planned' AND (k.key <> l.cursor OR l.state <> 'active')",
        (GONE_ON, now),
    )


_FOLLOWS = """
  FROM execution e JOIN identity i ON i.id = e.identity_id
  JOIN account a ON a.id = e.account_id AND a.state <> 'disconnected'
 WHERE e.state = 'planned' AND e.kind = 'FOLLOW_ON_TWITTER' AND i.status = 'active'"""


def want_follows(tx: Tx, adopted_at: datetime, now: datetime) -> None:
    """Whether we follow them already is looked up for everybody whom a lead is about to follow."""
    tx.execute(
        f"INSERT INTO relationship (account_id, identity_id, wanted_at) SELECT DISTINCT e.account_id, e.identity_id, %(now)s::timestamptz {_FOLLOWS} AND i.kind = 'twitter_id'"
        " ON CONFLICT (account_id, identity_id) DO UPDATE SET wanted_at = excluded.wanted_at"
        " WHERE (relationship.checked_at IS NULL OR relationship.checked_at < %(at)s)"
        "   AND (relationship.wanted_at IS NULL OR relationship.wanted_at < %(at)s)",
        {"now": now, "at": adopted_at},
    )


def planned_follows(tx: Tx, account_id: int, identity_ids: Sequence[int]) -> list[int]:
    """Planned follows of these people by this account, by id."""
    rows = tx.rows(
        f"SELECT e.id {_FOLLOWS} AND e.account_id = %(account)s AND e.identity_id IN (SELECT unnest(%(ids)s::bigint[])"
        " UNION SELECT k.a FROM identity_link k WHERE k.b = ANY(%(ids)s) AND k.source = 'resolved' AND k.status = 'active'"
        " UNION SELECT k.b FROM identity_link k WHERE k.a = ANY(%(ids)s) AND k.source = 'resolved' AND k.status = 'active') ORDER BY e.id",
        {"account": account_id, "ids": list(identity_ids)},
    )
    return [row["id"] for row in rows]


def point_follows(tx: Tx) -> None:
    """Planned follows of handles whose id has been learnt meanwhile go to that id: it is what a look-up answers for."""
    tx.execute(
        """
        UPDATE execution e SET identity_id = o.id FROM identity i, identity_link k, identity o
         WHERE e.state = 'planned' AND e.kind = 'FOLLOW_ON_TWITTER' AND i.id = e.identity_id AND i.kind = 'twitter_handle'
           AND k.source = 'resolved' AND k.status = 'active' AND i.id IN (k.a, k.b)
           AND o.id = CASE WHEN k.a = i.id THEN k.b ELSE k.a END AND o.kind = 'twitter_id'"""
    )


def followed_already(tx: Tx, adopted_at: datetime) -> list[int]:
    """Planned follows of people of whom a look-up since then says that they are followed, by id."""
    rows = tx.rows(
        f"SELECT e.id {_FOLLOWS} AND EXISTS (SELECT 1 FROM relationship r WHERE r.account_id = e.account_id"
        " AND r.identity_id = e.identity_id AND r.checked_at >= %s AND r.we_follow) ORDER BY e.id",
        (adopted_at,),
    )
    return [row["id"] for row in rows]


#: Due, and nobody has planned their step yet.
_UNPLANNED = """
  FROM lead l JOIN sequence s ON s.id = l.sequence_id JOIN person p ON p.id = l.person_id
 WHERE l.state = 'active' AND l.waiting_on = 'time' AND l.due_at <= %(now)s AND l.paused_at IS NULL AND p.paused_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM execution e WHERE e.lead_id = l.id AND e.state IN ('planned', 'calling', 'in_doubt', 'held'))"""


def unplanned(tx: Tx, now: datetime, limit: int) -> list[int]:
    """Leads whose next step nobody has planned yet, by id: what it is must be known before it can be read whether it was done."""
    return [
        row["id"]
        for row in tx.rows(
            f"SELECT l.id {_UNPLANNED} ORDER BY l.id LIMIT %(limit)s", {"now": now, "limit": limit}
        )
    ]


def unresolved_accounts(tx: Tx) -> list[int]:
    """Accounts about to follow people of whom only a handle is known, by id."""
    return [
        row["account_id"]
        for row in tx.rows(
            f"SELECT DISTINCT e.account_id {_FOLLOWS} AND i.kind = 'twitter_handle' ORDER BY e.account_id"
        )
    ]


def recovered_follow(tx: Tx, account_id: int, identity_id: int, at: datetime) -> int | None:
    """The follow that a look-up settled, later than it was really done (`at`), and that no echo has told of."""
    found: int | None = tx.value(
        "SELECT id FROM execution WHERE account_id = %s AND identity_id = %s AND kind = 'FOLLOW_ON_TWITTER' AND state = 'sent'"
        " AND fence IS NULL AND lead_id IS NOT NULL AND inbound_id IS NULL AND started_at >= %s ORDER BY id LIMIT 1",
        (account_id, identity_id, at),
    )
    return found


def waits_for(tx: Tx, adoption_id: int, *, channels: Sequence[str]) -> Row:
    """What still stands between an adopted database and its sends: `replayed`, `to_erase`, `open_calls`, `echoes` not read yet, and accounts whose inbox
    (`unread`) or planned follows (`unlooked`) have not been read since it was adopted, each with its state and why."""
    adoption = tx.one("SELECT at, replayed_at, to_erase FROM adoption WHERE id = %s", (adoption_id,))
    unread = tx.rows(
        """
        SELECT a.id, a.name, a.state, a.state_reason, w.read_up_to, w.failed
          FROM account a LEFT JOIN watermark w ON w.account_id = a.id AND w.stream = 'inbox'
         WHERE a.state <> 'disconnected' AND a.channel = ANY(%s) AND (w.read_up_to IS NULL OR w.read_up_to < %s) ORDER BY a.name""",
        (list(channels), adoption["at"]),
    )
    unlooked = tx.rows(
        f"SELECT a.id, a.name, count(*) AS follows {_FOLLOWS} AND NOT EXISTS (SELECT 1 FROM relationship r WHERE r.account_id = e.account_id"
        " AND r.identity_id = e.identity_id AND r.checked_at >= %s) GROUP BY a.id, a.name ORDER BY a.name",
        (adoption["at"],),
    )
    echoes = tx.value(
        "SELECT count(*) FROM inbound WHERE state = 'waiting' AND received_at <= %s", (adoption["at"],)
    )
    open_calls = tx.value("SELECT count(*) FROM execution WHERE state IN ('calling', 'in_doubt')")
    return {
        "replayed": adoption["replayed_at"] is not None, "to_erase": len(adoption["to_erase"]), "open_calls": open_calls, "echoes": echoes,
        "unread": unread, "unlooked": unlooked,
    }  # fmt: skip


def release(tx: Tx, adoption_id: int, by: str, now: datetime) -> None:
    """Sends go on."""
    tx.execute("UPDATE adoption SET released_at = %s, released_by = %s WHERE id = %s", (now, by, adoption_id))
    tx.execute("UPDATE instance SET recovering_since = NULL")
