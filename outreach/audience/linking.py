"""PURE: which identities of a file are one person. Union-find with guards; what is known already is handed in.

An identifier that many share (an office mailbox, a project's handle) would glue strangers into one person, who could
then never be contacted rightly or left alone rightly. So a link joins only where every guard lets it; else it is kept
with the status that says which guard spoke, and both sides stay apart. Two persons that both exist already are never
joined here: the link is `proposed`, and a merge is a human's decision.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

from outreach.audience.identifiers import Identifier, IdentityKind, is_role_mailbox
from outreach.audience.partition import Group, Partition
from outreach.audience.rows import Row
from outreach.models.identities import KnownIdentity, KnownPerson


class LinkStatus(StrEnum):
    """What a link does: only an active one joins."""

    ACTIVE = "active"
    PROPOSED = "proposed"
    HELD_DEGREE = "held_degree"
    HELD_SIZE = "held_size"
    HELD_CONFLICT = "held_conflict"


#: How many identities of one other kind an identity may be linked with.
DEGREE_CAPS = {IdentityKind.EMAIL: 3, IdentityKind.EVM_ADDRESS: 2, IdentityKind.SOLANA_ADDRESS: 2}
DEFAULT_DEGREE_CAP = 3
ROLE_MAILBOX_CAP = 1
#: An organisation rightly shares its handle and its mailbox among its projects.
ORGANISATION_CAP = 10
#: Identities of one person.
SIZE_CAP = 50
#: A human has one of these: two different values are two humans.
UNIQUE_KINDS = (IdentityKind.TWITTER_ID, IdentityKind.LINKEDIN_MEMBER)


def degree_cap(identifier: Identifier, entity_type: str) -> int:
    """The cap of one identifier in a row about a person or an organisation."""
    if entity_type == "organisation":
        return ORGANISATION_CAP
    if identifier.kind is IdentityKind.EMAIL and is_role_mailbox(identifier.value):
        return ROLE_MAILBOX_CAP
    return DEGREE_CAPS.get(identifier.kind, DEFAULT_DEGREE_CAP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the database knows of the file's identities."""

    identities: Sequence[KnownIdentity] = ()
    persons: Sequence[KnownPerson] = ()
    #: (smaller id, larger id) -> status
    links: Mapping[tuple[int, int], str] = field(default_factory=dict)
    #: (identity, kind of the other end) -> active links
    degrees: Mapping[tuple[int, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLink:
    """A pair of nodes that no link joined before."""

    a: int
    b: int
    status: LinkStatus
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WouldMerge:
    """Two existing persons that a row speaks of as one."""

    person_a: int
    person_b: int
    line: int


@dataclass(slots=True)
class Linking:
    """The outcome. A node is an index into `identifiers`; its group is its person."""

    identifiers: list[Identifier] = field(default_factory=list)
    known: list[KnownIdentity | None] = field(default_factory=list)
    node_of: dict[tuple[str, str], int] = field(default_factory=dict)
    partition: Partition = field(default_factory=Partition)
    links: list[NewLink] = field(default_factory=list)
    known_links: int = 0
    would_merge: dict[tuple[int, int], WouldMerge] = field(default_factory=dict)
    #: (node, kind of the other end) -> active links
    degrees: Counter[tuple[int, str]] = field(default_factory=Counter)

    def nodes(self, row: Row) -> list[int]:
        """The row's nodes, strongest first."""
        return [self.node_of[i.kind, i.value] for i in row.identifiers]

    def home_of(self, row: Row) -> Group:
        """The person whom the row is about: who holds most of its identities; in a draw the smaller, for a hub is nobody."""
        groups = [self.partition.group_of(n) for n in self.nodes(row)]
        return min(groups, key=lambda g: (-sum(other is g for other in groups), g.size))


def link_rows(rows: Sequence[Row], known: Known) -> Linking:
    """Every row's identities linked with each other, in the rows' order."""
    linking = Linking()
    _add_nodes(linking, rows, known)
    seen: set[tuple[int, int]] = set()
    for row in rows:
        for a, b in combinations(linking.nodes(row), 2):
            pair = (min(a, b), max(a, b))
            if pair not in seen:
                seen.add(pair)
                _link(linking, a, b, row, known.links)
    return linking


def _add_nodes(linking: Linking, rows: Sequence[Row], known: Known) -> None:
    """One node for each distinct identity; those that an existing person holds are one group from the start."""
    identities = {(k.kind, k.value): k for k in known.identities}
    persons = {p.id: p for p in known.persons}
    first: dict[int, int] = {}
    for identifier in (i for row in rows for i in row.identifiers):
        key = (str(identifier.kind), identifier.value)
        if key in linking.node_of:
            continue
        identity = identities.get(key)
        if identity is None:
            node = linking.partition.add(
                Group(size=1, unique={key[0]: key[1]} if key[0] in UNIQUE_KINDS else {})
            )
        elif identity.person_id in first:
            node = linking.partition.add_beside(first[identity.person_id])
        else:
            person = persons[identity.person_id]
            node = linking.partition.add(_group_of(person))
            first[person.id] = node
        linking.node_of[key] = node
        linking.identifiers.append(identifier)
        linking.known.append(identity)
    ids = {identity.id: node for node, identity in enumerate(linking.known) if identity is not None}
    linking.degrees.update({(ids[i], kind): links for (i, kind), links in known.degrees.items() if i in ids})


def _group_of(person: KnownPerson) -> Group:
    return Group(
        size=person.size, person_id=person.id, suppressed=person.suppressed, unique=dict(person.unique)
    )


def _link(linking: Linking, a: int, b: int, row: Row, known_links: Mapping[tuple[int, int], str]) -> None:
    """Judge one pair that the row puts side by side. What a link was already, it stays: also `cut`."""
    x, y = linking.known[a], linking.known[b]
    before = known_links.get((min(x.id, y.id), max(x.id, y.id))) if x and y else None
    status = LinkStatus.PROPOSED if before == LinkStatus.PROPOSED else _judge(linking, a, b, row.entity_type)
    if before is None:
        linking.links.append(NewLink(a=a, b=b, status=status, line=row.line))
    else:
        linking.known_links += 1
    if before is None and status is LinkStatus.ACTIVE:
        linking.partition.join(a, b)
        linking.degrees[a, linking.identifiers[b].kind] += 1
        linking.degrees[b, linking.identifiers[a].kind] += 1
    if before in (None, LinkStatus.PROPOSED) and status is LinkStatus.PROPOSED:
        _note_merge(linking, a, b, row.line)


def _judge(linking: Linking, a: int, b: int, entity_type: str) -> LinkStatus:
    """The first guard that speaks, else active."""
    if _full(linking, a, b, entity_type) or _full(linking, b, a, entity_type):
        return LinkStatus.HELD_DEGREE
    one, two = linking.partition.group_of(a), linking.partition.group_of(b)
    if one is two:
        return LinkStatus.ACTIVE
    if any(two.unique.get(kind, value) != value for kind, value in one.unique.items()):
        return LinkStatus.HELD_CONFLICT
    if one.size + two.size > SIZE_CAP:
        return LinkStatus.HELD_SIZE
    if one.person_id is not None and two.person_id is not None:
        return LinkStatus.PROPOSED
    return LinkStatus.ACTIVE


def _full(linking: Linking, node: int, other: int, entity_type: str) -> bool:
    """May the node have no further link to this kind? One that was marked shared, blocked or closed may have none at all."""
    known = linking.known[node]
    if known is not None and known.status not in ("active", "not_found"):
        return True
    identifier = linking.identifiers[node]
    return linking.degrees[node, linking.identifiers[other].kind] >= degree_cap(identifier, entity_type)


def _note_merge(linking: Linking, a: int, b: int, line: int) -> None:
    persons = [linking.partition.group_of(n).person_id for n in (a, b)]
    low, high = sorted(p for p in persons if p is not None)
    if low != high:
        linking.would_merge.setdefault((low, high), WouldMerge(person_a=low, person_b=high, line=line))
