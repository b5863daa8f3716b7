"""export: people, replies, the ledger and funnels as files, for spreadsheets, for other programs, for a CRM."""

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import files_out, output
from outreach.cli.output import note
from outreach.cli.session import opened
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.models.base import Database, Row, Tx

export = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="People, replies, the ledger and funnels as files."
)
_BATCH = 1000

Format = Annotated[str, typer.Option("--format", help="csv, jsonl, json or table.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="A file; else stdout.")]
Since = Annotated[str, typer.Option(help="Not older than this (ISO 8601).")]
Sequence = Annotated[str, typer.Option(help="Only of this sequence.")]

_PEOPLE = (
    "id", "alias", "name", "first_name", "last_name", "company", "job_title", "phone", "website", "country", "zone", "twitter", "twitter_id", "linkedin",
    "email", "evm_address", "solana_address", "sequence", "lead", "lead_state", "exit_reason", "node", "last_contact_at", "last_reply_at",
    "last_reply_class", "do_not_contact_since", "do_not_contact_reason", "created_at",
)  # fmt: skip
_REPLIES = (
    "id", "occurred_at", "received_at", "person_id", "alias", "channel", "account", "handle", "sequence", "class", "state", "text",
    "gone",
)  # fmt: skip
_LEDGER = (
    "id", "lead_id", "person_id", "alias", "sequence", "node", "visit", "kind", "channel", "account", "recipient", "state", "cause", "variant",
    "touch", "attempts", "created_at", "started_at", "sent_at", "effect_by", "reason", "rule", "done_by", "observed",
)  # fmt: skip
_STATS = (
    "sequence", "node", "kind", "variant", "planned", "sent", "failed", "passed_over", "blocked", "cancelled", "waiting", "in_doubt",
    "replies", "positive_replies",
)  # fmt: skip

#: A CRM's own names of the columns that its import wizard recognises, and ours. docs/cli.md names the pages that say so.
MAPS: Mapping[str, Mapping[str, str]] = {
    "hubspot": {
        "First Name": "first_name", "Last Name": "last_name", "Email": "email", "Phone Number": "phone", "Company Name": "company",
        "Job Title": "job_title", "Website URL": "website", "Country/Region": "country", "Twitter Username": "twitter",
        "LinkedIn URL": "linkedin",
    },
    "pipedrive": {
        "Person - Name": "name", "Person - First name": "first_name", "Person - Last name": "last_name", "Person - Email": "email",
        "Person - Phone": "phone", "Person - Job title": "job_title", "Organization - Name": "company",
    },
}  # fmt: skip


@export.command()
def people(
    ctx: typer.Context,
    form: Format = "csv",
    to: Output = None,
    since: Since = "",
    sequence: Sequence = "",
    crm: Annotated[
        str, typer.Option("--map", help="hubspot or pipedrive: the columns that it imports.")
    ] = "",
) -> None:
    """Everybody, with their handles, where they stand, and whether they may be contacted at all.

    With --map whoever is on the do-not-contact list is left out: another program would write to them.
    """
    output.require_word("map", crm, list(MAPS))
    columns = tuple(MAPS[crm]) if crm else _PEOPLE
    _run(
        ctx,
        "people",
        columns,
        form,
        to,
        since,
        sequence,
        functools.partial(_for_crm, crm) if crm else _person,
    )


@export.command()
def replies(
    ctx: typer.Context, form: Format = "csv", to: Output = None, since: Since = "", sequence: Sequence = ""
) -> None:
    """What people wrote, with their words, and how it was understood."""
    _run(ctx, "replies", _REPLIES, form, to, since, sequence, _with_alias)


@export.command()
def ledger(
    ctx: typer.Context, form: Format = "csv", to: Output = None, since: Since = "", sequence: Sequence = ""
) -> None:
    """Every execution: what was done, by which account, to whom, when, and by which rule it was let through or refused."""
    _run(ctx, "ledger", _LEDGER, form, to, since, sequence, _with_alias)


@export.command()
def stats(ctx: typer.Context, form: Format = "csv", to: Output = None, sequence: Sequence = "") -> None:
    """The funnel of every sequence, per node and variant."""
    from outreach.models import exporting, reports, sequences

    _require_format(form)
    with opened(ctx) as app:

        def work(tx: "Tx") -> "list[Row]":
            only = sequences.find(tx, sequence)["id"] if sequence else None
            listed = exporting.sequences(tx, only)
            return [{"sequence": s["name"], **row} for s in listed for row in reports.funnel(tx, s["id"])]

        rows = app.context.db.run(work)
    _write(iter(rows), _STATS, form, to, "rows")


def _run(
    ctx: typer.Context, what: str, columns: tuple[str, ...], form: str, to: Path | None, since: str, sequence: str,
    shape: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
) -> None:  # fmt: skip
    from outreach.models import sequences

    _require_format(form)
    begin = _instant(since)
    with opened(ctx) as app:
        db = app.context.db
        only = db.run(lambda tx: int(sequences.find(tx, sequence)["id"])) if sequence else None
        left_out = 0

        def shaped() -> Iterator[Mapping[str, Any]]:
            nonlocal left_out
            for row in _batches(db, what, begin, only):
                one = shape(row)
                if one is not None:
                    yield one
                left_out += one is None

        _write(shaped(), columns, form, to, {"ledger": "executions"}.get(what, what))
        if left_out:
            note(f"{left_out} left out: on the do-not-contact list")


def _require_format(form: str) -> None:
    output.require_word("format", form, files_out.FORMATS)


def _write(
    rows: Iterator[Mapping[str, Any]], columns: tuple[str, ...], form: str, to: Path | None, what: str
) -> None:
    with files_out.destination(to) as file:
        count = files_out.write(rows, columns, form, file)
    if count is not None:
        note(f"{count} {what}" + (f" written to {to}" if to else ""))


def _batches(db: "Database", what: str, since: datetime | None, sequence_id: int | None) -> "Iterator[Row]":
    """Batch by batch, each in a transaction of its own: what is exported is what each id held when its batch was read."""
    from outreach.models import exporting

    after = 0
    while True:
        rows = db.run(
            lambda tx, after=after: exporting.batch(  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                tx, what, after=after, since=since, sequence_id=sequence_id, limit=_BATCH
            )
        )
        yield from rows
        if len(rows) < _BATCH:
            return
        after = rows[-1]["id"]


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text!r} is no date", hint="as in 2026-01-05 or 2026-01-05T12:00:00+00:00"
        ) from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


# --- shapes --------------------------------------------------------------------------------------------------------


def _with_alias(row: Mapping[str, Any]) -> Mapping[str, Any]:
    from outreach.audience.aliases import alias

    return {**row, "alias": alias(row["person_id"]) if row["person_id"] is not None else None}


def _person(row: Mapping[str, Any]) -> Mapping[str, Any]:
    from outreach.audience.aliases import alias

    attributes, handles = row["attributes"] or {}, row["handles"] or {}
    first, _, last = (row["name"] or "").strip().partition(" ")
    return {
        "id": row["id"], "alias": alias(row["id"]), "name": row["name"],
        "first_name": attributes.get("first_name") or first or None, "last_name": attributes.get("last_name") or last.strip() or None,
        **{name: _first_of(attributes, names) for name, names in _ATTRIBUTES.items()},
        "country": row["country"], "zone": row["zone"], "twitter": handles.get("twitter_handle"), "twitter_id": handles.get("twitter_id"),
        "linkedin": _linkedin(handles), "email": handles.get("email"),
        "evm_address": handles.get("evm_address"), "solana_address": handles.get("solana_address"),
        "sequence": row["sequence"], "lead": row["lead_id"], "lead_state": row["lead_state"], "exit_reason": row["exit_reason"],
        "node": row["node"], "last_contact_at": row["last_contact_at"], "last_reply_at": row["last_reply_at"],
        "last_reply_class": row["last_reply_class"], "do_not_contact_since": row["suppressed_at"],
        "do_not_contact_reason": row["suppression_reason"], "created_at": row["created_at"], "attributes": attributes,
    }  # fmt: skip


def _linkedin(handles: Mapping[str, Any]) -> str | None:
    slug = handles.get("linkedin_slug")
    return (
        f"https://www.linkedin.com/{slug}"
        if slug
        else _first_of(handles, ("linkedin_urn", "linkedin_member"))
    )


#: Our column, and what attributes of imports are called that say the same.
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "company": ("company", "organisation", "organization", "company_name"),
    "job_title": ("job_title", "title", "position", "role"),
    "phone": ("phone", "phone_number", "mobile"),
    "website": ("website", "url", "homepage"),
}


def _first_of(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((values[name] for name in names if values.get(name)), None)


def _for_crm(crm: str, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if row["suppressed_at"] is not None:
        return None
    known = _person(row)
    return {theirs: known[ours] for theirs, ours in MAPS[crm].items()}


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(export, name="export")
