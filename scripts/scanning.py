"""Look for secrets in the tracked files and for known holes in the dependencies: scripts/scan. Exits 1 for anything found.

Nothing passes here because it looked at nothing: every scanner must first find what is planted for it.

    python -m scripts.scanning            # all of it
    python -m scripts.scanning --accept   # what looks like a secret now is none: written into .secrets.baseline, to be read in the diff
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from detect_secrets.core import baseline
from detect_secrets.core.scan import scan_file
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings, get_plugins
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
BASELINE = ".secrets.baseline"
FLOORS = "scripts/advisories.toml"
#: Written by machines, and full of digests.
_MADE = (".lock", ".csv", "schema.txt", BASELINE)
#: A pin that every advisory service knows: one that finds nothing wrong with it is none.
_KNOWN_BAD = {"jinja2": "3.1.5"}
_SERVICE_SECONDS = 4
#: In pieces, so that this file is not the first to be found.
_PLANTED = (
    "token = '"
    + "ghp_"
    + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0p"
    + "INUx'\n"
    + "-----BEGIN RSA "
    + "PRIVATE KEY-----\n"
)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What was found and where; never the secret itself."""

    where: str
    what: str


def main(words: Sequence[str]) -> int:
    """All scans over the working copy; the exit code."""
    if "--accept" in words:
        accept(ROOT)
        return 0
    findings = [*planted(), *new_secrets(ROOT), *holes(ROOT)]
    for finding in sorted(findings):
        _say(f"scan: {finding.where}: {finding.what}")
    return 1 if findings else 0


def planted() -> Iterator[Finding]:
    """What a scanner has overlooked that was planted for it: then its silence means nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "planted.py"
        file.write_text(_PLANTED, encoding="utf-8")
        if len({secret.type for _, secret in secrets_in([file])}) < 2:
            yield Finding("secrets", "the scanner overlooks a planted token and a planted key")
    if not list(below(_KNOWN_BAD, floors(ROOT), "planted")):
        yield Finding("dependencies", f"{_KNOWN_BAD} passes {FLOORS}")


# --- secrets ------------------------------------------------------------------------------------------------


def secrets_in(paths: Iterable[Path]) -> Iterator[tuple[Path, Any]]:
    """Everything in these files that looks like a secret, with its file."""
    with default_settings():
        detectors = get_plugins()
        for path in paths:
            # Most files hold nothing that any detector reacts to: asked line by line, that takes a fifth of the time.
            if path.suffix != ".py" or _reacts(path, detectors):
                yield from ((path, secret) for secret in scan_file(str(path)))


#: Without one of these no detector reacts: words that name a secret, a password in a URL, a long run in quotes or with a digit in it.
_WORTH_ASKING = re.compile(
    r"key|pass|pwd|secret|token|contrase|auth|://[^/\s]+@|['\"`][\w+/=-]{12,}['\"`]|(?=[\w+/=.:-]{20})[a-z_+/=.:-]*\d", re.IGNORECASE | re.ASCII
)  # fmt: skip


def _reacts(path: Path, detectors: Sequence[Any]) -> bool:
    lines = path.read_text(encoding="utf-8").splitlines()
    return any(
        one.analyze_line(filename=path.name, line=line, line_number=number)
        for number, line in enumerate(lines, 1)
        if _WORTH_ASKING.search(line)
        for one in detectors
    )


def new_secrets(root: Path) -> Iterator[Finding]:
    """What looks like a secret and is not in the baseline, where somebody has said that it is none."""
    known = json.loads((root / BASELINE).read_text(encoding="utf-8"))["results"]
    accepted = {(name, one["type"], one["hashed_secret"]) for name, some in known.items() for one in some}
    for path, secret in secrets_in(_tracked(root)):
        name = path.relative_to(root).as_posix()
        if (name, secret.type, secret.secret_hash) not in accepted:
            hint = "take it out, and call it back where it is in use; if it is none: python -m scripts.scanning --accept"
            yield Finding(f"{name}:{secret.line_number}", f"{secret.type}. {hint}")


def accept(root: Path) -> None:
    """Write the baseline anew."""
    found = SecretsCollection(root=str(root))
    for path, secret in secrets_in(_tracked(root)):
        secret.filename = path.relative_to(root).as_posix()
        found[secret.filename].add(secret)
    with default_settings():
        baseline.save_to_file(baseline.format_for_output(found, is_slim_mode=True), str(root / BASELINE))


def _tracked(root: Path) -> list[Path]:
    """The files that git knows, and those it would take; they are what leaves the house."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S603  constant words
    return sorted(
        root / name for name in names.splitlines() if not name.endswith(_MADE) and (root / name).is_file()
    )


# --- dependencies -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Floor:
    """The least version of a package without these holes."""

    least: Version
    ids: Sequence[str]


def holes(root: Path) -> Iterator[Finding]:
    """Versions with known holes: of the lock and of what is installed by our own list, and of the lock by a service that knows all."""
    lock, known = locked((root / "uv.lock").read_text(encoding="utf-8")), floors(root)
    installed: dict[str, str] = {
        canonicalize_name(one.metadata["Name"]): one.version for one in distributions()
    }
    yield from below(lock, known, "uv.lock")
    yield from below(installed, known, "installed")
    if not audit(_KNOWN_BAD):
        _say(
            f"scan: no advisory service answers (pip-audit finds nothing wrong with jinja2 3.1.5): {len(known)} floors of {FLOORS} were held against uv.lock and what is installed"
        )
        return
    _say("scan: pip-audit, strict, over uv.lock")
    yield from audit(lock) or ()


def locked(text: str) -> dict[str, str]:
    """Package -> the least of the versions that a lock names."""
    found: dict[str, str] = {}
    for package in tomllib.loads(text)["package"]:
        name, version = canonicalize_name(package["name"]), package.get("version")
        if version and ("source" not in package or "editable" not in package["source"]):
            found[name] = min(version, found.get(name, version), key=Version)
    return found


def floors(root: Path) -> dict[str, Floor]:
    """What the list of advisories asks for, by package."""
    rows = tomllib.loads((root / FLOORS).read_text(encoding="utf-8"))["floor"]
    return {canonicalize_name(row["package"]): Floor(Version(row["least"]), row["ids"]) for row in rows}


def below(versions: Mapping[str, str], known: Mapping[str, Floor], where: str) -> Iterator[Finding]:
    """Packages that are older than they may be."""
    for name, floor in known.items():
        if name in versions and Version(versions[name]) < floor.least:
            ids = ", ".join(floor.ids)
            yield Finding(where, f"{name} {versions[name]} has {ids}: {floor.least} or newer")


def audit(versions: Mapping[str, str]) -> list[Finding] | None:
    """What pip-audit says of these versions; None: nothing, be it that it knows of nothing or that it could not ask."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text(
            "".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8"
        )
        command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json",
                   "--timeout", str(_SERVICE_SECONDS), "-r", str(pins)]  # fmt: skip
        said = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  constant words
    try:
        found = json.loads(said.stdout)["dependencies"]
    except (ValueError, KeyError):
        # It answered for the known one before: half an answer is a failure, not a clean bill.
        return None if versions == _KNOWN_BAD else [Finding("pip-audit", said.stderr.strip()[-300:])]
    return [
        Finding("pip-audit", f"{one['name']} {one['version']} has {hole['id']}")
        for one in found
        for hole in one.get("vulns", ())
    ] or None


def _say(text: str) -> None:
    print(text)  # noqa: T201  a script speaks to whoever runs it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
