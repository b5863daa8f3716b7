"""Audits: what was promised, recomputed from what happened."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import audit_log, output
from outreach.cli.ledger import instant
from outreach.cli.output import AsJson, note
from outreach.cli.session import opened
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.runtime.audit import Audited, Seen

audit = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Audits: what was promised, recomputed from what happened.",
)

#: What a witness calls the kinds.
_KINDS = {"follow": "FOLLOW_ON_TWITTER", "unfollow": "UNFOLLOW_ON_TWITTER", "dm": "SEND_TWITTER_DM"}


@audit.command()
def caps(
    ctx: typer.Context,
    since: Annotated[
        str, typer.Option(help="Only what was claimed from then on; ISO 8601, UTC where no zone is given.")
    ] = "",
    witness: Annotated[
        Path | None, typer.Option(help="Judge what this witness file of the simulator saw, not the ledger.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The fullest window of every cap, recomputed row by row. Exits 1 if one of our sends went over a cap."""
    from outreach.runtime.audit import audit_caps

    seen = _seen(witness) if witness else None
    with opened(ctx) as app:
        found = audit_caps(app.context, instant(since) if since else None, seen)
    rows = [_row(one) for one in found]
    columns = ("scope", "name", "kind", "cap", "largest", "at", "over", "over_by_hand")
    output.listing(rows, columns, as_json, empty="nothing was sent that a cap governs")
    over = sum(one.peak.over for one in found)
    if over:
        note(f"{over} sends went over a cap (as caps are now: one that was lowered since shows here, too)")
        raise typer.Exit(1)


def _row(one: "Audited") -> dict[str, Any]:
    peak = one.peak
    return {
        "scope": one.scope, "name": one.name, "kind": one.kind, "cap": str(one.cap), "limit": one.cap.limit, "largest": peak.largest,
        "at": peak.at, "over": peak.over, "over_by_hand": peak.over_by_hand,
    }  # fmt: skip


def _seen(path: Path) -> "list[Seen]":
    from outreach.runtime.audit import Seen
    from outreach.simulator.witness import read_witness

    try:
        acceptances, _ = read_witness(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read as a witness file: {error}",
            hint="it is what the simulator writes with --witness FILE; of a demo, DATA_DIR/witness.jsonl",
        ) from error
    return [
        Seen(account=a.account, kind=_KINDS[a.kind], at=a.t_scaled, by_hand=a.by == "hand")
        for a in acceptances
    ]


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    audit_log.add_to(audit)
    cli.add_typer(audit, name="audit")
