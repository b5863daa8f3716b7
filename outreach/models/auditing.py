"""What an audit reads: the ledger's effects by scope."""

from collections.abc import Sequence
from datetime import datetime

from outreach.models.base import Row, Tx


def used(tx: Tx, kinds: Sequence[str], since: datetime) -> list[Row]:
    """Which account did which kind since then: account_id, app_id, kind. One look into an index for each pair."""
    return tx.rows(
        """
        SELECT a.id AS account_id, a.app_id, k.kind FROM account a CROSS JOIN unnest(%s::text[]) k (kind)
         WHERE EXISTS (SELECT 1 FROM execution e WHERE e.account_id = a.id AND e.kind = k.kind AND e.effect_by > %s)
         ORDER BY a.id, k.kind""",
        (list(kinds), since),
    )


def used_sequences(tx: Tx, kinds: Sequence[str], since: datetime) -> list[Row]:
    """The same for sequences: sequence_id, name, kind."""
    return tx.rows(
        """
        SELECT s.id AS sequence_id, s.name, k.kind FROM sequence s CROSS JOIN unnest(%s::text[]) k (kind)
         WHERE EXISTS (SELECT 1 FROM execution e WHERE e.sequence_id = s.id AND e.kind = k.kind AND e.effect_by > %s)
         ORDER BY s.name, k.kind""",
        (list(kinds), since),
    )


_SCOPE = {
    "account": "e.account_id = %s",
    "app": "e.app_id = %s",
    "sequence": "e.sequence_id = %s",
    # read app by app: there is no index for the whole instance
    "instance": "e.app_id IN (SELECT id FROM app) AND %s = 0",
}


def effects(tx: Tx, scope: str, scope_id: int, kind: str, since: datetime) -> list[Row]:
    """The scope's rows with effect_by after `since`: started_at, effect_by, created_at, by_hand, the account's zone."""
    return tx.rows(
        "SELECT e.started_at, e.effect_by, e.created_at, e.cause = 'by_hand' AS by_hand, a.zone"
        f" FROM execution e JOIN account a ON a.id = e.account_id WHERE {_SCOPE[scope]} AND e.kind = %s AND e.effect_by > %s",
        (scope_id, kind, since),
    )
