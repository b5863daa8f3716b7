"""What permits contacting somebody: recorded from a list, shown with its proof, withdrawn when they say so."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.audience import say_reach
from outreach.cli.output import AsJson, AskedReason, require_word, say
from outreach.cli.session import opened, operator
from outreach.errors import OutreachError, UsageError

if TYPE_CHECKING:
    from outreach.audience.consents import ConsentReport

consent = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What permits contacting people: recorded, shown, withdrawn.",
)

_Who = Annotated[str, typer.Argument(help="WHO")]
#: Refused rows that are said one by one; --json has them all.
_SAID = 10


@consent.command("import")
def import_file(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="CSV or JSON lines: a file, - for stdin, or an https URL.")],
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="COLUMN=FIELD; give it again for more.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would happen, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Record permissions: identifier, channel, basis, source, obtained_at, proof, country, expiry. The same file twice is one."""
    from outreach.audience.consents import plan_consents, run_consents
    from outreach.audience.reading import MAX_BYTES
    from outreach.cli.files import local
    from outreach.compliance.reaching import reach

    with local(file, MAX_BYTES) as path, opened(ctx) as app:
        context = app.context
        work = plan_consents if plan else run_consents
        report = work(
            context.db, path, mapping or (), now=context.clock.now(), reach=reach, stdin=sys.stdin.buffer
        )
    if as_json:
        output.document(report.as_json())
    else:
        _say_report(report)
    if not report.accepted:
        raise OutreachError(
            f"nothing was recorded: none of the {report.rows} rows of {report.file} can be used",
            hint="the lines above say why; mend the file, or say what its columns are: --map COLUMN=FIELD",
        )


def _say_report(report: "ConsentReport") -> None:
    say(
        f"{'planned, nothing is written: ' if report.planned else ''}{report.file}, {report.format} in {report.encoding}"
    )
    output.facts(
        {
            "rows": f"{report.accepted} of {report.rows}, {report.refused} refused",
            "permissions": f"{report.recorded} new, {report.accepted - report.recorded} on record already or withdrawn since",
            "over by now": report.expired,
            "by basis": report.bases,
            "columns left out": list(report.left_out),
        }
    )
    if report.accepted:
        say("\nthe people of this file")
        say_reach(report.reach)
    for reject in report.in_order()[:_SAID]:
        where = f" {reject.column}" if reject.column else ""
        hint = f" ({reject.hint})" if reject.hint else ""
        say(f"line {reject.line}{where}: {reject.reason}{hint}")
    if report.refused > _SAID:
        say(f"and {report.refused - _SAID} more refused; --json lists them")


_COLUMNS = (
    "id", "identity", "channel", "basis", "source", "obtained_at", "proof", "country", "expires_at", "withdrawn_at", "account", "state",
)  # fmt: skip


@consent.command()
def show(ctx: typer.Context, who: _Who, as_json: AsJson = False) -> None:
    """What is on record of this person, per channel and identity; and whether it permits contacting them now."""
    from outreach.cli.who import find_person

    with opened(ctx) as app:
        person_id = find_person(app.context.db, who)
        now = app.context.clock.now()
        found = app.context.db.run(lambda tx: _record_of(tx, person_id, now))
    if as_json:
        output.document(found)
        return
    say(f"{found['person']}, at {output.shown(now)}\n")
    output.table(found["record"], _COLUMNS, empty="nothing is on record")
    say("\nnow")
    output.table(
        found["now"], ("identity", "channel", "verdict", "why"), empty="no identifier that anything reaches"
    )


def _record_of(tx: Any, person_id: int, now: Any) -> dict[str, Any]:
    from outreach.audience.aliases import alias
    from outreach.compliance.reaching import look_at
    from outreach.models import reports

    record = reports.consents_of(tx, person_id)
    return {
        "person_id": person_id,
        "person": alias(person_id),
        "record": [{**row, "identity": row["shown"], "state": _state(row, now)} for row in record],
        "now": [
            {"identity": look.shown, "channel": look.channel, "verdict": look.word, "rule": look.rule, "why": look.meaning}
            for look in look_at(tx, person_id, now)
        ],
    }  # fmt: skip


def _state(row: Any, now: Any) -> str:
    """What has become of one permission; the gate reads the same instants."""
    if row["withdrawn_at"] is not None:
        return "withdrawn"
    if row["expires_at"] is not None and row["expires_at"] <= now:
        return "expired"
    return "stands" if row["obtained_at"] <= now else "not yet"


@consent.command()
def withdraw(
    ctx: typer.Context,
    who: _Who,
    channel: Annotated[str, typer.Option(help="twitter, linkedin, xmtp or email.")],
    reason: AskedReason,
    basis: Annotated[str, typer.Option(help="Only this one; without it all of the channel.")] = "",
    as_json: AsJson = False,
) -> None:
    """They take it back on this channel: binding for every new send when it returns. For all channels: outreach dnd add."""
    from outreach.audience.aliases import alias
    from outreach.cli.who import find_person
    from outreach.compliance.facts import BasisKind
    from outreach.engine.kinds import Channel
    from outreach.runtime.withdraw import withdraw as withdrawn

    if not channel:
        raise UsageError("--channel says where", hint=f"one of {', '.join(Channel)}")
    require_word("channel", channel, list(Channel))
    require_word("basis", basis, list(BasisKind))
    with opened(ctx) as app:
        done = withdrawn(
            app.context, find_person(app.context.db, who), Channel(channel), reason=reason, by=operator(),
            basis=BasisKind(basis) if basis else None,
        )  # fmt: skip
    ended = [one.basis.value for one in done.ended]
    sentence = f"{alias(done.person_id)}: {', '.join(ended)} withdrawn on {channel}"
    output.done({"person_id": done.person_id, "channel": channel, "withdrawn": ended}, sentence, as_json)


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(consent, name="consent")
