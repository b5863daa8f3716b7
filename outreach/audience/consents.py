"""Import a file of permissions: who may be contacted where, why, since when, and what shows it. Plan it, or run it.

A row says it of one identifier that somebody here is known by. Rows without source, date or proof are refused by line, and the
rest is recorded. The same file again changes nothing; what was withdrawn is not revived, and no opt-out is lifted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, BinaryIO

from outreach.audience.consent_rows import Columns, ConsentRow, read_consent
from outreach.audience.importing import SLICE, Reach
from outreach.audience.reading import BadLine, Record, Table, open_table
from outreach.audience.report import LISTED
from outreach.audience.rows import Reject
from outreach.models import audience, identities, permissions
from outreach.models.base import Database, Tx
from outreach.models.identities import KnownIdentity, pages

#: What the import is called among the others.
_SOURCE = "consent list"


@dataclass(slots=True, kw_only=True)
class ConsentReport:
    """What a file of permissions did. With `planned` nothing was written, and every count says what would be."""

    file: str
    sha256: str
    format: str
    encoding: str
    planned: bool
    import_id: int | None = None
    rows: int = 0
    #: understood, and of somebody whom we know
    accepted: int = 0
    #: new on record; the other accepted ones stand there already, or were withdrawn since
    recorded: int = 0
    #: of the accepted: over by now
    expired: int = 0
    #: rows refused, of which every one is listed up to LISTED
    refused: int = 0
    #: "channel basis" -> accepted rows
    bases: Counter[str] = field(default_factory=Counter)
    #: columns that mean nothing here
    left_out: Sequence[str] = ()
    #: channel -> may_contact, or why not -> persons of this file
    reach: dict[str, Counter[str]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)

    def refuse(self, reject: Reject) -> None:
        self.refused += 1
        if len(self.rejects) < LISTED:
            self.rejects.append(reject)

    def in_order(self) -> list[Reject]:
        """What was refused, as the file's reader meets it."""
        return sorted(self.rejects, key=lambda reject: reject.line)

    def counts(self) -> dict[str, Any]:
        """What the import's row keeps: numbers only."""
        numbers = ("rows", "accepted", "recorded", "expired", "refused")
        return {name: getattr(self, name) for name in numbers} | {"bases": dict(self.bases)}

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        heads = ("file", "sha256", "format", "encoding", "planned", "import_id")
        lists = {"left_out": list(self.left_out), "rejects": [asdict(reject) for reject in self.in_order()]}
        return {name: getattr(self, name) for name in heads} | self.counts() | {"reach": self.reach} | lists


def plan_consents(
    db: Database,
    path: str,
    mappings: Sequence[str],
    *,
    now: datetime,
    reach: Reach,
    stdin: BinaryIO | None = None,
) -> ConsentReport:
    """What `run_consents` would do. Nothing is written. Raises UsageError as it does."""
    columns = Columns.of(mappings)
    with open_table(path, stdin) as table, db.transaction() as tx:
        report = _new_report(table, planned=True)
        tx.execute("SAVEPOINT plan")
        persons: set[int] = set()
        for rows in _slices(table, columns, report, now):
            persons |= _add(report, _write(tx, rows, report, now))
        report.reach = reach(tx, sorted(persons), now)
        tx.execute("ROLLBACK TO SAVEPOINT plan")
    report.import_id = None
    return report


def run_consents(
    db: Database,
    path: str,
    mappings: Sequence[str],
    *,
    now: datetime,
    reach: Reach,
    stdin: BinaryIO | None = None,
) -> ConsentReport:
    """Record the file's permissions. Raises UsageError where it cannot be read as a table of them, before anything is written."""
    columns = Columns.of(mappings)
    persons: set[int] = set()
    with open_table(path, stdin) as table:
        report = _new_report(table, planned=False)
        for rows in _slices(table, columns, report, now):
            persons |= _add(report, _written(db, rows, report, now))

    def close(tx: Tx) -> None:
        report.reach = reach(tx, sorted(persons), now)
        if report.import_id is not None:
            audience.set_import_counts(tx, report.import_id, report.counts())

    db.run(close)
    return report


def _new_report(table: Table, *, planned: bool) -> ConsentReport:
    return ConsentReport(
        file=table.name, sha256=table.sha256, format=table.format, encoding=table.encoding, planned=planned
    )


# --- reading ------------------------------------------------------------------------------------------------


def _slices(
    table: Table, columns: Columns, report: ConsentReport, now: datetime
) -> Iterator[list[ConsentRow]]:
    if table.columns:
        report.left_out = columns.require(table.columns)
    for number, records in enumerate(pages(table.records, SLICE)):
        if number == 0 and not table.columns:
            seen = dict.fromkeys(c for r in records if isinstance(r, Record) for c in r.cells)
            report.left_out = columns.require(list(seen))
        rows = [row for record in records if (row := _understand(record, columns, report, now)) is not None]
        if rows:
            yield rows


def _understand(
    record: Record | BadLine, columns: Columns, report: ConsentReport, now: datetime
) -> ConsentRow | None:
    report.rows += 1
    if isinstance(record, BadLine):
        report.refuse(Reject(line=record.line, reason=record.reason))
        return None
    read = read_consent(record, columns, now)
    if isinstance(read, Reject):
        report.refuse(read)
        return None
    return read


# --- writing ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What one slice did. Counted once its transaction has ended: one that is begun anew counts nothing twice."""

    import_id: int | None
    ours: Sequence[ConsentRow]
    unknown: Sequence[ConsentRow]
    recorded: int
    expired: int
    persons: set[int]


def _written(db: Database, rows: Sequence[ConsentRow], report: ConsentReport, now: datetime) -> _Written:
    return db.run(lambda tx: _write(tx, rows, report, now))


def _write(tx: Tx, rows: Sequence[ConsentRow], report: ConsentReport, now: datetime) -> _Written:
    known = _known(tx, rows)
    ours = [row for row in rows if _key(row) in known]
    import_id = report.import_id or (_open_import(tx, report, now) if ours else None)
    return _Written(
        import_id=import_id,
        ours=ours,
        unknown=[row for row in rows if _key(row) not in known],
        recorded=permissions.insert_consents(tx, _values(ours, known, import_id, now)),
        expired=sum(row.expires_at is not None and row.expires_at <= now for row in ours),
        persons={known[_key(row)].person_id for row in ours},
    )


def _open_import(tx: Tx, report: ConsentReport, now: datetime) -> int:
    return audience.insert_import(
        tx, source=_SOURCE, file_name=report.file, file_hash=report.sha256, basis=None, proof=None, now=now
    )


def _add(report: ConsentReport, written: _Written) -> set[int]:
    """Add one slice to the report; its persons."""
    report.import_id = written.import_id
    report.accepted += len(written.ours)
    report.recorded += written.recorded
    report.expired += written.expired
    report.bases.update(f"{row.channel} {row.basis}" for row in written.ours)
    hint = "import the people first: outreach audience import FILE --source …"
    for row in written.unknown:
        reason, value = "nobody is known by it", row.identifier.shown
        report.refuse(Reject(line=row.line, column="identifier", value=value, reason=reason, hint=hint))
    return written.persons


def _known(tx: Tx, rows: Sequence[ConsentRow]) -> dict[tuple[str, str], KnownIdentity]:
    found = identities.known_identities(tx, list(dict.fromkeys(_key(row) for row in rows)))
    return {(one.kind, one.value): one for one in found}


def _key(row: ConsentRow) -> tuple[str, str]:
    return str(row.identifier.kind), row.identifier.value


def _values(
    rows: Sequence[ConsentRow],
    known: dict[tuple[str, str], KnownIdentity],
    import_id: int | None,
    now: datetime,
) -> list[tuple[Any, ...]]:
    """As permissions.insert_consents wants them, to all accounts of ours; the same proof of the same thing once."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        head = (known[_key(row)].id, row.channel, None, row.basis, row.source, row.proof)
        found.setdefault(head, (*head, row.country, row.obtained_at, row.expires_at, import_id, now))
    return list(found.values())
