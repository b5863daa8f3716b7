"""Tasks: what a human must do or decide. One holder, one deadline; an expired claim is asked about, never offered as new."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from outreach.errors import NotFound
from outreach.models.base import Row, Tx, to_json

_COLUMNS = """
t.id, t.kind, t.lead_id, t.execution_id, t.person_id, t.inbound_id, t.state, t.reason, t.detail, t.holder, t.claimed_at, t.deadline,
t.expires_at, t.outcome, t.closed_at, t.closed_by, t.told_at, t.created_at, e.kind AS action_kind, e.channel, e.account_id,
e.identity_id, e.late_at, e.sent_at, e.done_by, e.observed, a.name AS account"""
_FROM = (
    "FROM task t LEFT JOIN execution e ON e.id = t.execution_id LEFT JOIN account a ON a.id = e.account_id"
)
_LIVE = "('open', 'claimed', 'asked')"


def open_one(tx: Tx, *, kind: str, person_id: int, reason: str, now: datetime, lead_id: int | None = None, execution_id: int | None = None,
             inbound_id: int | None = None, detail: dict[str, Any] | None = None, expires_at: datetime | None = None) -> int | None:  # fmt: skip
    """A new task; None where one is open for the execution."""
    row = tx.row(
        f"""
        INSERT INTO task (kind, lead_id, execution_id, person_id, inbound_id, reason, detail, expires_at, created_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (execution_id) WHERE state IN {_LIVE} DO NOTHING RETURNING id""",
        (kind, lead_id, execution_id, person_id, inbound_id, reason, to_json(detail or {}), expires_at, now),
    )
    return int(row["id"]) if row else None


def read(tx: Tx, task_id: int) -> Row:
    """Raises NotFound."""
    row = tx.row(f"SELECT {_COLUMNS} {_FROM} WHERE t.id = %s", (task_id,))
    if row is None:
        raise NotFound(f"no task {task_id}", hint="outreach task list shows those that are open")
    return row


def of_execution(tx: Tx, execution_id: int) -> Row | None:
    """The open task of a planned or held execution."""
    return tx.row(
        f"SELECT {_COLUMNS} {_FROM} WHERE t.execution_id = %s AND t.state IN {_LIVE}",
        (execution_id,),
    )


def of_reply(tx: Tx, inbound_id: int, person_id: int) -> int | None:
    """The task that asks what this reply means, while nobody has said."""
    found: int | None = tx.value(
        f"SELECT id FROM task WHERE person_id = %s AND kind = 'decide' AND inbound_id = %s AND state IN {_LIVE}",
        (person_id, inbound_id),
    )
    return found


def has_questions(tx: Tx, person_id: int) -> bool:
    """Does another reply of theirs wait to be read by a human?"""
    return bool(
        tx.value(
            f"SELECT EXISTS (SELECT 1 FROM task WHERE person_id = %s AND kind = 'decide' AND inbound_id IS NOT NULL AND state IN {_LIVE})",
            (person_id,),
        )
    )


def listed(
    tx: Tx,
    *,
    states: tuple[str, ...],
    limit: int,
    kind: str | None = None,
    action: str | None = None,
    holder: str | None = None,
) -> list[Row]:
    """The oldest first. `kind`: of task; `action`: of what is to be done."""
    return tx.rows(
        f"""
        SELECT {_COLUMNS} {_FROM} WHERE t.state = ANY(%(states)s) AND (%(kind)s::text IS NULL OR t.kind = %(kind)s)
           AND (%(action)s::text IS NULL OR e.kind = %(action)s) AND (%(holder)s::text IS NULL OR t.holder = %(holder)s)
         ORDER BY t.id LIMIT %(limit)s""",
        {"states": list(states), "kind": kind, "action": action, "holder": holder, "limit": limit},
    )


def offered(
    tx: Tx, *, after_id: int, now: datetime, limit: int, action: str | None = None, account: str | None = None
) -> list[Row]:
    """Acts that nobody has begun, the oldest first: id, action_kind, account_id."""
    return tx.rows(
        """
        SELECT t.id, e.kind AS action_kind, e.account_id
          FROM task t JOIN execution e ON e.id = t.execution_id JOIN account a ON a.id = e.account_id
         WHERE t.state = 'open' AND t.kind = 'act' AND t.id > %(after)s AND (t.expires_at IS NULL OR t.expires_at > %(now)s)
           AND (%(action)s::text IS NULL OR e.kind = %(action)s) AND (%(account)s::text IS NULL OR a.name = %(account)s)
         ORDER BY t.id LIMIT %(limit)s""",
        {"after": after_id, "now": now, "action": action, "account": account, "limit": limit},
    )


def held_by(tx: Tx, holder: str) -> list[Row]:
    """What somebody has in hand, the oldest first: what they are asked about before what they are doing."""
    return tx.rows(
        f"SELECT {_COLUMNS} {_FROM} WHERE t.holder = %s AND t.told_at IS NULL AND t.state IN ('claimed', 'asked')"
        " ORDER BY t.state, t.id",
        (holder,),
    )


def untold(tx: Tx, holder: str) -> list[Row]:
    """What was taken out of somebody's hands, and they have not been told."""
    return tx.rows(
        f"SELECT {_COLUMNS} {_FROM} WHERE t.holder = %s AND t.told_at IS NULL AND t.state = 'void' ORDER BY t.id",
        (holder,),
    )


def tell(tx: Tx, task_ids: Sequence[int], now: datetime) -> None:
    """Their holder has been told."""
    if task_ids:
        tx.execute(
            "UPDATE task SET told_at = %s WHERE id = ANY(%s) AND state = 'void' AND told_at IS NULL",
            (now, list(task_ids)),
        )


def claim(tx: Tx, task_id: int, holder: str, *, now: datetime, deadline: datetime) -> bool:
    """open -> claimed. False: somebody has it."""
    return bool(
        tx.execute(
            "UPDATE task SET state = 'claimed', holder = %s, claimed_at = %s, deadline = %s WHERE id = %s AND state = 'open'",
            (holder, now, deadline, task_id),
        )
    )


def release(tx: Tx, task_id: int) -> bool:
    """claimed or asked -> open: its holder says that it was not done. False: it is neither."""
    return bool(
        tx.execute(
            "UPDATE task SET state = 'open', holder = NULL, claimed_at = NULL, deadline = NULL WHERE id = %s AND state IN ('claimed', 'asked')",
            (task_id,),
        )
    )


def close(tx: Tx, task_id: int, state: str, outcome: str, by: str, now: datetime) -> bool:
    """-> done, skipped or void. False: it was closed already."""
    return bool(
        tx.execute(
            f"UPDATE task SET state = %s, outcome = %s, closed_by = %s, closed_at = %s WHERE id = %s AND state IN {_LIVE}",
            (state, outcome, by, now, task_id),
        )
    )


def note_done_before(tx: Tx, task_id: int, now: datetime) -> None:
    """Void, but its holder had done it by then."""
    tx.execute(
        "UPDATE task SET outcome = outcome || ', done before', told_at = %s WHERE id = %s AND state = 'void'",
        (now, task_id),
    )


def void_of_lead(tx: Tx, lead_id: int, reason: str, now: datetime) -> list[Row]:
    """Open tasks about a step of a lead that stops: to do it, or to say whether it is still to be done. A claimed one is voided too: its holder is told by its outcome."""
    return tx.rows(
        "UPDATE task SET state = 'void', outcome = %s, closed_by = 'engine', closed_at = %s"
        f" WHERE lead_id = %s AND kind IN ('act', 'decide', 'review') AND state IN {_LIVE} RETURNING id, kind, execution_id, holder",
        (reason, now, lead_id),
    )


def asking(tx: Tx) -> list[Row]:
    """kind, tasks: open ones that ask for a decision."""
    return tx.rows(
        "SELECT kind, count(*) AS tasks FROM task WHERE state = 'open' AND kind <> 'act' GROUP BY kind ORDER BY kind"
    )


def with_words(tx: Tx, task_id: int) -> Row:
    """The task, and the words it is about: what they wrote, or what was, or is to be, sent; `gone`: why they are not there. Raises NotFound."""
    row = read(tx, task_id)
    found = tx.one(
        "SELECT coalesce((SELECT m.text FROM inbound m WHERE m.id = %(inbound)s),"
        "                (SELECT b.body FROM message_body b WHERE b.execution_id = %(execution)s)) AS words,"
        "       (SELECT m.gone FROM inbound m WHERE m.id = %(inbound)s) AS gone",
        {"inbound": row["inbound_id"], "execution": row["execution_id"]},
    )
    return {**row, **found}


# --- evidence, addresses, caps ---------------------------------------------------------------------------------


def in_hand(tx: Tx, account_id: int, identity_ids: Sequence[int]) -> list[Row]:
    """Follows and unfollows of these people that somebody has begun by this account: a look-up may show that they are done."""
    return tx.rows(
        """
        SELECT t.id AS task_id, e.id AS execution_id, e.kind, e.identity_id FROM execution e JOIN task t ON t.execution_id = e.id
         WHERE e.identity_id = ANY(%s) AND e.account_id = %s AND e.state = 'planned' AND t.state IN ('claimed', 'asked')
           AND e.kind IN ('FOLLOW_ON_TWITTER', 'UNFOLLOW_ON_TWITTER') ORDER BY t.id""",
        (list(identity_ids), account_id),
    )


#: The handle that is written to and the names it goes by; where the person has only one account there, all their names on the channel.
_ADDRESSES = """
SELECT x.kind, x.value, x.shown FROM identity i JOIN identity x ON x.person_id = i.person_id
 WHERE i.id = (SELECT e.identity_id FROM task t JOIN execution e ON e.id = t.execution_id WHERE t.id = %(task)s) AND split_part(x.kind, '_', 1) = split_part(i.kind, '_', 1) AND x.status <> 'closed'
   AND (x.id = i.id
        OR EXISTS (SELECT 1 FROM identity_link k WHERE k.source = 'resolved' AND k.status = 'active'
                      AND k.a = least(i.id, x.id) AND k.b = greatest(i.id, x.id))
        OR 1 = (SELECT count(*) FROM identity y WHERE y.person_id = i.person_id AND y.kind = i.kind AND y.status <> 'closed'))
 ORDER BY x.id <> i.id, x.id"""


def addresses_of_task(tx: Tx, task_id: int) -> list[Row]:
    """kind, value, shown: how to find the account of theirs that the task is about, itself first."""
    return tx.rows(_ADDRESSES, {"task": task_id})


_DONE_BY_HAND = """
SELECT (SELECT t.effect_by FROM execution t WHERE t.account_id = %(account)s AND t.kind = %(kind)s AND t.effect_by > q.since
           AND t.fence IS NULL AND t.id <> %(itself)s ORDER BY t.effect_by DESC OFFSET q.most - 1 LIMIT 1) AS nth
  FROM unnest(%(sinces)s::timestamptz[], %(mosts)s::int[]) WITH ORDINALITY AS q (since, most, i) ORDER BY q.i"""


def nth_newest_by_hand(
    tx: Tx, account_id: int, kind: str, itself: int, windows: Sequence[tuple[datetime, int]]
) -> list[datetime | None]:
    """Per (since, n) the n-th newest effect of what humans did or hold by this account; None while there are fewer.

    The engine's own calls carry a fence, a human's acts never do.
    """
    sinces, mosts = [since for since, _ in windows], [most for _, most in windows]
    rows = tx.rows(
        _DONE_BY_HAND,
        {"account": account_id, "kind": kind, "itself": itself, "sinces": sinces, "mosts": mosts},
    )
    return [row["nth"] for row in rows]
