"""Look-ups by whatever one has of something: an id, a name, a key. Each answers with few rows, by an index."""

from outreach.models.base import Row, Tx

_LIKE = "ILIKE '%%' || replace(replace(replace(%(text)s, '\\', '\\\\'), '%%', '\\%%'), '_', '\\_') || '%%'"


def by_name(tx: Tx, text: str, limit: int) -> list[Row]:
    """Sequences, accounts, apps, segments and pools whose name (or title, handle, id at the provider) holds the text."""
    return tx.rows(
        f"""
        SELECT 'sequence' AS what, s.id, s.name, s.state AS detail FROM sequence s
         WHERE s.name {_LIKE} OR s.title {_LIKE}
        UNION ALL
        SELECT 'account', a.id, a.name, a.channel || ', ' || a.state FROM account a
         WHERE a.name {_LIKE} OR a.handle {_LIKE} OR a.external_id = %(text)s
        UNION ALL
        SELECT 'app', b.id, b.name, b.channel || ', ' || b.state FROM app b WHERE b.name {_LIKE}
        UNION ALL
        SELECT 'segment', g.id, g.name, NULL FROM segment g WHERE g.name {_LIKE}
        UNION ALL
        SELECT 'pool', p.id, p.name, p.channel FROM sender_pool p WHERE p.name {_LIKE}
        ORDER BY 1, 3 LIMIT %(limit)s""",
        {"text": text, "limit": limit},
    )


def by_number(tx: Tx, number: int) -> list[Row]:
    """A lead, an execution, a task or an incoming message of that number."""
    return tx.rows(
        """
        SELECT 'lead' AS what, l.id, s.name, l.state AS detail, l.person_id FROM lead l JOIN sequence s ON s.id = l.sequence_id WHERE l.id = %(n)s
        UNION ALL
        SELECT 'execution', e.id, e.kind, e.state, i.person_id FROM execution e LEFT JOIN identity i ON i.id = e.identity_id WHERE e.id = %(n)s
        UNION ALL
        SELECT 'task', t.id, t.reason, t.state, t.person_id FROM task t WHERE t.id = %(n)s
        UNION ALL
        SELECT 'message', m.id, m.kind, coalesce(m.class, m.state), m.person_id FROM inbound m WHERE m.id = %(n)s""",
        {"n": number},
    )


def by_key(tx: Tx, text: str) -> list[Row]:
    """The lead of a one-off send's key."""
    return tx.rows(
        "SELECT 'lead' AS what, l.id, 'one-off ' || l.key AS name, l.state AS detail, l.person_id FROM lead l WHERE l.key = %s",
        (text,),
    )
