"""The audience: imports, people, merges; and segments, which freeze a list of people."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson, Limit, say
from outreach.cli.session import opened, operator
from outreach.errors import NotFound, OutreachError, UsageError

if TYPE_CHECKING:
    from outreach.audience.report import ImportReport

audience = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="People: imported, shown, merged.")
segment = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Segments: frozen lists of people.")

_Who = Annotated[str, typer.Argument(help="WHO")]
#: Rejected rows and merges that are said one by one; --json has them all.
_SAID = 10


@audience.command("import")
def import_file(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="CSV or JSON lines: a file, - for stdin, or an https URL.")],
    source: Annotated[str, typer.Option(help="Where these people come from, as in conference-2026.")],
    basis: Annotated[
        str, typer.Option(help="consent, opt_in, existing_customer or legitimate_interest.")
    ] = "",
    proof: Annotated[str, typer.Option(help="What shows the basis; given together with it.")] = "",
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="COLUMN=FIELD; give it again for more.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would happen, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import people. Importing the same file again changes nothing, and an import never lifts an opt-out."""
    from outreach.audience.importing import Order, plan_import, run_import
    from outreach.audience.reading import MAX_BYTES
    from outreach.cli.files import local
    from outreach.compliance.reaching import reach
    from outreach.runtime.joining import all_doors

    with local(file, MAX_BYTES) as path, opened(ctx) as app:
        order = Order(
            path=path, source=source, mappings=mapping or (), basis=basis or None, proof=proof or None
        )
        context = app.context
        work = plan_import if plan else run_import
        report = work(
            context.db, order, pepper=context.settings.pepper, now=context.clock.now(), stdin=sys.stdin.buffer, reach=reach
        )  # fmt: skip
        if not plan:
            app.hint(all_doors(context))
    if as_json:
        output.document(report.as_json())
    else:
        _say_report(report)
    if not report.accepted and not report.erased:
        raise OutreachError(
            f"nobody was imported: none of the {report.rows} rows of {report.file} identifies anybody",
            hint="the lines above say why; mend the file, or say what its columns are: --map COLUMN=FIELD",
        )


def _say_report(report: "ImportReport") -> None:
    say(f"{'planned, nothing is written: ' if report.planned else ''}{report.file} as {report.source}")
    output.facts(
        {
            "rows": f"{report.accepted} of {report.rows}, {report.repeated} repeated",
            "persons": f"{report.persons_new} new, {report.persons_known} known",
            "identities new": report.identities_new,
            "links new": report.links_new,
            "bases new": f"{report.bases_new} ({report.basis or 'none claimed'})",
            "suppressed at once": report.suppressed,
            "left out": f"{report.erased}, who asked to be erased" if report.erased else "nobody",
        }
    )
    say()
    say_reach(report.reach)
    _say_left_out(report)


def say_reach(reach: Mapping[str, Mapping[str, int]]) -> None:
    """How many may be contacted where, and why the others may not; a reason that nobody has is left out."""
    from outreach.compliance.reaching import WORDS

    said = [word for word in WORDS if word == WORDS[0] or any(counts.get(word) for counts in reach.values())]
    rows = [
        {"channel": channel, **{word: counts.get(word, 0) for word in said}}
        for channel, counts in reach.items()
    ]
    output.table(rows, ("channel", *said))


def _say_left_out(report: "ImportReport") -> None:
    for reject in report.rejects[:_SAID]:
        where = f" {reject.column}" if reject.column else ""
        say(f"line {reject.line}{where}: {reject.reason}")
    if len(report.rejects) > _SAID:
        say(f"and {len(report.rejects) - _SAID} more left out; --json lists them")
    for merge in report.would_merge[:_SAID]:
        pair = f"{merge.person_a} {merge.person_b}"
        say(
            f"line {merge.line}: {merge.alias_a} and {merge.alias_b} may be one: outreach audience merge {pair} --evidence …"
        )


@audience.command()
def show(ctx: typer.Context, who: _Who, as_json: AsJson = False) -> None:
    """All that is known of a human, handles too."""
    from outreach.cli.who import find_person

    with opened(ctx) as app:
        person_id = find_person(app.context.db, who)
        found = app.context.db.run(lambda tx: _known_of(tx, person_id))
    if as_json:
        output.document(found)
        return
    output.facts(found["person"])
    for title, columns in (
        ("identities", ("kind", "shown", "status")),
        ("consents", ("shown", "channel", "basis", "source", "proof", "obtained_at", "withdrawn_at")),
        ("profiles", ("source", "attributes", "updated_at")),
        ("leads", ("id", "sequence", "state", "node", "waiting_on", "due_at")),
    ):
        say(f"\n{title}")
        output.table(found[title], columns)


def _known_of(tx: Any, person_id: int) -> dict[str, Any]:
    from outreach.audience.aliases import alias
    from outreach.models import identities, reports

    return {
        "person": {"alias": alias(person_id), **(identities.person_by_id(tx, person_id) or {})},
        "identities": identities.identities_of(tx, [person_id]),
        "consents": reports.consents_of(tx, person_id),
        "profiles": reports.profiles_of(tx, person_id),
        "leads": reports.leads_of_person(tx, person_id),
    }


@audience.command()
def merge(
    ctx: typer.Context,
    a: Annotated[str, typer.Argument(help="WHO")],
    b: Annotated[str, typer.Argument(help="WHO")],
    evidence: Annotated[str, typer.Option(help="What shows that they are one human.")],
    as_json: AsJson = False,
) -> None:
    """Two entries turn out to be one human. The stricter opt-out holds; one lead per sequence goes on."""
    from outreach.audience.aliases import alias
    from outreach.cli.who import find_person
    from outreach.runtime.merge import merge as merged

    with opened(ctx) as app:
        first, second = (find_person(app.context.db, who) for who in (a, b))
        answer = merged(app.context, first, second, evidence=evidence, by=operator())
    stopped = f", {len(answer.stopped)} doubled lead(s) stopped" if answer.stopped else ""
    sentence = f"{alias(answer.gone)} is now {alias(answer.kept)} ({answer.kept}){stopped}"
    output.done(output.plain(answer), sentence, as_json)


@audience.command("mark-test")
def mark_test(
    ctx: typer.Context,
    who: _Who,
    confirm: Annotated[bool, typer.Option("--yes", help="It is one of us.")] = False,
    off: Annotated[bool, typer.Option("--off", help="No more.")] = False,
    as_json: AsJson = False,
) -> None:
    """One of us, to try sequences on: out of statistics and touch budgets, under every other rule and cap."""
    from outreach.audience.aliases import alias
    from outreach.cli.who import find_person
    from outreach.runtime.trying import mark_test as marked

    if not (confirm or off):
        raise UsageError(
            "nothing that is sent to a test person counts as a touch: say that it is one of you",
            hint="run it again with --yes",
        )
    with opened(ctx) as app:
        person_id = find_person(app.context.db, who)
        new = marked(app.context, person_id, not off, by=operator())
    word = "is no test person" if off else "is a test person"
    sentence = f"{alias(person_id)} {word}" + ("" if new else " already")
    output.done({"person": person_id, "is_test": not off, "new": new}, sentence, as_json)


@audience.command()
def imports(ctx: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """The latest imports."""
    from outreach.models.audience import list_imports

    with opened(ctx) as app:
        rows = app.context.db.run(lambda tx: list_imports(tx, limit))
    rows = [{**row, **{k: row["counts"].get(k) for k in ("rows", "persons_new")}} for row in rows]
    output.listing(rows, ("id", "at", "source", "file_name", "rows", "persons_new", "basis"), as_json)


# --- segments ----------------------------------------------------------------------------------------------------


@segment.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The segment's name.")],
    where: Annotated[str, typer.Option(help="As in: source = conference-2026 and twitter exists.")],
    as_json: AsJson = False,
) -> None:
    """Freeze the people of whom this is true now."""
    from outreach.audience.segments import create_segment

    with opened(ctx) as app:
        made = output.plain(create_segment(app.context.db, name, where, app.context.clock.now()))
    output.done(made, f"segment {name}: {output.shown(made)}", as_json)


@segment.command("list")
def list_all(ctx: typer.Context, as_json: AsJson = False) -> None:
    """All segments with their sizes."""
    from outreach.models import reports

    with opened(ctx) as app:
        rows = app.context.db.run(reports.segments)
    output.listing(rows, ("name", "members", "counts", "built_at"), as_json)


@segment.command("show")
def show_segment(ctx: typer.Context, name: str, as_json: AsJson = False) -> None:
    """How it was made, and its first members by alias."""
    with opened(ctx) as app:
        row = app.context.db.run(lambda tx: _segment(tx, name))
    if as_json:
        output.document(row)
    else:
        output.facts(row)


def require_segment(tx: Any, name: str) -> Mapping[str, Any]:
    """The segment; a name that is not there brings up the nearest one."""
    from outreach.engine.suggest import did_you_mean
    from outreach.models import reports

    rows = {row["name"]: row for row in reports.segments(tx)}
    if name not in rows:
        hint = did_you_mean(name, list(rows)) if rows else "outreach segment create makes one"
        raise NotFound(f"no segment {name!r}", hint=hint)
    return rows[name]


def _segment(tx: Any, name: str) -> Mapping[str, Any]:
    from outreach.audience.aliases import alias
    from outreach.models import reports

    row = require_segment(tx, name)
    return {**row, "first_members": [alias(i) for i in reports.segment_members(tx, row["id"], _SAID)]}


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(audience, name="audience")
    cli.add_typer(segment, name="segment")
