"""read_archive: a month of the log that has left as a file, as leaves that can be held against its seals."""

import gzip
import json
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path

from outreach.errors import UsageError
from outreach.models import sealing
from outreach.models.base import Tx
from outreach.runtime.chain import LEAF_BYTES, read_leaves
from outreach.runtime.verified import Archive, Reader


def read_archive(db: Reader, path: Path, batch: int) -> tuple[str, Archive]:
    """The month (2026-01) and its events by id. Raises OSError, and UsageError for a file that holds no events of one month."""
    leaves: dict[int, bytes] = {}
    months: set[str] = set()
    try:
        with path.open("rb") as file:
            digest = sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        lines = _lines(path)
        while page := list(islice(lines, batch)):
            found = db.run(partial(_leaves, lines=page))
            for at, leaf in enumerate(read_leaves(found)):
                leaves[leaf.id] = found[at * LEAF_BYTES : (at + 1) * LEAF_BYTES]
                months.add(leaf.month)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path} is not a month of events: {reason}",
            hint="one JSON object a line, with every column of an event",
        ) from error
    if len(months) != 1:
        raise UsageError(
            f"{path} holds events of {len(months)} months, not of one",
            hint="give each exported file by itself",
        )
    return months.pop(), Archive(name=path.name, sha256=digest.hexdigest(), leaves=leaves)


def _leaves(tx: Tx, lines: list[str]) -> bytes:
    return sealing.leaves_of_lines(tx, lines)


def _lines(path: Path) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            if line.strip():
                row = json.loads(line)
                missing = sealing.COLUMNS - row.keys() if isinstance(row, dict) else sealing.COLUMNS
                if missing:
                    raise ValueError(f"a line without {', '.join(sorted(missing))}")
                yield line
