"""What an import did, or would do: counts, what was left out, and who may be contacted. Plain values, JSON-able."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outreach.audience.rows import Reject

#: Listed in full up to here, counted beyond.
LISTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Two existing persons that line `line` speaks of as one; both stay apart until a human merges them."""

    person_a: int
    alias_a: str
    person_b: int
    alias_b: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """An identifier that more records share than one person should: its links, and how many of them are held."""

    kind: str
    shown: str
    links: int
    held: int


@dataclass(slots=True, kw_only=True)
class ImportReport:
    """The report of one file. With `planned` nothing was written, and every count says what would be."""

    file: str
    sha256: str
    source: str
    format: str
    encoding: str
    planned: bool
    basis: str | None = None
    import_id: int | None = None
    #: records read; those understood; those of them that stood in the file before
    rows: int = 0
    accepted: int = 0
    repeated: int = 0
    rejected_rows: int = 0
    rejected_cells: int = 0
    persons_new: int = 0
    persons_known: int = 0
    #: kind -> how many
    identities_new: Counter[str] = field(default_factory=Counter)
    identities_known: Counter[str] = field(default_factory=Counter)
    #: status -> how many: active, proposed, held_degree, held_size, held_conflict
    links_new: Counter[str] = field(default_factory=Counter)
    links_known: int = 0
    #: new, changed, unchanged
    profiles: Counter[str] = field(default_factory=Counter)
    bases_new: int = 0
    #: persons suppressed at once, because one of their identifiers had opted out before
    suppressed: int = 0
    #: rows that name somebody who asked to be erased: nothing of them was stored
    erased: int = 0
    largest_person: int = 0
    would_merge: list[Merge] = field(default_factory=list)
    hubs: list[Hub] = field(default_factory=list)
    #: channel -> may_contact, or why not (compliance.reaching.WORDS) -> persons
    reach: dict[str, Counter[str]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def writes(self) -> int:
        """How many rows are new or changed: 0 when the same file is imported again."""
        identities, links = sum(self.identities_new.values()), sum(self.links_new.values())
        return (
            self.persons_new
            + identities
            + links
            + self.profiles["new"]
            + self.profiles["changed"]
            + self.bases_new
        )

    def reject(self, reject: Reject) -> None:
        """Count what was left out, and list it while the list is not too long to read."""
        if reject.column:
            self.rejected_cells += 1
        else:
            self.rejected_rows += 1
        if len(self.rejects) < LISTED:
            self.rejects.append(reject)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        # asdict() would take a Counter's items for its elements.
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)} | {
            "writes": self.writes
        }

    def counts(self) -> dict[str, Any]:
        """What the import's row keeps: numbers only."""
        numbers = (
            "rows",
            "accepted",
            "repeated",
            "rejected_rows",
            "rejected_cells",
            "persons_new",
            "persons_known",
            "bases_new",
            "suppressed",
            "erased",
        )
        counters: Mapping[str, Counter[str]] = {
            "identities_new": self.identities_new,
            "links_new": self.links_new,
            "profiles": self.profiles,
        }
        return {name: getattr(self, name) for name in numbers} | {
            name: dict(c) for name, c in counters.items()
        }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [dataclasses.asdict(item) for item in value]
    return value


def write_rejects(report: ImportReport, path: Path) -> int:
    """Write what was left out as JSON lines (not CSV: a spreadsheet would run a cell that begins with `=`); how many."""
    lines = [json.dumps(dataclasses.asdict(reject), ensure_ascii=False) for reject in report.rejects]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)
