"""What a restore drill asks of its own database: whom to opt out, how fast the journal was, and what was recovered."""

from collections.abc import Sequence
from datetime import timedelta

from outreach.models.base import Row, Tx


def people(tx: Tx, limit: int) -> list[Row]:
    """Persons of active leads who are known by their id, every other one of those who were contacted."""
    return tx.rows(
        """
        SELECT x.person_id, x.twitter_id FROM (
            SELECT p.id AS person_id, min(i.value) AS twitter_id, row_number() OVER (ORDER BY p.id) AS n
              FROM person p JOIN identity i ON i.person_id = p.id AND i.kind = 'twitter_id' JOIN lead l ON l.person_id = p.id
             WHERE l.state = 'active' AND p.suppressed_at IS NULL GROUP BY p.id) x
         ORDER BY x.n %% 2, x.n LIMIT %s""",
        (limit,),
    )


def journal_lag(tx: Tx) -> timedelta:
    """The longest that a line waited to be outside (business time)."""
    found: timedelta | None = tx.value("SELECT max(delivered_at - at) FROM journal")
    return found or timedelta(0)


def recovered(tx: Tx, erased: Sequence[int]) -> Row:
    """Steps that were settled by what was read (`recovered`), persons who wait for a human (`asked`), and those who were erased before
    the loss and of whom something is known again (`back`)."""
    return tx.one(
        """
        SELECT (SELECT count(*) FROM event WHERE kind = 'ActionSent' AND payload ->> 'how' = 'recovered') AS recovered,
               (SELECT count(*) FROM task WHERE reason = 'restore.unexplained') AS asked,
               (SELECT count(DISTINCT p.id) FROM person p JOIN identity i ON i.person_id = p.id
                 WHERE p.id = ANY(%s) AND (p.erased_at IS NULL OR i.value NOT LIKE 'erased:%%')) AS back""",
        (list(erased),),
    )
