"""T1's facts about steps that nobody has planned: the same statement over rows that are only supposed. Writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.models.base import Row, Tx
from outreach.models.claims import FACTS, Asked, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """A step as it would be planned now for somebody who is not enrolled. `asked.execution_id`: negative, and no row's."""

    asked: Asked
    person_id: int
    #: None: this person has no handle on the channel
    identity_id: int | None
    account_id: int
    app_id: int
    #: None: the sequence is not published yet
    sequence_id: int | None
    cursor: str
    kind: str
    channel: str


def _swapped(text: str, *swaps: tuple[str, str]) -> str:
    """The text with each part replaced, which must stand in it exactly once."""
    for old, new in swaps:
        assert text.count(old) == 1, f"T1's facts have changed, and what is supposed must follow: {old!r}"
        text = text.replace(old, new)
    return text


#: What T1 reads, read for rows that do not exist: nothing about permission is said twice in this house.
_SUPPOSED = _swapped(
    str(FACTS),
    (
        "unnest(%(ids)s::bigint[], %(pace_sinces)s::timestamptz[]) asked (id, pace_since)",
        "unnest(%(ids)s::bigint[], %(pace_sinces)s::timestamptz[], %(persons)s::bigint[], %(identities)s::bigint[], %(accounts)s::bigint[],"
        " %(apps)s::bigint[], %(sequences)s::bigint[], %(cursors)s::text[], %(kinds)s::text[], %(channels)s::text[])"
        " asked (id, pace_since, person_id, identity_id, account_id, app_id, sequence_id, cursor, kind, channel)",
    ),
    (
        "  FROM execution e\n  JOIN lead l ON l.id = e.lead_id\n",
        """  FROM (SELECT asked.id, 0::bigint AS lead_id, 'planned' AS state, 'start' AS cause, NULL::timestamptz AS cause_deadline,
               %(now)s::timestamptz AS first_due_at, NULL::timestamptz AS late_at, asked.kind, asked.channel, asked.account_id, asked.app_id,
               asked.identity_id, asked.sequence_id, 0 AS attempts, NULL::jsonb AS verdict) e
 CROSS JOIN (SELECT 0::bigint AS id, 'active' AS state, %(now)s::timestamptz AS due_at, 0 AS epoch, NULL::timestamptz AS paused_at,
               NULL::text AS pause_reason, asked.cursor, asked.person_id) l
""",
    ),
    ("  JOIN identity i ON i.id = e.identity_id\n", "  LEFT JOIN identity i ON i.id = e.identity_id\n"),
    ("  JOIN sequence s ON s.id = e.sequence_id\n", "  LEFT JOIN sequence s ON s.id = e.sequence_id\n"),
    ("s.state AS sequence_state", "coalesce(s.state, 'active') AS sequence_state"),
)


def read_only(tx: Tx) -> None:
    """From here on this transaction cannot write. Its first statement."""
    tx.write("SET TRANSACTION READ ONLY")


def facts(
    tx: Tx, supposed: Sequence[Supposed], *, now: datetime, message_kinds: Sequence[str]
) -> dict[int, Row]:
    """As models.claims.facts, by the id that was made up for each."""
    counted = [(one.asked.execution_id, window) for one in supposed for window in one.asked.windows]
    rows = tx.rows(
        _SUPPOSED,
        {
            "ids": [one.asked.execution_id for one in supposed],
            "pace_sinces": [one.asked.pace_since for one in supposed],
            "persons": [one.person_id for one in supposed],
            "identities": [one.identity_id for one in supposed],
            "accounts": [one.account_id for one in supposed],
            "apps": [one.app_id for one in supposed],
            "sequences": [one.sequence_id for one in supposed],
            "cursors": [one.cursor for one in supposed],
            "kinds": [one.kind for one in supposed],
            "channels": [one.channel for one in supposed],
            "now": now,
            "message_kinds": list(message_kinds),
            "owners": [owner for owner, _ in counted],
            "scopes": [window.scope for _, window in counted],
            "scope_ids": [window.scope_id for _, window in counted],
            "sinces": [window.after for _, window in counted],
            "mosts": [window.limit for _, window in counted],
        },
    )
    return {row["execution_id"]: row for row in rows}


_OWNER = {"account": "account_id = q.id", "app": "app_id = q.id", "sequence": "sequence_id = q.id",
          "instance": "app_id IN (SELECT a.id FROM app a)"}  # fmt: skip
_USED = "\nUNION ALL\n".join(
    f"SELECT q.i, (SELECT count(*) FROM execution e WHERE e.{owner} AND e.kind = q.kind AND e.effect_by > q.since) AS used"
    f" FROM asked q WHERE q.scope = '{scope}'"
    for scope, owner in _OWNER.items()
)


def used(tx: Tx, windows: Sequence[Window]) -> list[int]:
    """How many rows of the ledger count in each window now."""
    rows = tx.rows(
        f"""
        WITH asked AS (SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::timestamptz[]) WITH ORDINALITY
                                  q (scope, id, kind, since, i))
        {_USED} ORDER BY 1""",
        (
            [w.scope for w in windows],
            [w.scope_id for w in windows],
            [w.kind for w in windows],
            [w.after for w in windows],
        ),
    )
    return [int(row["used"]) for row in rows]


def queued(tx: Tx, account_ids: Sequence[int]) -> dict[tuple[int, str], int]:
    """Leads in flight whose next call is of this kind by this account."""
    rows = tx.rows(
        "SELECT account_id, next_kind, count(*) AS n FROM lead WHERE account_id = ANY(%s) AND due_at IS NOT NULL GROUP BY 1, 2",
        (list(account_ids),),
    )
    return {(row["account_id"], row["next_kind"]): int(row["n"]) for row in rows}
