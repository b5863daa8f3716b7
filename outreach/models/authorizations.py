"""Owners sent to a provider to let an account in: one row per question, used once, forgotten soon."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx, to_json


def insert(tx: Tx, values: Mapping[str, Any]) -> int:
    """A new question; its id. `values`: the table's columns but for those of its outcome."""
    row = tx.one(
        """
        INSERT INTO account_authorization (channel, account_name, app_id, account_id, wanted, base_url, redirect_uri, nonce, state_digest,
                                           begun_by, begun_at, expires_at)
        VALUES (%(channel)s, %(account_name)s, %(app_id)s, %(account_id)s, %(wanted)s, %(base_url)s, %(redirect_uri)s, %(nonce)s,
                %(state_digest)s, %(begun_by)s, %(begun_at)s, %(expires_at)s) RETURNING id""",
        {**values, "wanted": to_json(values["wanted"])},
    )
    return int(row["id"])


def forget_before(tx: Tx, at: datetime) -> None:
    """Those that ended before are of no use to anybody."""
    tx.execute("DELETE FROM account_authorization WHERE expires_at < %s", (at,))


def read(tx: Tx, authorization_id: int) -> Row | None:
    """The row as it stands."""
    return tx.row("SELECT * FROM account_authorization WHERE id = %s", (authorization_id,))


def lock(tx: Tx, authorization_id: int) -> Row | None:
    """The row, nobody else's until commit."""
    return tx.row("SELECT * FROM account_authorization WHERE id = %s FOR UPDATE", (authorization_id,))


def use(tx: Tx, authorization_id: int, now: datetime) -> None:
    """open -> used: its state opens nothing any more."""
    tx.execute(
        "UPDATE account_authorization SET state = 'used', used_at = %s WHERE id = %s AND state = 'open'",
        (now, authorization_id),
    )


def refuse(tx: Tx, authorization_id: int, why: str) -> None:
    """used -> refused."""
    tx.execute(
        "UPDATE account_authorization SET state = 'refused', detail = %s WHERE id = %s AND state = 'used'",
        (why, authorization_id),
    )


def connect(tx: Tx, authorization_id: int, account_id: int, detail: str) -> None:
    """used -> connected."""
    tx.execute(
        "UPDATE account_authorization SET state = 'connected', account_id = %s, detail = %s WHERE id = %s AND state = 'used'",
        (account_id, detail, authorization_id),
    )
