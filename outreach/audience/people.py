"""Find a person by whatever one has of them, and explain why two identifiers are one person."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.audience.aliases import alias, person_id_of
from outreach.audience.identifiers import Identifier, recognise
from outreach.engine.suggest import nearest
from outreach.errors import NotFound, UsageError
from outreach.models import identities
from outreach.models.base import Database, Row, Tx

#: Candidates that an ambiguous name lists.
LISTED = 20
#: How like a misspelt name must be to the right one (0 anything, 1 equal): it is a human who is named here.
_ALIKE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A person who fits, and by what: number, alias, identifier or name."""

    person_id: int
    alias: str
    name: str | None
    by: str
    suppressed: bool


def find_person(db: Database, who: str) -> Sequence[Match]:
    """Everybody whom `who` may mean: a number, an alias, a handle, address or email in any spelling, part of a name."""
    return db.run(lambda tx: find_in(tx, who))


def find_in(tx: Tx, who: str) -> list[Match]:
    """find_person inside a transaction."""
    text = who.strip()
    if not text:
        return []
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return _matches([identities.person_by_id(tx, int(text))], "number")
    number = person_id_of(text)
    if number is not None and (person := identities.person_by_id(tx, number)):
        return _matches([person], "alias")
    reading = recognise(text)
    if isinstance(reading, Identifier):
        return _matches([identities.person_of_identity(tx, reading.kind, reading.value)], "identifier")
    return _matches(identities.persons_named(tx, text, LISTED + 1), "name")


def nearest_person(db: Database, who: str) -> int | None:
    """The person whose identifier or name is spelt almost like this, if one comes near: who misspells seldom errs in the
    first letters, so those that stand next to it are compared and no others."""
    reading = recognise(who.strip())

    def work(tx: Tx) -> list[Row]:
        if isinstance(reading, Identifier):
            return identities.next_to(tx, reading.kind, reading.value, LISTED)
        return identities.next_to_name(tx, who.strip(), LISTED)

    persons = {row["value"]: int(row["person_id"]) for row in db.run(work)}
    word = reading.value if isinstance(reading, Identifier) else who.strip()
    guess = nearest(word, persons, cutoff=_ALIKE)
    return persons[guess] if guess is not None else None


def the_person(db: Database, who: str) -> int:
    """The one person whom `who` means. Raises NotFound, or UsageError that lists whom it may mean."""
    matches = find_person(db, who)
    if not matches:
        reading = recognise(who)
        hint = None if isinstance(reading, Identifier) else reading.hint
        raise NotFound(f"there is nobody like {who!r}", hint=hint)
    if len(matches) > 1:
        listed = "\n  ".join(f"{m.person_id}  {m.alias}  {m.name or ''}" for m in matches[:LISTED])
        more = "\n  and more" if len(matches) > LISTED else ""
        raise UsageError(
            f"{who!r} may mean several people:\n  {listed}{more}", hint="use the number or the alias"
        )
    return matches[0].person_id


def _matches(rows: Sequence[Row | None], by: str) -> list[Match]:
    return [
        Match(
            person_id=r["id"],
            alias=alias(r["id"]),
            name=r["name"],
            by=by,
            suppressed=r["suppressed_at"] is not None,
        )
        for r in rows
        if r is not None
    ]


# --- why are these two one person? --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One link of the path: from what to what, in which state, said by which source, when."""

    kind_from: str
    shown_from: str
    kind_to: str
    shown_to: str
    status: str
    source: str
    evidence: Mapping[str, object]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`joined`: they are one person, and every step is active. Else the steps show what a guard or a human holds apart."""

    joined: bool
    person_a: int
    person_b: int
    steps: Sequence[Step]


def why_linked(db: Database, a: str, b: str) -> Explanation:
    """The shortest path of links between two identifiers. Raises NotFound when one of them is not known."""
    return db.run(lambda tx: _explain(tx, a, b))


def _explain(tx: Tx, a: str, b: str) -> Explanation:
    one, two = _identity(tx, a), _identity(tx, b)
    persons = sorted({one["person_id"], two["person_id"]})
    known = {row["id"]: row for row in identities.identities_of(tx, persons)}
    links = identities.links_among(tx, persons)
    path = (
        _path([k for k in links if k["status"] == "active"], one["id"], two["id"])
        if len(persons) == 1
        else None
    )
    return Explanation(
        joined=len(persons) == 1,
        person_a=one["person_id"],
        person_b=two["person_id"],
        steps=_steps(
            known, path if path is not None else _path(links, one["id"], two["id"]) or [], one["id"]
        ),
    )


def _identity(tx: Tx, text: str) -> Row:
    reading = recognise(text)
    if not isinstance(reading, Identifier):
        raise UsageError(f"{text!r}: {reading.reason}", hint=reading.hint)
    found = identities.known_identities(tx, [(reading.kind, reading.value)])
    if not found:
        raise NotFound(f"{text} is not known", hint="outreach audience import brings people in")
    return {"id": found[0].id, "person_id": found[0].person_id}


def _path(links: Sequence[Row], start: int, goal: int) -> list[Row] | None:
    """The fewest links from start to goal; None: no way there."""
    came_by: dict[int, Row | None] = {start: None}
    todo = deque([start])
    while todo and goal not in came_by:
        here = todo.popleft()
        for link in links:
            there = link["a"] + link["b"] - here
            if here in (link["a"], link["b"]) and there not in came_by:
                came_by[there] = link
                todo.append(there)
    if goal not in came_by:
        return None
    path: list[Row] = []
    while link_back := came_by[goal]:
        path.insert(0, link_back)
        goal = link_back["a"] + link_back["b"] - goal
    return path


def _steps(known: Mapping[int, Row], path: Sequence[Row], start: int) -> list[Step]:
    steps = []
    for link in path:
        end = link["a"] + link["b"] - start
        steps.append(
            Step(
                kind_from=known[start]["kind"],
                shown_from=known[start]["shown"],
                kind_to=known[end]["kind"],
                shown_to=known[end]["shown"],
                status=link["status"],
                source=link["source"],
                evidence=link["evidence"],
                at=link["created_at"],
            )
        )
        start = end
    return steps
