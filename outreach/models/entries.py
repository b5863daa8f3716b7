"""Doors of sequences: which there are, who has come through them, and what stands against coming in. No decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.engine.graph import Entry
from outreach.models import segments
from outreach.models.base import Row, StartAgain, Tx
from outreach.models.segments import Condition
from outreach.vault import Sealed

# --- which there are ----------------------------------------------------------------------------------------


_KEEP = """
INSERT INTO sequence_entry (sequence_id, version_id, position, kind, name, channel, since, secret)
VALUES (%(sequence)s, %(version)s, %(position)s, %(kind)s, %(name)s, %(channel)s, %(now)s, %(secret)s)
ON CONFLICT (sequence_id, kind, name) DO UPDATE
   SET version_id = excluded.version_id, position = excluded.position, channel = excluded.channel"""


def replace(
    tx: Tx,
    sequence_id: int,
    version_id: int,
    entries: Sequence[Entry],
    secrets: Sequence[Sealed | None],
    now: datetime,
) -> None:
    """The doors of the sequence are these, in their order. One that was there before stays open since then, with its secret."""
    tx.execute(
        "DELETE FROM sequence_entry WHERE sequence_id = %s AND NOT EXISTS ("
        " SELECT 1 FROM unnest(%s::text[], %s::text[]) k (kind, name)"
        "  WHERE k.kind = sequence_entry.kind AND k.name = sequence_entry.name)",
        (sequence_id, [e.kind.value for e in entries], [e.name for e in entries]),
    )
    for position, (entry, secret) in enumerate(zip(entries, secrets, strict=True)):
        values = {
            "sequence": sequence_id, "version": version_id, "position": position, "kind": entry.kind.value, "name": entry.name,
            "channel": entry.channel.value if entry.channel else None, "now": now, "secret": secret,
        }  # fmt: skip
        tx.execute(_KEEP, values)


_DOOR = "e.id, e.sequence_id, e.version_id, e.position, e.kind, e.name, e.since, s.name AS sequence, s.state, v.version, v.content_hash"
#: A paused sequence lets people in, and they wait in it; an archived one does not.
_OPEN = (
    "FROM sequence_entry e JOIN sequence s ON s.id = e.sequence_id JOIN sequence_version v ON v.id = e.version_id"
    " WHERE s.state <> 'archived'"
)


def for_messages(tx: Tx, account_id: int) -> list[Row]:
    """Doors for who writes on this account's channel, with the account's name and those of its pools: the oldest first."""
    return tx.rows(
        f"""
        SELECT d.*, a.name AS account, array(SELECT p.name FROM sender_pool_account m JOIN sender_pool p ON p.id = m.pool_id
                                              WHERE m.account_id = a.id) AS pools
          FROM (SELECT {_DOOR}, e.channel {_OPEN} AND e.kind = 'message_in') d
          JOIN account a ON a.id = %s AND a.channel = d.channel ORDER BY d.id""",
        (account_id,),
    )


def segment_doors(tx: Tx) -> list[int]:
    """Doors by segment, by id."""
    return [row["id"] for row in tx.rows(f"SELECT e.id {_OPEN} AND e.kind = 'segment' ORDER BY e.id")]


def take_segment_door(tx: Tx, entry_id: int) -> Row | None:
    """A door by segment, its row locked. None: it is gone, or somebody else is at it."""
    return tx.row(
        f"SELECT {_DOOR}, e.walked_to, e.newest {_OPEN} AND e.kind = 'segment' AND e.id = %s FOR UPDATE OF e SKIP LOCKED",
        (entry_id,),
    )


def form_door(tx: Tx, sequence: str, form: str) -> Row | None:
    """A form's door, with its sealed secret."""
    return tx.row(
        f"SELECT {_DOOR}, e.secret, e.import_id {_OPEN} AND e.kind = 'form' AND s.name = %s AND e.name = %s",
        (sequence, form),
    )


def form_names(tx: Tx, sequence: str) -> list[str]:
    """The forms of a sequence."""
    rows = tx.rows(
        f"SELECT e.name {_OPEN} AND e.kind = 'form' AND s.name = %s ORDER BY e.position", (sequence,)
    )
    return [row["name"] for row in rows]


def set_secret(tx: Tx, entry_id: int, secret: Sealed) -> None:
    """What is signed with the former secret is refused from the commit on."""
    tx.execute("UPDATE sequence_entry SET secret = %s WHERE id = %s", (secret, entry_id))


def set_import(tx: Tx, entry_id: int, import_id: int) -> None:
    """The import under which the form's people are recorded."""
    tx.execute("UPDATE sequence_entry SET import_id = %s WHERE id = %s", (import_id, entry_id))


def take_submission(tx: Tx, sequence_id: int, form: str, content_id: str, now: datetime) -> int | None:
    """Take what a form posted; its number. None: it was taken before."""
    found: int | None = tx.value(
        "INSERT INTO form_submission (sequence_id, form, content_id, received_at) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING RETURNING id",
        (sequence_id, form, content_id, now),
    )
    return found


# --- what stands against coming in --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What there was between a person and us, as far as a door asks."""

    #: the last passage of theirs through this sequence: it has not ended, or when it did; both None: there was none
    active: bool
    ended_at: datetime | None
    #: the newest message of ours to any of their handles on the channel, by the engine or by hand
    spoken_at: datetime | None

    @property
    def been_here(self) -> bool:
        return self.active or self.ended_at is not None


def past(tx: Tx, person_id: int, sequence_id: int, *, channel: str, kinds: Sequence[str]) -> Past:
    """The person's past with this sequence, and on this channel with all accounts of ours. `kinds`: actions that are messages."""
    row = tx.one(
        """
        SELECT coalesce(bool_or(l.state = 'active'), false) AS active, max(l.ended_at) AS ended_at,
               (SELECT max(coalesce(t.sent_at, t.started_at))
                  FROM (SELECT y.id FROM identity y WHERE y.person_id = %(person)s OFFSET 0) y
                 CROSS JOIN LATERAL (SELECT * FROM execution x WHERE x.identity_id = y.id AND x.effect_by IS NOT NULL OFFSET 0) t
                 WHERE t.channel = %(channel)s AND t.kind = ANY(%(kinds)s)) AS spoken_at
          FROM lead l WHERE l.person_id = %(person)s AND l.sequence_id = %(sequence)s AND l.key IS NULL""",
        {"person": person_id, "sequence": sequence_id, "channel": channel, "kinds": list(kinds)},
    )
    return Past(**row)


# Beside the ledger: messages of ours whose echo nothing has explained yet, and those that were written to a stranger.
_BY_HAND = """
SELECT max(m.occurred_at) FROM ({who}) y (kind, value) CROSS JOIN LATERAL (
       SELECT x.occurred_at FROM inbound x
        WHERE x.state = 'digested' AND x.kind = 'message_out' AND x.person_id IS NULL AND x.peer_kind = y.kind AND x.peer = y.value
        UNION ALL
       SELECT x.occurred_at FROM inbound x
        WHERE x.state IN ('stored', 'waiting') AND x.kind = 'message_out' AND x.peer_kind = y.kind AND x.peer = y.value OFFSET 0) m"""


def written_by_hand(tx: Tx, person_id: int) -> datetime | None:
    """The newest message to this person that the ledger does not have yet, or has under nobody's name."""
    who = "SELECT i.kind, i.value FROM identity i WHERE i.person_id = %s OFFSET 0"
    found: datetime | None = tx.value(_BY_HAND.format(who=who), (person_id,))
    return found


def written_to_stranger(tx: Tx, peer_kind: str, peer: str) -> datetime | None:
    """The same to a peer whom nobody here is known by."""
    found: datetime | None = tx.value(_BY_HAND.format(who="SELECT %s::text, %s::text"), (peer_kind, peer))
    return found


# --- people -------------------------------------------------------------------------------------------------


def insert_stranger(
    tx: Tx, peer: Mapping[str, str], handle: Mapping[str, str] | None, now: datetime
) -> tuple[int, int]:
    """A new person who is known by the id that wrote to us (kind, value, shown, hmac), and by a handle that nobody has yet.

    Returns (person, identity). Raises StartAgain where somebody is known by that id by now.
    """
    person_id = int(tx.one("INSERT INTO person (created_at) VALUES (%s) RETURNING id", (now,))["id"])
    identity_id = _insert_identity(tx, person_id, peer, now)
    if identity_id is None:
        raise StartAgain("somebody is known by this id by now")
    named = _insert_identity(tx, person_id, handle, now) if handle is not None else None
    if named is not None:
        tx.write(
            "INSERT INTO identity_link (a, b, source, status, created_at) VALUES (%s, %s, 'resolved', 'active', %s)",
            (identity_id, named, now),
        )
    return person_id, identity_id


def _insert_identity(tx: Tx, person_id: int, identity: Mapping[str, str], now: datetime) -> int | None:
    row = tx.row(
        "INSERT INTO identity (kind, value, shown, hmac, person_id, created_at) VALUES (%s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (kind, value) DO NOTHING RETURNING id",
        (identity["kind"], identity["value"], identity["shown"], identity["hmac"], person_id, now),
    )
    return int(row["id"]) if row else None


_NEWCOMERS = """
SELECT p.id FROM (SELECT * FROM person x WHERE x.id > %s AND x.id <= %s) p
 WHERE p.merged_into IS NULL AND p.erased_at IS NULL AND p.suppressed_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM (SELECT * FROM lead o WHERE o.person_id = p.id OFFSET 0) l WHERE l.sequence_id = %s) AND ({condition})
 ORDER BY p.id LIMIT %s"""


def stretch(tx: Tx, after: int, walk: int) -> int | None:
    """The last of the next `walk` persons by id; None: there is nobody behind `after`."""
    found: int | None = tx.value(
        "SELECT max(id) FROM (SELECT id FROM person WHERE id > %s ORDER BY id LIMIT %s) x", (after, walk)
    )
    return found


def newcomers(
    tx: Tx, sequence_id: int, condition: Condition, *, after: int, until: int, limit: int
) -> list[int]:
    """Persons of that stretch, by id, who meet the condition and were never in the sequence; at most `limit`."""
    sql, params = segments.condition_sql(condition, of_few=True)
    text = _NEWCOMERS.format(condition=sql)
    return [row["id"] for row in tx.rows(text, (after, until, sequence_id, *params, limit))]


def set_walked(tx: Tx, entry_id: int, *, newest: int, walked_to: int) -> None:
    """Where the next look begins."""
    tx.execute(
        "UPDATE sequence_entry SET newest = %s, walked_to = %s WHERE id = %s", (newest, walked_to, entry_id)
    )
