"""Import a file of people: plan it, or run it. A plan does the same work in a transaction that it then takes back.

One transaction for every 100,000 rows, in set-based statements: nothing is ever half done, and the same file imported
again changes nothing. An import never lifts an opt-out, never assumes a basis, and never joins two existing persons.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO

from outreach.audience.aliases import alias
from outreach.audience.assembling import Assembly, assemble
from outreach.audience.consent_rows import BASES
from outreach.audience.identifiers import Identifier
from outreach.audience.linking import UNIQUE_KINDS, Known, Linking, link_rows
from outreach.audience.reading import BadLine, Record, Table, open_table
from outreach.audience.remembering import digests_of
from outreach.audience.report import LISTED, Hub, ImportReport, Merge
from outreach.audience.rows import Columns, Reject, Row, parse_columns, read_row
from outreach.errors import ConflictError, UsageError
from outreach.models import audience, deletions, identities, journal, permissions
from outreach.models.base import Database, Tx
from outreach.models.identities import pages
from outreach.peppers import Peppers

#: Rows per transaction.
SLICE = 100_000
#: Sources that the engine writes itself: a link of that source means what the engine saw, not what a file says.
_OWN_SOURCES = frozenset({"resolved", "engine", "inbound"})
_ERASED = "it names somebody who asked to be erased: nothing of it was stored"
_TRIES = 3
_HUBS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to import, and under which claims. `path` may be `-`; `mappings` are COLUMN=FIELD words."""

    path: str
    source: str
    mappings: Sequence[str] = ()
    basis: str | None = None
    proof: str | None = None


#: Per channel, how many of these persons may be contacted, and why the others may not: compliance.reaching.reach. The rooms
#: stand side by side, so whoever composes them hands it in.
Reach = Callable[[Tx, Sequence[int], datetime], dict[str, Counter[str]]]


def plan_import(
    db: Database,
    order: Order,
    *,
    pepper: str,
    now: datetime,
    stdin: BinaryIO | None = None,
    reach: Reach | None = None,
) -> ImportReport:
    """What `run_import` would do. Nothing is written. Raises UsageError as it does."""
    columns = _check(order)
    with open_table(order.path, stdin) as table, db.transaction() as tx:
        report = _new_report(order, table, planned=True)
        tx.execute("SAVEPOINT plan")
        persons: set[int] = set()
        for rows in _slices(table, columns, report):
            _add(report, _write(tx, rows, order, report, pepper, now), persons)
        report.reach = reach(tx, sorted(persons), now) if reach else {}
        # Takes back every row and every row lock; the audience's turn ends with the transaction.
        tx.execute("ROLLBACK TO SAVEPOINT plan")
    report.import_id = None
    return report


def run_import(
    db: Database,
    order: Order,
    *,
    pepper: str,
    now: datetime,
    stdin: BinaryIO | None = None,
    reach: Reach | None = None,
) -> ImportReport:
    """Import the file. Raises UsageError when it cannot be read as a table of people, before anything is written."""
    columns = _check(order)
    with open_table(order.path, stdin) as table:
        report = _new_report(order, table, planned=False)
        persons: set[int] = set()
        for rows in _slices(table, columns, report):
            _add(report, _written(db, rows, order, report, pepper, now), persons)
    db.run(lambda tx: _close_import(tx, report, persons, now, reach))
    return report


def _close_import(
    tx: Tx, report: ImportReport, persons: set[int], now: datetime, reach: Reach | None
) -> None:
    report.reach = reach(tx, sorted(persons), now) if reach else {}
    if report.import_id is not None:
        audience.set_import_counts(tx, report.import_id, report.counts())


def _check(order: Order) -> Columns:
    """Raises UsageError when the order's claims do not hold together."""
    if not order.source.strip():
        raise UsageError(
            "an import needs a source",
            hint="--source says where these people come from, as in --source conference-2026",
        )
    if order.source in _OWN_SOURCES:
        raise UsageError(f"the source {order.source} is the engine's own", hint="give the file another one")
    if order.basis is not None and order.basis not in BASES:
        raise UsageError(f"no basis is named {order.basis}", hint=f"bases: {', '.join(BASES)}")
    if (order.basis is None) != (not (order.proof or "").strip()):
        raise UsageError(
            "a basis and its proof are given together, or neither",
            hint="--basis opt_in --proof 'form of 3 May, row numbers = ids'",
        )
    return parse_columns(order.mappings)


def _new_report(order: Order, table: Table, *, planned: bool) -> ImportReport:
    return ImportReport(
        file=table.name,
        sha256=table.sha256,
        source=order.source,
        format=table.format,
        encoding=table.encoding,
        planned=planned,
        basis=order.basis,
    )


# --- reading ------------------------------------------------------------------------------------------------


def _slices(table: Table, columns: Columns, report: ImportReport) -> Iterator[list[Row]]:
    """The rows that identify somebody, in lists for one transaction each; the others go into the report.

    Raises UsageError, before the first list, when the columns cannot be right. JSON lines name theirs one by one: they
    are judged by the first list.
    """
    if table.columns:
        columns.require(table.columns)
    for number, records in enumerate(pages(table.records, SLICE)):
        if number == 0 and not table.columns:
            columns.require(_columns_of(table, records))
        rows = [row for record in records if (row := _understand(record, columns, report))]
        if rows:
            yield rows


def _columns_of(table: Table, records: Sequence[Record | BadLine]) -> list[str]:
    found = dict.fromkeys(
        column for record in records if isinstance(record, Record) for column in record.cells
    )
    if not found and isinstance(first := records[0], BadLine):
        raise UsageError(
            f"{table.name} holds no record; line {first.line} is {first.reason}",
            hint='each line is one object, as in {"name": "Ada", "twitter": "@ada"}',
        )
    return list(found)


def _understand(record: Record | BadLine, columns: Columns, report: ImportReport) -> Row | None:
    report.rows += 1
    if isinstance(record, BadLine):
        report.reject(Reject(line=record.line, reason=record.reason))
        return None
    row, rejects = read_row(record, columns)
    for reject in rejects:
        report.reject(reject)
    report.accepted += row is not None
    return row


# --- writing ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one slice did."""

    import_id: int
    linking: Linking
    assembly: Assembly
    profiles: Counter[str]
    repeated: int
    bases_new: int
    suppressed: int
    #: lines that were left out, because they name somebody who was erased
    erased: frozenset[int] = frozenset()


def _written(
    db: Database, rows: list[Row], order: Order, report: ImportReport, pepper: str, now: datetime
) -> Written:
    """The slice in a transaction of its own; begun anew when somebody changed one of its persons meanwhile."""
    for _ in range(_TRIES - 1):
        try:
            return db.run(lambda tx: _write(tx, rows, order, report, pepper, now))
        except ConflictError:
            continue
    return db.run(lambda tx: _write(tx, rows, order, report, pepper, now))


def bring_in(
    tx: Tx, rows: list[Row], order: Order, *, import_id: int, pepper: str, now: datetime, patience: float
) -> Written:
    """The rows in the caller's transaction, under an import that is open; waits for its turn at most `patience` real seconds.

    What somebody posts goes the way of what stands in a file: the same identities, guards and opt-outs. Raises ConflictError
    when somebody changed one of the persons meanwhile: begin the transaction anew.
    """
    report = ImportReport(
        file="", sha256="", source=order.source, format="", encoding="", planned=False, basis=order.basis, import_id=import_id
    )  # fmt: skip
    identities.lock_audience(tx, patience)
    return _write_in_turn(tx, rows, order, report, pepper, now)


def _write(
    tx: Tx, rows: list[Row], order: Order, report: ImportReport, pepper: str, now: datetime
) -> Written:
    identities.lock_audience(tx)
    erased = _erased_lines(tx, rows, pepper)
    kept = [row for row in rows if row.line not in erased]
    return replace(_write_in_turn(tx, kept, order, report, pepper, now), erased=erased)


def _erased_lines(tx: Tx, rows: list[Row], pepper: str) -> frozenset[int]:
    """Lines that name somebody who asked to be erased: nothing of them is stored again, not even that they stood in a file."""
    if not deletions.any_erased(tx):
        return frozenset()
    peppers = Peppers.of(pepper)
    digests = [[d for i in row.identifiers for d in peppers.digests(i.kind, i.value)] for row in rows]
    erased, _ = deletions.unwanted(tx, [digest for some in digests for digest in some], [])
    return frozenset(row.line for row, some in zip(rows, digests, strict=True) if not erased.isdisjoint(some))


def _write_in_turn(
    tx: Tx, rows: list[Row], order: Order, report: ImportReport, pepper: str, now: datetime
) -> Written:
    linking = link_rows(rows, _known(tx, rows))
    assembly = assemble(
        rows,
        linking,
        hmac_of=_digests(tx, linking, Peppers.of(pepper)).__getitem__,
        take_ids=lambda table, count: identities.take_ids(tx, table, count),
    )
    stopped = _stopped(tx, assembly)
    known = assembly.persons - {p.id for p in assembly.new_persons}
    identities.lock_persons(tx, (assembly.attached | stopped.keys()) & known)
    import_id = report.import_id or _open_import(tx, order, report, now)
    profiles = _write_rows(tx, assembly, order.source, import_id, now)
    return Written(
        import_id=import_id,
        linking=linking,
        assembly=assembly,
        profiles=profiles,
        repeated=len(rows) - len(assembly.profiles),
        bases_new=_write_bases(tx, assembly, order, import_id, now),
        suppressed=_suppress(tx, assembly, stopped, import_id, now),
    )


def _known(tx: Tx, rows: list[Row]) -> Known:
    """What the database knows of the rows' identities: themselves, their persons, their links."""
    found = identities.known_identities(
        tx, list({(str(i.kind), i.value): None for row in rows for i in row.identifiers})
    )
    ids = [k.id for k in found]
    return Known(
        identities=found,
        persons=identities.known_persons(tx, sorted({k.person_id for k in found}), UNIQUE_KINDS),
        links=identities.known_links(tx, ids),
        degrees=identities.link_degrees(tx, ids),
    )


def _digests(tx: Tx, linking: Linking, peppers: Peppers) -> dict[Identifier, str]:
    """Of the identifiers that are new here: the digest under which each is written down."""
    new = [i for i, known in zip(linking.identifiers, linking.known, strict=True) if known is None]
    return dict(zip(new, digests_of(tx, peppers, [(i.kind, i.value) for i in new]), strict=True))


def _stopped(tx: Tx, assembly: Assembly) -> dict[int, str]:
    """Person -> reason, where an identifier of theirs had opted out before, under whatever name it was known then; and
    where a suppressed person receives a new identifier, which has to be remembered too.
    """
    found = audience.standing_suppressions(tx, list(assembly.persons_by_hmac))
    by_identifier = {assembly.persons_by_hmac[hmac]: reason for hmac, reason in found.items()}
    return (
        dict.fromkeys(assembly.attached & assembly.suppressed, "joined a suppressed person") | by_identifier
    )


def _open_import(tx: Tx, order: Order, report: ImportReport, now: datetime) -> int:
    return audience.insert_import(
        tx,
        source=order.source,
        file_name=report.file,
        file_hash=report.sha256,
        basis=order.basis,
        proof=order.proof,
        now=now,
    )


def _write_rows(tx: Tx, assembly: Assembly, source: str, import_id: int, now: datetime) -> Counter[str]:
    identities.insert_persons(tx, assembly.new_persons, now)
    identities.fill_persons(tx, assembly.filled_persons)
    identities.insert_identities(tx, assembly.identities, import_id, now)
    identities.insert_links(tx, assembly.links, source, import_id, now)
    return audience.upsert_profiles(tx, assembly.profiles, source, import_id, now)


def _write_bases(tx: Tx, assembly: Assembly, order: Order, import_id: int, now: datetime) -> int:
    """The basis holds for each identity in the file, on its own channel, and for nothing that it is linked with."""
    if order.basis is None or order.proof is None:
        return 0
    rows = [
        (identity, channel, None, order.basis, order.source, order.proof, None, now, None, import_id, now)
        for identity, channel in assembly.reachable
    ]
    return permissions.insert_consents(tx, rows)


def _suppress(tx: Tx, assembly: Assembly, stopped: Mapping[int, str], import_id: int, now: datetime) -> int:
    """Suppress whom a known opt-out names, with all that they carry now; how many were not suppressed before."""
    evidence = {"import": import_id}
    for person, reason in sorted(stopped.items()):
        permissions.mark_suppressed(tx, person, reason=reason, at=now)
        if permissions.insert_of_person(
            tx, person, reason=reason, source="import", evidence=evidence, at=now
        ):
            journal.tell(tx, "suppressed", journal.digests_of(tx, person), now, person=True, source="import")
    first = sorted(stopped.keys() - assembly.suppressed)
    events = [(person, "suppressed", None, {"reason": stopped[person], **evidence}) for person in first]
    identities.insert_person_events(tx, events, "import", now)
    return len(first)


# --- counting -----------------------------------------------------------------------------------------------


def _add(report: ImportReport, written: Written, persons: set[int]) -> None:
    """Add one slice to the report, and its persons to those of the file."""
    linking, assembly = written.linking, written.assembly
    report.import_id = written.import_id
    report.repeated += written.repeated
    report.persons_new += len(assembly.new_persons)
    persons |= assembly.persons
    report.persons_known = len(persons) - report.persons_new
    report.identities_new.update(i.kind for i in assembly.identities)
    report.identities_known.update(k.kind for k in linking.known if k is not None)
    report.links_new.update(str(link.status) for link in linking.links)
    report.links_known += linking.known_links
    report.profiles.update(written.profiles)
    report.bases_new += written.bases_new
    report.suppressed += written.suppressed
    report.erased += len(written.erased)
    report.accepted -= len(written.erased)
    for line in sorted(written.erased):
        report.reject(Reject(line=line, reason=_ERASED))
    report.largest_person = max([report.largest_person, *(g.size for g in linking.partition.groups())])
    report.would_merge += [
        Merge(
            person_a=m.person_a,
            alias_a=alias(m.person_a),
            person_b=m.person_b,
            alias_b=alias(m.person_b),
            line=m.line,
        )
        for m in linking.would_merge.values()
    ][: LISTED - len(report.would_merge)]
    report.hubs = sorted([*report.hubs, *_hubs(linking)], key=lambda h: -h.links)[:_HUBS]


def _hubs(linking: Linking) -> list[Hub]:
    """The identifiers of which a guard held links, the most shared first."""
    held = Counter(node for k in linking.links if k.status == "held_degree" for node in (k.a, k.b))
    links = Counter(node for k in linking.links for node in (k.a, k.b))
    hubs = [(linking.identifiers[n], links[n], held[n]) for n in held]
    ranked = sorted(hubs, key=lambda h: (-h[1], h[0].value))[:_HUBS]
    return [_hub(identifier, links, held) for identifier, links, held in ranked]


def _hub(identifier: Identifier, links: int, held: int) -> Hub:
    return Hub(kind=identifier.kind, shown=identifier.shown, links=links, held=held)
