"""give_up: a key or a pepper is lost for ever; the rest goes on without it. Accounts sealed under it wait to be connected again."""

from dataclasses import dataclass
from datetime import datetime

from outreach.errors import UsageError
from outreach.models import accounts, keys
from outreach.models.base import Database, Tx
from outreach.peppers import Peppers
from outreach.runtime.credentials import lock_out
from outreach.runtime.keyring import KEY, rings
from outreach.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """Whose, and which accounts stand still for it."""

    kind: str
    id: str
    stopped: list[str]


def give_up(db: Database, vault: Vault, peppers: Peppers, id_: str, *, now: datetime) -> GivenUp:
    """Raises UsageError for one that is not missing."""

    def work(tx: Tx) -> GivenUp:
        keys.lock(tx)
        ring = next((ring for ring in rings(tx, vault, peppers) if id_ in ring.missing), None)
        if ring is None:
            raise UsageError(
                f"nothing that is stored lacks {id_}", hint="outreach keys check lists what is missing"
            )
        keys.give_up(tx, ring.kind, id_, now)
        # No process can have begun with another ring: what this one holds is what we go on with.
        keys.learn(tx, ring.kind, ring.new, now)
        held = [a for a in accounts.listed(tx) if _stop(tx, vault, a["id"], now)] if ring.kind == KEY else []
        return GivenUp(kind=ring.kind, id=id_, stopped=[a["name"] for a in held])

    return db.run(work)


def _stop(tx: Tx, vault: Vault, account_id: int, now: datetime) -> bool:
    accounts.lock_with_app(tx, account_id)
    return lock_out(vault, tx, account_id, now)
