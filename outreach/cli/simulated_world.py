"""The simulated X of `outreach up --simulate`: it gets to know whoever is in the database, and what it sees is told."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from outreach.cli.output import note, say
from outreach.embedded.spawning import Command
from outreach.embedded.supervisor import Supervisor
from outreach.embedded.waiting import wait_until
from outreach.errors import OutreachError
from outreach.rehearsal.world import external_id, subscribe
from outreach.settings import Settings, inherited_environment
from outreach.simulator.witness import Acceptance, Deed, read_witness
from outreach.simulator.world import id_of_handle

if TYPE_CHECKING:
    from outreach.models.base import Database

ACCOUNT = "simulated"
TOKEN = "simulated-token"  # noqa: S105  the simulator's
REFRESH_TOKEN = "simulated-refresh-token"  # noqa: S105  the simulator's
_PAGE = 1000
#: Real seconds for a Postgres that restarts.
_PATIENCE = 30.0
_MOST_SHOWN = 100
_MIXTURE = {
    "follow_back": 0.5, "protected": 0.0, "dm_closed": 0.0, "follow_after": [1800, 12 * 3600], "reply_after": [900, 20 * 3600],
}  # fmt: skip
#: Of so many people one writes before we do: whom X lets any software answer.
_ONE_IN = 4


def witness_of(settings: Settings) -> Path:
    return settings.data_dir / "witness.jsonl"


@dataclass(slots=True, kw_only=True)
class World:
    """The simulator: it gets to know whoever is in the database, and what it sees is told."""

    settings: Settings
    db: "Database"
    url: str
    #: of our app: what webhooks are signed with
    secret: str
    #: people by their id at the provider
    person_of: dict[str, int] = field(default_factory=dict)
    _people: list[dict[str, Any]] = field(default_factory=list)
    _last_identity: int = 0
    _told: tuple[list[Acceptance], list[Deed]] = field(default_factory=lambda: ([], []))

    def begin(self, supervisor: Supervisor) -> None:
        """Start the simulator with everybody who is known by now."""
        self._learn()
        self._write()
        witness = witness_of(self.settings)
        self._told = read_witness(witness) if witness.exists() else ([], [])
        words = [sys.executable, "-m", "outreach.simulator", "--port", self.url.rpartition(":")[2], "--world", str(self._file),
                 "--witness", str(witness), "--keep-bodies", "--origin", self.settings.clock_origin.isoformat(),
                 "--factor", str(self.settings.clock_factor)]  # fmt: skip
        supervisor.start(
            Command(
                name="simulator", words=words, environ=inherited_environment(), restart=True, log=self._log
            )
        )
        if not wait_until(lambda: _answers(f"{self.url}/__sim/state"), timeout=20.0, every=0.1):
            raise OutreachError("the simulator did not come up", hint=f"its log: {self._log}")

    @property
    def _file(self) -> Path:
        return self.settings.data_dir / "world.json"

    @property
    def _log(self) -> Path:
        return self.settings.data_dir / "simulator.log"

    def listen(self, web_url: str) -> None:
        """Let the simulator tell our web process what happens, as the provider would. Reads find out too, a little later."""
        if not wait_until(lambda: _answers(f"{web_url}/healthz"), timeout=20.0, every=0.1):
            raise OutreachError("the web process did not come up", hint="the lines above say why")
        try:
            subscribe(self.url, web_url, ACCOUNT, [ACCOUNT], _bearer(self.secret))
        except httpx.HTTPError as error:
            note(f"the simulator's webhooks could not be set up ({error}); inboxes are read instead")

    def meet(self) -> None:
        """Whoever has been imported since moves in; some of them write to us first."""
        new = self._learn()
        if not new:
            return
        self._write()
        first = {"text": "Hello! I saw what you do, how does it work?", "to": ACCOUNT}
        people = [
            {**person, "wrote_first": first} if int(person["id"]) % _ONE_IN == 0 else person for person in new
        ]
        try:
            httpx.post(
                f"{self.url}/__sim/world", json={"people": people, "mixture": _MIXTURE}, timeout=10.0, trust_env=False
            ).raise_for_status()  # fmt: skip
        except httpx.HTTPError as error:
            # It reads world.json when it starts again; only the first words of these people are lost.
            note(f"the simulator does not answer ({type(error).__name__}); it is being started again")

    def _learn(self) -> list[dict[str, Any]]:
        from outreach.models import demo

        new: list[dict[str, Any]] = []
        while rows := self.db.run_when_back(
            lambda tx: demo.handles_after(tx, self._last_identity, _PAGE), _PATIENCE
        ):
            for row in rows:
                person = {"handle": row["handle"], "id": row["external_id"] or id_of_handle(row["handle"])}
                if person["id"] not in self.person_of:
                    new.append(person)
                self.person_of[person["id"]] = row["person_id"]
            self._last_identity = rows[-1]["id"]
        self._people += new
        return new

    def _write(self) -> None:
        account = {"handle": ACCOUNT, "id": external_id(ACCOUNT), "access_token": TOKEN, "refresh_token": REFRESH_TOKEN, "follow_permitted": True}  # fmt: skip
        app = {
            "client_id": "sim-client",
            "consumer_secret": self.secret,
            "bearer_token": _bearer(self.secret),
        }
        world = {"app": app, "accounts": [account], "people": self._people, "mixture": _MIXTURE}
        self._file.write_text(json.dumps(world), encoding="utf-8")

    def tell(self) -> None:
        """What happened since the last look, a line each."""
        before, self._told = self._told, read_witness(witness_of(self.settings))
        (taken, deeds), (known, known_deeds) = self._told, before
        new: list[Acceptance | Deed] = [*taken[len(known) :], *deeds[len(known_deeds) :]]
        lines = [
            line
            for fact in sorted(new, key=lambda fact: fact.t_real)
            if (line := _told(fact, self.person_of))
        ]
        for line in lines[:_MOST_SHOWN]:
            say(line)
        if len(lines) > _MOST_SHOWN:
            say(f"… and {len(lines) - _MOST_SHOWN} more at once")
        sys.stdout.flush()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _bearer(secret: str) -> str:
    return f"bearer-{secret}"


def _told(fact: Acceptance | Deed, person_of: Mapping[str, int]) -> str | None:
    from outreach.audience.aliases import alias

    who = fact.recipient if isinstance(fact, Acceptance) else fact.person
    if who not in person_of:
        return None
    name = alias(person_of[who])
    text = f': "{" ".join(fact.body.split())}"' if fact.body else ""
    if isinstance(fact, Acceptance):
        verb = {"dm": "we wrote to", "follow": "we followed", "unfollow": "we unfollowed"}[fact.kind]
        return f"  {fact.t_scaled:%a %d %b %H:%M}  {verb} {name}{text}"
    if fact.what not in ("said", "followed", "unfollowed", "blocked"):
        return None
    verb = {
        "said": "wrote",
        "followed": "followed us",
        "unfollowed": "unfollowed us",
        "blocked": "blocked us",
    }[fact.what]
    return f"  {fact.t_scaled:%a %d %b %H:%M}  {name} {verb}{text}"
