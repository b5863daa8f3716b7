"""The connection budget: what each process opens at most, and the smallest plan that has room for all of them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outreach.broker import CONNECTIONS as BROKER
from outreach.cli.processes import SPARE_CONNECTIONS
from outreach.engine.suggest import did_you_mean
from outreach.errors import UsageError
from outreach.limits.limiter import CONNECTIONS as LIMITER

#: One of each that works, as the Procfile and app.json have it.
FORMATION: Mapping[str, int] = {"web": 1, "worker": 1, "scheduler": 1, "listener": 0}
#: A one-off command, or the release phase: each works alone, on one connection to either server, and its limiter on another.
_TERMINAL = "terminal"
_MOST_OF_A_KIND = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What `count` processes of one kind open at most, each."""

    process: str
    count: int
    postgres: int
    redis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan that one can rent, by its limit of connections."""

    name: str
    connections: int


#: When these limits were looked up, and where. Platforms change them: docs/deploy.md says how to look again.
PLANS_AS_OF = "2026-11"
POSTGRES_SOURCE = (
    "https://devcenter.heroku.com/articles/heroku-postgres-production-tier-technical-characterization"
)
REDIS_SOURCE = "https://devcenter.heroku.com/articles/heroku-redis-technical-characterization"
POSTGRES_PLANS = (
    Plan(name="heroku-postgresql:essential-0", connections=20),
    Plan(name="heroku-postgresql:essential-2", connections=40),
    Plan(name="heroku-postgresql:standard-0", connections=120),
    Plan(name="heroku-postgresql:standard-2", connections=400),
    Plan(name="heroku-postgresql:standard-3", connections=500),
)
REDIS_PLANS = (
    Plan(name="heroku-redis:mini", connections=20),
    Plan(name="heroku-redis:premium-0", connections=40),
    Plan(name="heroku-redis:premium-1", connections=80),
    Plan(name="heroku-redis:premium-2", connections=200),
    Plan(name="heroku-redis:premium-3", connections=400),
    Plan(name="heroku-redis:premium-4", connections=700),
    Plan(name="heroku-redis:premium-5", connections=1000),
)


def parse_formation(text: str) -> dict[str, int]:
    """`worker=2,web=1` on top of the usual formation. Raises UsageError."""
    found = dict(FORMATION)
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, count = word.partition("=")
        if name not in FORMATION:
            raise UsageError(f"--formation: there is no process {name!r}", hint=did_you_mean(name, FORMATION))
        if not count.isdecimal() or int(count) > _MOST_OF_A_KIND:
            raise UsageError(f"--formation {word!r} has no number of processes", hint="as in worker=2,web=1")
        found[name] = int(count)
    return found


def needs(formation: Mapping[str, int], *, threads: int, pool_size: int) -> list[Need]:
    """What each kind of process opens at most: bounded pools (broker.py, limiter.py, processes.py) make it so."""
    each = {
        "web": (pool_size, BROKER + LIMITER),
        "worker": (threads + SPARE_CONNECTIONS, BROKER + LIMITER),
        # It reads the database at its start; its clock and its pacer each send ticks.
        "scheduler": (1, 2),
        "listener": (0, 0),
    }
    kinds = [
        Need(process=name, count=count, postgres=each[name][0], redis=each[name][1])
        for name, count in formation.items()
    ]
    return [*kinds, Need(process=_TERMINAL, count=1, postgres=1, redis=2)]


def postgres_total(wanted: Sequence[Need]) -> int:
    """Connections to Postgres, all together."""
    return sum(need.count * need.postgres for need in wanted)


def redis_total(wanted: Sequence[Need]) -> int:
    """Connections to Redis, all together."""
    return sum(need.count * need.redis for need in wanted)


def spelt(wanted: Sequence[Need], server: str) -> str:
    """`1 web x 4 + 1 worker x 8 …`: the sum, so that anybody can add it up."""
    return " + ".join(
        f"{need.count} {need.process} x {each}"
        for need in wanted
        if need.count and (each := need.postgres if server == "postgres" else need.redis)
    )


def smallest(plans: Sequence[Plan], connections: int) -> str:
    """The smallest plan that has room for so many, in words."""
    plan = next((plan for plan in plans if plan.connections >= connections), None)
    if plan is None:
        return f"no Heroku plan holds {connections}: put a pooler in session mode between"
    return f"{plan.name} ({plan.connections}) is the smallest Heroku plan that holds it"
