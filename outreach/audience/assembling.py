"""PURE: the rows that an import writes, made of its records, their linking and fresh ids."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from outreach.audience.identifiers import Identifier
from outreach.audience.linking import Linking
from outreach.audience.partition import Group
from outreach.audience.rows import Row
from outreach.models.audience import ProfileRow
from outreach.models.identities import IdentityRow, LinkRow, PersonRow


@dataclass(slots=True)
class _Said:
    """What the rows say of one person: the first word counts. One real record makes the person real."""

    name: str | None = None
    zone: str | None = None
    country: str | None = None
    entity_type: str | None = None
    invented: bool = True

    def hear(self, row: Row) -> None:
        self.name = self.name or row.name
        self.zone = self.zone or row.zone
        self.country = self.country or row.country
        self.entity_type = self.entity_type or row.entity_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """Everything to write, with ids. `attached` are known persons that receive a new identity."""

    new_persons: Sequence[PersonRow]
    filled_persons: Sequence[PersonRow]
    identities: Sequence[IdentityRow]
    links: Sequence[LinkRow]
    profiles: Sequence[ProfileRow]
    #: (identity, channel) of every identity in the file that can be reached
    reachable: Sequence[tuple[int, str]]
    #: hmac -> person, of every identity in the file
    persons_by_hmac: Mapping[str, int]
    attached: frozenset[int]
    #: those of the known persons that are suppressed already
    suppressed: frozenset[int]
    persons: frozenset[int]


def assemble(
    rows: Sequence[Row],
    linking: Linking,
    *,
    hmac_of: Callable[[Identifier], str],
    take_ids: Callable[[str, int], list[int]],
) -> Assembly:
    """Give every new person and identity its id, and lay out the rows. `take_ids(table, count)` hands out fresh ids."""
    person_ids = _person_ids(linking, take_ids)
    home = {row.line: linking.home_of(row) for row in rows}
    said = _hear(rows, linking, home)
    identity_ids = _identity_ids(linking, take_ids)
    persons = {g: _person(person_ids[g], said[g]) for g in person_ids}
    identities = list(_identities(linking, identity_ids, person_ids, hmac_of))
    return Assembly(
        new_persons=[p for g, p in persons.items() if g.person_id is None],
        filled_persons=[p for g, p in persons.items() if g.person_id is not None],
        identities=identities,
        links=list(_links(linking, identity_ids)),
        profiles=_profiles(rows, {row.line: person_ids[home[row.line]] for row in rows}),
        reachable=[(identity_ids[n], str(i.channel)) for n, i in enumerate(linking.identifiers) if i.channel],
        persons_by_hmac=_persons_by_hmac(linking, identities),
        attached=frozenset(i.person_id for i in identities)
        - {p.id for g, p in persons.items() if g.person_id is None},
        suppressed=frozenset(g.person_id for g in person_ids if g.person_id is not None and g.suppressed),
        persons=frozenset(person_ids.values()),
    )


def _person_ids(linking: Linking, take_ids: Callable[[str, int], list[int]]) -> dict[Group, int]:
    """Known persons keep their number; new ones get the next, in the order in which the file names them."""
    groups = sorted(linking.partition.groups(), key=lambda g: min(g.members))
    fresh = iter(take_ids("person", sum(g.person_id is None for g in groups)))
    return {g: next(fresh) if g.person_id is None else g.person_id for g in groups}


def _identity_ids(linking: Linking, take_ids: Callable[[str, int], list[int]]) -> list[int]:
    fresh = iter(take_ids("identity", linking.known.count(None)))
    return [next(fresh) if known is None else known.id for known in linking.known]


def _hear(rows: Sequence[Row], linking: Linking, home: Mapping[int, Group]) -> dict[Group, _Said]:
    """A row speaks of the person whom it is about; of the others only where no row is about them."""
    said = {g: _Said() for g in linking.partition.groups()}
    for row in rows:
        said[home[row.line]].hear(row)
    about = set(home.values())
    for row in rows:
        for group in {linking.partition.group_of(n) for n in linking.nodes(row)}:
            said[group].invented &= row.invented
            if group not in about:
                said[group].hear(row)
    return said


def _person(person_id: int, said: _Said) -> PersonRow:
    return PersonRow(
        id=person_id,
        entity_type=said.entity_type or "person",
        name=said.name,
        zone=said.zone,
        country=said.country,
        invented=said.invented,
    )


def _identities(
    linking: Linking,
    ids: Sequence[int],
    person_ids: Mapping[Group, int],
    hmac_of: Callable[[Identifier], str],
) -> Iterator[IdentityRow]:
    for node, identifier in enumerate(linking.identifiers):
        if linking.known[node] is None:
            yield IdentityRow(
                id=ids[node],
                kind=identifier.kind,
                value=identifier.value,
                shown=identifier.shown,
                hmac=hmac_of(identifier),
                person_id=person_ids[linking.partition.group_of(node)],
            )


def _persons_by_hmac(linking: Linking, identities: Sequence[IdentityRow]) -> dict[str, int]:
    known = {k.hmac: k.person_id for k in linking.known if k is not None}
    return known | {i.hmac: i.person_id for i in identities}


def _links(linking: Linking, ids: Sequence[int]) -> Iterator[LinkRow]:
    for link in linking.links:
        a, b = sorted((ids[link.a], ids[link.b]))
        yield LinkRow(a=a, b=b, status=link.status, evidence={"line": link.line})


def _profiles(rows: Sequence[Row], person_of_line: Mapping[int, int]) -> list[ProfileRow]:
    """One per key: of a record that stands twice in the file the last one counts."""
    last = {row.key: row for row in rows}
    return [
        ProfileRow(person_id=person_of_line[row.line], source_key=row.key, attributes=row.attributes)
        for row in last.values()
    ]
