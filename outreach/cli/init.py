"""`outreach init`: a project directory to begin with, from the starters that ship with the package."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from outreach.cli.output import AsJson, document, note, say
from outreach.errors import OutreachError, UsageError

DEFAULT_STARTER = "follow-dm-branch"
#: What packaging tools and git would not leave alone under its own name.
_RENAMED = {"env.example": ".env.example", "gitignore": ".gitignore"}
_SCHEMA_LINE = "# yaml-language-server: $schema=sequence.schema.json\n"
#: An instance's name is typed to go live: short, and nothing that a shell or a URL would mind.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """What a starter's project says beside its sequence."""

    #: options of `enroll` in a simulation
    senders: str
    #: what may run by itself, as the platform has it
    remark: str


STARTERS: Mapping[str, Starter] = {
    "follow-dm-branch": Starter(
        senders=" --account twitter=simulated",
        remark="X lets software follow only from accounts it has permitted, and write only to people who wrote first or opted in; "
        "for all others these steps become tasks for a human (`outreach task list`).",
    ),
    "inbound-dm": Starter(
        senders=" --account twitter=simulated",
        remark="Made for people who wrote to your account first: the one thing that X lets any software answer by itself.",
    ),
    "linkedin-connect-note": Starter(
        senders="",
        remark="LinkedIn lets no software connect or write: every step becomes a task for a human, who gets the text and the link. "
        "`enroll` wants a LinkedIn account: `outreach account add linkedin …`.",
    ),
    "email-nurture": Starter(
        senders="",
        remark="For people with a recorded opt-in. `enroll` wants an email account (`outreach account add email …`); "
        "this release has no email provider yet, so sends wait.",
    ),
}


def starter_files() -> list[Traversable]:
    """The shipped sequences, in the order of their names."""
    folder = resources.files("outreach.cli") / "starters" / "sequences"
    return sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)


def init(
    name: Annotated[Path, typer.Argument(help="The directory to make; its last part names the instance.")],
    starter: Annotated[
        str, typer.Option(help="follow-dm-branch, inbound-dm, linkedin-connect-note or email-nurture.")
    ] = DEFAULT_STARTER,
    as_json: AsJson = False,
) -> None:
    """Make a project directory: a sequence, templates, sample people, and what a deployment needs. Overwrites nothing."""
    from outreach.engine.suggest import did_you_mean

    if starter not in STARTERS:
        raise UsageError(f"there is no starter {starter!r}", hint=did_you_mean(starter, sorted(STARTERS)))
    instance = _instance_of(name)
    _require_empty(name)
    files = project_files(instance, starter)
    _write(name, files)
    if as_json:
        document({"directory": str(name), "starter": starter, "files": sorted(files)})
        return
    say(f"made {name}: {', '.join(sorted(files))}")
    note(f"next: cd {name} && outreach up --simulate    (README.md there goes on)")


def _instance_of(name: Path) -> str:
    instance = name.resolve().name
    if not _NAME.fullmatch(instance):
        raise UsageError(
            f"{instance!r} cannot name an instance",
            hint="small letters, digits and hyphens, 40 at most, as in: outreach init spring-conference",
        )
    return instance


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds something already" if folder.is_dir() else "is a file"
        raise UsageError(f"{folder} {what}, and nothing is overwritten", hint="name another directory")


def project_files(instance: str, starter: str) -> dict[str, str]:
    """The project's files: path within it -> text."""
    from outreach.engine.schema import definition_schema

    said = STARTERS[starter]
    words = {
        "@name@": instance, "@starter@": starter, "@version@": metadata.version("outreach-engine"),
        "@senders@": said.senders, "@remark@": said.remark,
    }  # fmt: skip
    sequence = next(f for f in starter_files() if f.name == f"{starter}.yaml")
    files = {
        f"sequences/{starter}.yaml": _SCHEMA_LINE + sequence.read_text(encoding="utf-8"),
        "sequences/sequence.schema.json": json.dumps(definition_schema(), indent=2, ensure_ascii=False)
        + "\n",
    }
    return files | _texts(resources.files("outreach.cli") / "starters" / "project", "", words)


def _texts(folder: Traversable, prefix: str, words: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _texts(entry, f"{prefix}{entry.name}/", words)
            continue
        text = entry.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        found[f"{prefix}{_RENAMED.get(entry.name, entry.name)}"] = text
    return found


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """All of them or none: written beside the place, then moved in."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{folder.resolve().name}-", dir=folder.resolve().parent))
        try:
            for path, text in files.items():
                target = staged / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            folder.mkdir(exist_ok=True)
            for entry in staged.iterdir():
                entry.rename(folder / entry.name)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise OutreachError(
            f"{folder} cannot be made: {(error.strerror or str(error)).lower()}",
            hint="name a directory in a place where you may write",
        ) from error


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command()(init)
