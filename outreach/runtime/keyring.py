"""require_keys: may this process work with the peppers and keys that it was given? One that may not sends nothing, and says so.

A secret that a process begins with must be known to the database before: all others then can read what is written under it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.errors import ConfigurationError
from outreach.models import keys
from outreach.models.base import Database, Row, Tx
from outreach.peppers import Peppers
from outreach.vault import Vault

PEPPER, KEY = "pepper", "key"
VARIABLES = {PEPPER: "OUTREACH_PEPPER", KEY: "OUTREACH_KEYS"}
_FEW = 3
_WORDS = {"sequence_entry": "form"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """A ring of this process against what its database has met, and needs."""

    kind: str
    #: of this process, the current one first
    ids: tuple[str, ...]
    #: id -> since when, and when it was given up; what this database has met
    met: dict[str, Row]
    #: id -> what is stored under it, in words
    used: dict[str, str]

    @property
    def missing(self) -> list[str]:
        """Needed, and not in the ring."""
        return sorted(id_ for id_ in self.used if id_ not in self.ids and not self.given_up(id_))

    @property
    def new(self) -> list[str]:
        """In the ring, and not met before."""
        return [id_ for id_ in self.ids if id_ not in self.met]

    @property
    def unmet(self) -> bool:
        """Begins with a secret that this database has never met, although it needs others."""
        return self.ids[0] in self.new and bool(self.met and self.used)

    @property
    def droppable(self) -> list[str]:
        """Not current, and nothing is stored under it."""
        return [id_ for id_ in self.ids[1:] if id_ not in self.used]

    def given_up(self, id_: str) -> bool:
        return id_ in self.met and self.met[id_]["given_up_at"] is not None

    def fault(self) -> ConfigurationError | None:
        """Why a process with this ring must not work; None: it may."""
        variable, held = VARIABLES[self.kind], ", ".join(self.ids)
        if self.missing:
            lost = self.missing[0]
            return ConfigurationError(
                f"{variable} lacks {self.kind} {lost}, under which stand {self.used[lost]}; it holds {held}. Nothing is sent",
                hint=f"set it again, in the ring: {variable}=CURRENT,OLDER; outreach keys check tells more. Is it lost for ever? "
                f"docs/runbook.md, A key is lost, says what that costs",
            )
        if self.unmet:
            return ConfigurationError(
                f"{variable} begins with {self.kind} {self.ids[0]}, which this database has never met; it knows {', '.join(self.met)}. Nothing is sent",
                hint=f"a wrong one? Set the right one. A new one? First behind the old, everywhere ({variable}=OLD,NEW), then before it "
                f"(docs/deploy.md, Secrets)",
            )
        return None


def rings(tx: Tx, vault: Vault, peppers: Peppers) -> list[Ring]:
    """Both rings as they stand now."""
    met: dict[str, dict[str, Row]] = {PEPPER: {}, KEY: {}}
    for row in keys.met(tx):
        met[row["kind"]][row["id"]] = row
    sealed = {id_: _sealed(rows) for id_, rows in keys.keys_in_use(tx).items()}
    remembered = dict.fromkeys(keys.peppers_in_use(tx), "digests of identifiers")
    return [
        Ring(kind=PEPPER, ids=peppers.ids, met=met[PEPPER], used=remembered),
        Ring(kind=KEY, ids=vault.ids, met=met[KEY], used=sealed),
    ]


def _sealed(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(f"{_WORDS.get(row['of'], row['of'])} {row['name']}" for row in rows))
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{len(rows)} credential{'s' if len(rows) > 1 else ''} of {', '.join(names[:_FEW])}{more}"


def require_keys(db: Database, vault: Vault, peppers: Peppers, now: datetime) -> None:
    """Learn what is new in the rings. Raises ConfigurationError where this process must not work."""

    def learn(tx: Tx) -> None:
        keys.lock(tx)
        for ring in _sound(tx, vault, peppers):
            keys.learn(tx, ring.kind, ring.new, now)

    if any(ring.new for ring in db.run(lambda tx: _sound(tx, vault, peppers))):
        db.run(learn)


def _sound(tx: Tx, vault: Vault, peppers: Peppers) -> list[Ring]:
    found = rings(tx, vault, peppers)
    for ring in found:
        if (fault := ring.fault()) is not None:
            raise fault
    return found
