"""Replies as people work on them: what came in, how it was read, who cares for it, what was answered."""

from datetime import datetime

from outreach.errors import NotFound
from outreach.models.base import Row, Tx

#: Nothing is to be done about these: a machine said it, or the engine has done what they ask for.
_NO_CARE = "('unsubscribe', 'out_of_office', 'bounce')"
_LATEST = """
SELECT m.id, m.channel, a.name AS account, m.account_id, m.person_id, m.class, m.state, m.occurred_at, m.text, m.gone, c.assignee, c.done_at,
       c.done_by, c.class_was, c.class_by, e.id AS answer_id, e.state AS answer, e.sent_at AS answered_at, c.answer_lead_id
  FROM inbound m LEFT JOIN account a ON a.id = m.account_id LEFT JOIN reply_care c ON c.inbound_id = m.id
  LEFT JOIN execution e ON e.lead_id = c.answer_lead_id"""
#: Somebody whom we know wrote it, nobody has seen to it, and no answer to it is sent or on its way.
_OPEN = f"""
m.person_id IS NOT NULL AND m.state = 'digested' AND coalesce(m.class, '') NOT IN {_NO_CARE} AND c.done_at IS NULL
AND coalesce(e.state, 'absent') IN ('refused', 'blocked', 'skipped', 'cancelled', 'absent')"""


def latest(
    tx: Tx,
    *,
    limit: int,
    reply_class: str | None = None,
    only_open: bool = False,
    assignee: str | None = None,
) -> list[Row]:
    """Messages that people sent us, newest first."""
    return tx.rows(
        f"""{_LATEST}
         WHERE m.kind = 'message_in' AND (%(class)s::text IS NULL OR m.class = %(class)s) AND (NOT %(open)s::boolean OR ({_OPEN}))
           AND (%(assignee)s::text IS NULL OR c.assignee = %(assignee)s)
         ORDER BY m.id DESC LIMIT %(limit)s""",
        {"class": reply_class, "open": only_open, "assignee": assignee, "limit": limit},
    )


def read(tx: Tx, inbound_id: int) -> Row:
    """One of them. Raises NotFound."""
    row = tx.row(f"{_LATEST} WHERE m.kind = 'message_in' AND m.id = %s", (inbound_id,))
    if row is None:
        raise NotFound(f"no reply {inbound_id}", hint="outreach replies lists them with their numbers")
    return row


def identity_of(tx: Tx, inbound_id: int) -> int | None:
    """The handle that it was written with: by its id, else by the name it had."""
    found: int | None = tx.value(
        """
        SELECT i.id FROM inbound m JOIN identity i ON (i.kind = m.peer_kind AND i.value = m.peer)
                                                   OR (i.kind = 'twitter_handle' AND m.peer_handle <> '' AND i.value = m.peer_handle)
         WHERE m.id = %s AND i.person_id = m.person_id ORDER BY i.kind = m.peer_kind DESC LIMIT 1""",
        (inbound_id,),
    )
    return found


def of_person(tx: Tx, person_id: int, limit: int) -> list[Row]:
    """What they wrote and what was sent to them, the newest `limit` of both, oldest first: at, ours, channel, text, gone.

    `gone`: why its words are no longer there, as inbound has it; `age` for what was sent.
    """
    return tx.rows(
        """
        SELECT * FROM (
            SELECT m.occurred_at AS at, false AS ours, m.channel, m.text, m.gone FROM inbound m
             WHERE m.person_id = %(person)s AND m.kind = 'message_in'
             UNION ALL
            SELECT e.sent_at, true, e.channel, b.body, CASE WHEN b.body IS NULL THEN CASE WHEN EXISTS (
                       SELECT 1 FROM account a JOIN deletion d ON d.channel = a.channel AND d.account_key = a.external_id
                        WHERE a.id = e.account_id AND d.scope = 'account' AND d.erased > 0 AND d.asked_at >= e.sent_at)
                   THEN 'purged' ELSE 'age' END END
              FROM identity i JOIN execution e ON e.identity_id = i.id LEFT JOIN message_body b ON b.execution_id = e.id
             WHERE i.person_id = %(person)s AND e.state = 'sent' AND e.body_hash IS NOT NULL
             ORDER BY 1 DESC LIMIT %(limit)s) x
         ORDER BY at""",
        {"person": person_id, "limit": limit},
    )


# --- who cares for it ------------------------------------------------------------------------------------------


def assign(tx: Tx, inbound_id: int, assignee: str, now: datetime) -> None:
    """It is theirs now."""
    tx.execute(
        "INSERT INTO reply_care (inbound_id, assignee, assigned_at) VALUES (%s, %s, %s)"
        " ON CONFLICT (inbound_id) DO UPDATE SET assignee = excluded.assignee, assigned_at = excluded.assigned_at",
        (inbound_id, assignee, now),
    )


def note_answer(tx: Tx, inbound_id: int, lead_id: int) -> None:
    """The one-off lead that answers it."""
    tx.execute(
        "INSERT INTO reply_care (inbound_id, answer_lead_id) VALUES (%s, %s)"
        " ON CONFLICT (inbound_id) DO UPDATE SET answer_lead_id = excluded.answer_lead_id",
        (inbound_id, lead_id),
    )


def finish(tx: Tx, inbound_id: int, by: str, now: datetime) -> bool:
    """Nothing more is to be done about it. False: somebody has said so before."""
    return bool(
        tx.execute(
            "INSERT INTO reply_care (inbound_id, done_at, done_by) VALUES (%s, %s, %s)"
            " ON CONFLICT (inbound_id) DO UPDATE SET done_at = excluded.done_at, done_by = excluded.done_by WHERE reply_care.done_at IS NULL",
            (inbound_id, now, by),
        )
    )


# --- what it says ----------------------------------------------------------------------------------------------


def reclass(tx: Tx, inbound_id: int, before: str | None, after: str, by: str, now: datetime) -> None:
    """A human has read it anew; what the engine had read first is kept."""
    tx.execute("UPDATE inbound SET class = %s WHERE id = %s", (after, inbound_id))
    tx.execute(
        "INSERT INTO reply_care (inbound_id, class_was, class_by, class_at) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (inbound_id) DO UPDATE SET class_was = coalesce(reply_care.class_was, excluded.class_was),"
        " class_by = excluded.class_by, class_at = excluded.class_at",
        (inbound_id, before, by, now),
    )


def resignal(tx: Tx, inbound_id: int, person_id: int, kind: str, reply_class: str) -> None:
    """What the person's leads were told of it, as far as nothing was decided on it: they are told anew."""
    values = {"inbound": inbound_id, "person": person_id, "kind": kind, "class": reply_class}
    # Told of it as this kind before, and decided on that: the other word is taken back, for it is one message.
    tx.execute(
        """
        DELETE FROM signal g USING lead l WHERE l.id = g.lead_id AND l.person_id = %(person)s AND g.inbound_id = %(inbound)s
           AND g.used_at IS NULL AND g.kind IN ('REPLIED', 'OUT_OF_OFFICE') AND g.kind <> %(kind)s
           AND EXISTS (SELECT 1 FROM signal o WHERE o.lead_id = g.lead_id AND o.kind = %(kind)s AND o.content_id = g.content_id)""",
        values,
    )
    tx.execute(
        """
        UPDATE signal g SET kind = %(kind)s, class = %(class)s FROM lead l WHERE l.id = g.lead_id AND l.person_id = %(person)s
           AND g.inbound_id = %(inbound)s AND g.used_at IS NULL AND g.kind IN ('REPLIED', 'OUT_OF_OFFICE')""",
        values,
    )


def decided_on(tx: Tx, inbound_id: int, person_id: int) -> list[int]:
    """Leads of the person that took an edge on it, or ended on it."""
    rows = tx.rows(
        "SELECT DISTINCT g.lead_id FROM signal g JOIN lead l ON l.id = g.lead_id"
        " WHERE l.person_id = %s AND g.inbound_id = %s AND g.used_at IS NOT NULL ORDER BY g.lead_id",
        (person_id, inbound_id),
    )
    return [row["lead_id"] for row in rows]


def proves_invitation(tx: Tx, inbound_id: int, identity_id: int) -> bool:
    """Is it what says that they wrote to us?"""
    return bool(
        tx.value(
            "SELECT EXISTS (SELECT 1 FROM consent WHERE identity_id = %s AND basis = 'inbound' AND proof = %s AND withdrawn_at IS NULL)",
            (identity_id, f"inbound:{inbound_id}"),
        )
    )
