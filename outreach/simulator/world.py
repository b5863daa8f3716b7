"""The world that a run starts from: the app, our accounts, the people, and how the provider behaves. Read from JSON.

Unknown keys and wrong values are refused with their place, so that a typo never becomes a silent default.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from outreach.simulator.personas import Mixture, persona_of
from outreach.simulator.problems import Dialect
from outreach.simulator.quotas import check_overrides

HANDLE = re.compile(r"[A-Za-z0-9_]{1,15}")
USER_ID = re.compile(r"[0-9]{1,19}")


class WorldProblem(ValueError):
    """The world cannot be built from this; the message says where."""


def id_of_handle(handle: str) -> str:
    """The numeric id of somebody whose id was not given: a hash of the handle, 1 to 19 digits."""
    return str(int.from_bytes(hashlib.sha256(handle.lower().encode()).digest()[:8], "big") >> 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSpec:
    """Our developer app. `bearer_token` is its app-only token; without `callback_urls` accounts are sent back anywhere."""

    id: str = "29000001"
    client_id: str = "sim-client"
    client_secret: str | None = None
    consumer_secret: str = "sim-consumer-secret"  # noqa: S105  a simulated one
    bearer_token: str = "sim-app-bearer"  # noqa: S105  a simulated one
    callback_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSpec:
    """One of our accounts. `follow_permitted`: its tier may follow; else the provider answers 403."""

    handle: str
    access_token: str
    refresh_token: str | None = None
    id: str = ""
    name: str = ""
    follow_permitted: bool = False
    #: real seconds after which the first access token is refused; None: never
    expires_in_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstWord:
    """A message that somebody wrote before any of ours. `after_s`: scaled seconds from the start; may be negative."""

    text: str
    after_s: float = 0.0
    #: handle of the account; empty: the first one
    to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSpec:
    """Somebody out there. `persona`: a habit's name, or an object that overrides parts of the hashed script."""

    handle: str
    id: str = ""
    name: str = ""
    persona: str | Mapping[str, Any] | None = None
    wrote_first: FirstWord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSpec:
    """All of it. Durations in real seconds."""

    app: AppSpec = field(default_factory=AppSpec)
    accounts: tuple[AccountSpec, ...] = ()
    people: tuple[PersonSpec, ...] = ()
    mixture: Mixture = field(default_factory=Mixture)
    #: "roomy": the published windows with a thousand times their limits; "published": as published
    rate_limits: str = "roomy"
    #: bucket → {"user": 5, "app": 100, "user_day": ..., "app_day": ...}
    rate_limit_overrides: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    dialect: Dialect = Dialect.MIXED
    #: reads do not see what is younger than this
    read_lag_s: float = 0.0
    #: from an event to the first attempt at its webhook
    webhook_delay_s: float = 0.0
    #: life of an access token that a refresh gave out
    token_lifetime_s: float = 7200.0

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> "WorldSpec":
        """From a JSON object. Raises WorldProblem with the place of what is wrong."""
        parsed = dict(raw)
        parsed["app"] = _build(AppSpec, raw.get("app", {}), "app")
        parsed["accounts"] = _each(raw, "accounts", _account)
        parsed["people"] = _each(raw, "people", _person)
        parsed["mixture"] = _valued("mixture", Mixture.read, raw.get("mixture", {}))
        parsed["dialect"] = _valued("dialect", Dialect, raw.get("dialect", Dialect.MIXED))
        return _build(cls, parsed, "world").checked()

    @property
    def everyone(self) -> tuple["AccountSpec | PersonSpec", ...]:
        """Accounts, then people."""
        return (*self.accounts, *self.people)

    def checked(self) -> "WorldSpec":
        """The same world, if it holds together. Raises WorldProblem otherwise."""
        if self.rate_limits not in ("roomy", "published"):
            raise WorldProblem('world: rate_limits is "roomy" or "published"')
        _valued("rate_limit_overrides", check_overrides, self.rate_limit_overrides)
        for kind, values in (
            ("handle", [one.handle.lower() for one in self.everyone]),
            ("id", [one.id for one in self.everyone]),
            ("access_token", [one.access_token for one in self.accounts]),
        ):
            if len(set(values)) != len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise WorldProblem(f"world: {kind} {twice!r} is there twice")
        for person in self.people:
            _valued(f"person {person.handle}", _check_persona, person, self.mixture)
        return self


def read_world(path: Path) -> WorldSpec:
    """The world in a JSON file. Raises WorldProblem naming the file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorldProblem(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise WorldProblem(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise WorldProblem(f"{path} does not hold a JSON object")
    return WorldSpec.read(raw)


T = TypeVar("T")


def _build(cls: type[T], raw: object, where: str) -> T:
    """A dataclass from an object with exactly its keys."""
    if not isinstance(raw, Mapping):
        raise WorldProblem(f"{where}: not an object")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # every caller hands in a dataclass
    for key in raw:
        if key not in known:
            raise WorldProblem(f"{where}: unknown key {key!r}")
    for name, f in known.items():
        if name not in raw and f.default is MISSING and f.default_factory is MISSING:
            raise WorldProblem(f"{where}: {name!r} is missing")
    return cls(**raw)


def _each(raw: Mapping[str, Any], key: str, build: Any) -> tuple[Any, ...]:
    items = raw.get(key, ())
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise WorldProblem(f"{key}: not a list")
    return tuple(build(item, f"{key}[{index}]") for index, item in enumerate(items))


def _valued(where: str, build: Any, *args: Any) -> Any:
    try:
        return build(*args)
    except (ValueError, TypeError, AttributeError) as error:
        raise WorldProblem(f"{where}: {error}") from error


def _account(raw: object, where: str) -> AccountSpec:
    return _named(_build(AccountSpec, raw, where), where)


def _person(raw: object, where: str) -> PersonSpec:
    person = _named(_build(PersonSpec, raw, where), where)
    first = person.wrote_first
    return replace(person, wrote_first=_build(FirstWord, first, f"{where}.wrote_first") if first else None)


N = TypeVar("N", AccountSpec, PersonSpec)


def _named(spec: N, where: str) -> N:
    """With its id and name filled in."""
    if not isinstance(spec.handle, str) or not HANDLE.fullmatch(spec.handle):
        raise WorldProblem(f"{where}: {spec.handle!r} is not a handle (1 to 15 of A-Z a-z 0-9 _)")
    user_id = spec.id or id_of_handle(spec.handle)
    if not isinstance(user_id, str) or not USER_ID.fullmatch(user_id):
        raise WorldProblem(f"{where}: {user_id!r} is not an id (a string of 1 to 19 digits)")
    return replace(spec, id=user_id, name=spec.name or spec.handle)


def _check_persona(person: PersonSpec, mixture: Mixture) -> None:
    persona_of(0, person.id, mixture, person.persona)
