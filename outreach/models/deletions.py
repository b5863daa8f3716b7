"""What somebody asks us to delete, by when, and what became of it: rows that outlive what they took away."""

from collections.abc import Sequence
from datetime import datetime

from outreach.models.base import Row, Tx

_COLUMNS = "id, scope, channel, account_key, content_id, reason, asked_by, asked_at, begin_at, due_by"
_UNREAD = "('stored', 'waiting')"


def ask(
    tx: Tx, *, scope: str, channel: str, account_key: str, content_id: str = "", reason: str, by: str, now: datetime,
    begin_at: datetime, due_by: datetime,
) -> int:  # fmt: skip
    """Its number. Where the same is asked already and not done, that one, at the earlier of both times."""
    return int(
        tx.one(
            """
            INSERT INTO deletion AS d (scope, channel, account_key, content_id, reason, asked_by, asked_at, begin_at, due_by)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (scope, channel, account_key, content_id) WHERE done_at IS NULL
                DO UPDATE SET begin_at = least(d.begin_at, excluded.begin_at), due_by = least(d.due_by, excluded.due_by),
                   reason = CASE WHEN excluded.begin_at < d.begin_at THEN excluded.reason ELSE d.reason END,
                   asked_by = CASE WHEN excluded.begin_at < d.begin_at THEN excluded.asked_by ELSE d.asked_by END,
                   asked_at = CASE WHEN excluded.begin_at < d.begin_at THEN excluded.asked_at ELSE d.asked_at END
            RETURNING id""",
            (scope, channel, account_key, content_id, reason, by, now, begin_at, due_by),
        )["id"]
    )


def lock(tx: Tx, deletion_id: int) -> Row | None:
    """The row, locked, while it is not done; None: it is, or never was."""
    return tx.row(
        f"SELECT {_COLUMNS}, erased FROM deletion WHERE id = %s AND done_at IS NULL FOR UPDATE",
        (deletion_id,),
    )


def read(tx: Tx, deletion_id: int) -> Row:
    """The row as it stands."""
    return tx.one(f"SELECT {_COLUMNS}, done_at, outcome, erased FROM deletion WHERE id = %s", (deletion_id,))


def to_do(tx: Tx, now: datetime, limit: int) -> list[int]:
    """Those whose time has come, the most pressing first."""
    rows = tx.rows(
        "SELECT id FROM deletion WHERE done_at IS NULL AND begin_at <= %s ORDER BY due_by, id LIMIT %s",
        (now, limit),
    )
    return [row["id"] for row in rows]


def close_connected_again(tx: Tx, now: datetime) -> None:
    """Accounts whose access had ended and has been given anew: nothing of theirs is deleted."""
    tx.write(
        """
        UPDATE deletion d SET done_at = %s, outcome = 'connected_again' FROM account a
         WHERE d.done_at IS NULL AND d.scope = 'account' AND d.begin_at > d.asked_at AND a.channel = d.channel AND a.external_id = d.account_key
           AND a.tokens_at > d.asked_at AND a.state NOT IN ('needs_reauth', 'disconnected')""",
        (now,),
    )


def open_ones(tx: Tx, limit: int, *, pressing: datetime | None = None) -> list[Row]:
    """Those that are not done, the most pressing first, with the account's name where it is one of ours; `pressing`: only those due by then."""
    return tx.rows(
        """
        SELECT d.id, d.scope, d.channel, a.name AS account, d.content_id, d.reason, d.asked_at, d.begin_at, d.due_by, d.erased
          FROM deletion d LEFT JOIN account a ON a.channel = d.channel AND a.external_id = d.account_key
         WHERE d.done_at IS NULL AND (%(pressing)s::timestamptz IS NULL OR d.due_by <= %(pressing)s)
         ORDER BY d.due_by, d.id LIMIT %(limit)s""",
        {"limit": limit, "pressing": pressing},
    )


def count(tx: Tx, deletion_id: int, erased: int) -> None:
    """So many texts more are gone."""
    tx.write("UPDATE deletion SET erased = erased + %s WHERE id = %s", (erased, deletion_id))


def end(tx: Tx, deletion_id: int, outcome: str, now: datetime) -> None:
    """It is over: erased, unknown (nothing was here; what comes late is held against it), connected_again."""
    tx.write(
        "UPDATE deletion SET done_at = %s, outcome = %s WHERE id = %s AND done_at IS NULL",
        (now, outcome, deletion_id),
    )


def account_of(tx: Tx, channel: str, account_key: str) -> Row | None:
    """The account of ours by its id at the provider: id, name, state, tokens_at."""
    return tx.row(
        "SELECT id, name, state, tokens_at FROM account WHERE channel = %s AND external_id = %s",
        (channel, account_key),
    )


# --- one message ---------------------------------------------------------------------------------------------------------


def copies(tx: Tx, channel: str, account_key: str, content_id: str) -> list[Row]:
    """The message under every account of ours that has it, locked: id, kind, state, class, text, account_id, occurred_at, has_words."""
    # By account: the unique index begins with channel and account.
    return tx.rows(
        """
        SELECT m.id, m.kind, m.state, m.class, m.text, m.account_id, m.occurred_at, m.text IS NOT NULL OR m.raw <> '{}' AS has_words
          FROM inbound m
         WHERE m.channel = %(channel)s AND m.content_id = %(content)s
           AND m.account_key = ANY (CASE WHEN %(account)s <> '' THEN ARRAY[%(account)s::text]
                                         ELSE ARRAY(SELECT a.external_id FROM account a WHERE a.channel = %(channel)s) END)
         ORDER BY m.id FOR UPDATE""",
        {"channel": channel, "account": account_key, "content": content_id},
    )


def erase_words(tx: Tx, inbound_ids: Sequence[int], why: str) -> int:
    """Text and raw form go; that it came, and how it was understood, stays."""
    return tx.execute(
        "UPDATE inbound SET text = NULL, raw = '{}', gone = %s WHERE id = ANY(%s) AND gone IS NULL",
        (why, list(inbound_ids)),
    )


def note_class(tx: Tx, inbound_id: int, reply_class: str) -> None:
    """How it reads, for whoever digests it without its words."""
    tx.write("UPDATE inbound SET class = %s WHERE id = %s AND class IS NULL", (reply_class, inbound_id))


def erase_own(tx: Tx, account_id: int, dm_event_id: str, begin: datetime, end: datetime) -> int:
    """The words of a send of ours, by the message's id; its effect lies between the two instants."""
    return tx.execute(
        """
        DELETE FROM message_body b USING execution e
         WHERE b.execution_id = e.id AND e.account_id = %s AND e.kind = 'SEND_TWITTER_DM' AND e.effect_by BETWEEN %s AND %s
           AND e.provider_ids ->> 'dm_event_id' = %s""",
        (account_id, begin, end, dm_event_id),
    )


# --- all of an account ---------------------------------------------------------------------------------------------------
# Windows of ids, so that an account with little among many is never looked for in one long statement.

_WINDOW = 5000
_BODIES = f"""
WITH next AS (SELECT b.execution_id, b.written_at FROM message_body b WHERE b.execution_id > %(after)s ORDER BY b.execution_id LIMIT {_WINDOW}),
     mine AS (SELECT e.id, e.lead_id FROM next x
               CROSS JOIN LATERAL (SELECT y.id, y.lead_id, y.account_id, y.state FROM execution y WHERE y.id = x.execution_id OFFSET 0) e
               WHERE e.account_id = %(account)s AND x.written_at <= %(until)s AND (%(all)s OR e.state NOT IN ('calling', 'in_doubt', 'held'))),
     done AS (DELETE FROM message_body b WHERE b.execution_id = ANY (ARRAY(SELECT id FROM mine)) AND b.written_at <= %(until)s
              RETURNING b.execution_id),
     -- a one-off send carries its words in its lead, too
     leads AS (UPDATE lead l SET data = l.data - 'text' - 'subject'
                WHERE l.id = ANY (ARRAY(SELECT lead_id FROM mine)) AND l.key IS NOT NULL)
SELECT (SELECT count(*) FROM done) AS n, count(*) AS seen, max(execution_id) AS last FROM next"""
#: What was not understood yet is kept: it may be a stop.
_MESSAGES = f"""
WITH next AS (SELECT id FROM inbound WHERE id > %(after)s ORDER BY id LIMIT {_WINDOW}),
     done AS (UPDATE inbound m SET text = NULL, raw = '{{}}', gone = 'purged'
               WHERE m.id = ANY (ARRAY(SELECT id FROM next)) AND m.channel = %(channel)s AND m.account_key = %(key)s AND m.received_at <= %(until)s
                 AND m.state NOT IN {_UNREAD} AND (m.text IS NOT NULL OR m.raw <> '{{}}') RETURNING m.id)
SELECT (SELECT count(*) FROM done) AS n, count(*) AS seen, max(id) AS last FROM next"""
_ONE_OFFS = """
UPDATE lead l SET data = l.data - 'text' - 'subject' WHERE l.id = ANY (ARRAY(
       SELECT x.id FROM (SELECT id FROM lead WHERE key IS NOT NULL AND ended_at IS NOT NULL AND data ? 'text' AND ended_at <= %(until)s OFFSET 0) x
        CROSS JOIN LATERAL (SELECT b.account_id FROM lead_binding b WHERE b.lead_id = x.id OFFSET 0) b WHERE b.account_id = %(account)s))"""


def purge_bodies(tx: Tx, account_id: int, after: int, until: datetime, *, everything: bool) -> Row:
    """What the account sent, written by `until`, in the next window: n, seen, last. `everything`: of open calls, too."""
    return tx.one(_BODIES, {"account": account_id, "after": after, "until": until, "all": everything})


def purge_messages(tx: Tx, channel: str, account_key: str, after: int, until: datetime) -> Row:
    """What came in for the account, also before it was one of ours, in the next window: n, seen, last."""
    return tx.one(_MESSAGES, {"channel": channel, "key": account_key, "after": after, "until": until})


def purge_one_offs(tx: Tx, account_id: int, until: datetime) -> int:
    """Words that ended one-off leads of the account carry and that were never sent."""
    return tx.execute(_ONE_OFFS, {"account": account_id, "until": until})


def left_of(tx: Tx, channel: str, account_key: str, until: datetime) -> Row:
    """What a purge had to leave: `bodies` of calls that are open, `messages` that are not understood yet."""
    return tx.one(
        f"""
        SELECT (SELECT count(*) FROM execution e JOIN account a ON a.id = e.account_id JOIN message_body b ON b.execution_id = e.id
                 WHERE e.state IN ('calling', 'in_doubt', 'held') AND a.channel = %(channel)s AND a.external_id = %(key)s
                   AND b.written_at <= %(until)s) AS bodies,
               (SELECT count(*) FROM inbound WHERE channel = %(channel)s AND account_key = %(key)s AND state IN {_UNREAD}
                   AND received_at <= %(until)s AND (text IS NOT NULL OR raw <> '{{}}')) AS messages""",
        {"channel": channel, "key": account_key, "until": until},
    )


def undigested_of(tx: Tx, channel: str, account_key: str) -> list[Row]:
    """What the account received and nobody has understood yet: id, kind, state, class, text."""
    return tx.rows(
        f"SELECT id, kind, state, class, text FROM inbound WHERE channel = %s AND account_key = %s AND state IN {_UNREAD} ORDER BY id",
        (channel, account_key),
    )


# --- late arrivals -------------------------------------------------------------------------------------------------------

_UNWANTED = """
SELECT DISTINCT s.hmac AS key, NULL AS channel, NULL AS account_key FROM suppression s
 WHERE s.hmac = ANY(%(hmacs)s) AND s.lifted_at IS NULL
   AND (s.source = 'erasure' OR EXISTS (SELECT 1 FROM (SELECT * FROM identity x WHERE x.hmac = s.hmac OFFSET 0) i
                                          JOIN person p ON p.id = i.person_id WHERE p.erased_at IS NOT NULL))
UNION ALL
SELECT d.content_id, d.channel, d.account_key FROM deletion d WHERE d.scope = 'message' AND d.content_id = ANY(%(contents)s)"""


def unwanted(
    tx: Tx, hmacs: Sequence[str], content_ids: Sequence[str]
) -> tuple[set[str], set[tuple[str, str, str]]]:
    """Digests of identifiers whose person was erased, or that were erased without one, until a human lifts it; and (channel, account or '', content id) of messages that are to be deleted."""
    rows = tx.rows(_UNWANTED, {"hmacs": list(hmacs), "contents": list(content_ids)})
    erased = {row["key"] for row in rows if row["channel"] is None}
    return erased, {
        (row["channel"], row["account_key"], row["key"]) for row in rows if row["channel"] is not None
    }


def any_erased(tx: Tx) -> bool:
    """Has anybody ever been?"""
    return bool(
        tx.value(
            "SELECT EXISTS (SELECT 1 FROM person WHERE erased_at IS NOT NULL) OR EXISTS (SELECT 1 FROM suppression WHERE source = 'erasure')"
        )
    )
