"""See first: what a person would get, before anything is stored; and a sequence on oneself."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outreach.cli import output
from outreach.cli.lanes import Accounts, Pools, Segments, meaning
from outreach.cli.output import AsJson, note, say
from outreach.cli.session import opened, operator
from outreach.errors import InvalidDefinition, UsageError

if TYPE_CHECKING:
    from outreach.compliance.verdicts import Verdict
    from outreach.engine.graph import Graph
    from outreach.runtime.preview import NodePreview, PersonPreview, Text

SequenceFile = Annotated[Path, typer.Argument(help="A YAML file; - reads stdin.")]
_MOST_SAMPLED = 100


def bytes_of(path: Path) -> bytes:
    """The file's bytes, or stdin's. Raises UsageError."""
    from outreach.cli import files
    from outreach.engine.source import MAX_BYTES

    return sys.stdin.buffer.read(MAX_BYTES + 1) if str(path) == "-" else files.bytes_of(path, MAX_BYTES)


def graph_in(path: Path) -> "Graph":
    """The compiled file. Its problems are shown, and InvalidDefinition raised, where it has any."""
    from outreach.runtime.publish import check

    answer = check(bytes_of(path), str(path))
    if isinstance(answer, list):
        for problem in answer:
            note(problem.describe(str(path)))
        raise InvalidDefinition(f"{path} cannot be published")
    return answer.graph


def preview(
    ctx: typer.Context,
    file: SequenceFile,
    persons: Annotated[list[str] | None, typer.Option("--person", metavar="WHO", help="Whom; give it again for more.")] = None,
    sample: Annotated[int, typer.Option(min=0, max=_MOST_SAMPLED, help="So many people, always the same ones.")] = 0,
    segments: Segments = None,
    accounts: Accounts = None,
    pools: Pools = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """What people would get, action by action: every text, the lane, the gate's word, the earliest hour. Writes nothing."""
    from outreach.cli.who import find_person
    from outreach.runtime.preview import preview as previewed

    if bool(persons) == bool(sample):
        raise UsageError("say for whom: --person WHO, or --sample 5 (of a --segment, else of everybody)")
    graph = graph_in(file)
    with opened(ctx) as app:
        ids = [find_person(app.context.db, who) for who in persons or ()]
        found = previewed(
            app.context, graph, person_ids=ids, segments=segments or (), sample=sample, account_names=accounts or (), pools=pools or ()
        )  # fmt: skip
    if as_json:
        output.document({"sequence": graph.sequence, "opt_out": graph.opt_out_line, "people": found})
        return
    for one in found:
        _say_person(one, graph)
    if not found:
        say("nobody to show it for")


def _say_person(found: "PersonPreview", graph: "Graph") -> None:
    from outreach.audience.aliases import alias

    say(
        f"=== {alias(found.person_id)}"
        + (f" (enroll would leave them out: {found.left_out})" if found.left_out else "")
    )
    for node in found.nodes:
        _say_node(node, graph)
    say()


def _say_node(node: "NodePreview", graph: "Graph") -> None:
    say(f"\n{node.node}  {node.kind.value}" + (f" by {node.account}" if node.account else ""))
    say(f"  {_when(node)}")
    if node.answered and node.lane is not None:
        say("  judged as if they had just answered: only an answer leads here")
    for line in node.against:
        say(f"  {line.rule}: {meaning(line.rule)}{_until(line)}")
    if graph.review_first and node.texts and node.lane is not None and node.lane.value == "auto":
        say(
            f"  review.first: waits for your OK as long as fewer than {graph.review_first} of the version have one"
        )
    for text in node.texts:
        _say_text(text, graph, several=len(node.texts) > 1)


def _when(node: "NodePreview") -> str:
    if not node.by:
        return "they never come here: an earlier action is blocked and no FAILED edge leads on, or it lacks a variable"
    came = "" if node.by == "start" else f" (by {node.by})"
    if node.lane is None:
        return f"reached {output.shown(node.earliest)} at the earliest{came}"
    if node.waits_for:
        return f"{node.lane.value}, once {', '.join(node.waits_for)} {'is' if len(node.waits_for) == 1 else 'are'} filled in{came}"
    if node.lane.value == "blocked":
        return f"blocked{came}"
    if node.earliest is None:
        return f"{node.lane.value}, once somebody lifts what stands against it{came}"
    return f"{node.lane.value}, {output.shown(node.earliest)} at the earliest{came}"


def _until(line: "Verdict") -> str:
    return (
        f" Until {output.shown(line.until)}."
        if line.until and line.waiting_on in ("window", "capacity")
        else ""
    )


def _say_text(text: "Text", graph: "Graph", *, several: bool) -> None:
    if several:
        say(f"  [{text.variant}]" + (" theirs" if text.theirs else ""))
    if text.missing:
        say(f"    nothing is sent: the lead would wait for {', '.join(text.missing)}")
        return
    if text.too_long:
        say(f"    nothing is sent: it has {text.too_long}")
        return
    if text.subject:
        say(f"    Subject: {text.subject}")
    for line in (text.text or "(no words)").splitlines():
        say(f"    {line}".rstrip())
    if text.used_fallback:
        say("    (the fallback: a variable of the text is missing)")
    if text.text:
        say(f"    opt-out line: {graph.opt_out_line if text.opt_out else 'not in this one'}")


def try_out(
    ctx: typer.Context,
    file: SequenceFile,
    to: Annotated[str, typer.Option("--to", metavar="WHO", help="A test person: yourself.")],
    wait: Annotated[str, typer.Option(help="What every wait, delay and deadline is cut to.")] = "5s",
    any_hour: Annotated[bool, typer.Option("--any-hour", help="Without the file's window.")] = False,
    accounts: Accounts = None,
    pools: Pools = None,
    confirm: Annotated[bool, typer.Option("--yes", help="It is one of us: mark them as a test person first.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """The sequence on yourself: the real path through gate, caps and provider, with short waits. Nobody else is concerned."""
    from outreach.audience.aliases import alias
    from outreach.cli.who import find_person
    from outreach.engine.notation import DURATION_HINT, parse_duration
    from outreach.runtime.trying import mark_test
    from outreach.runtime.trying import try_out as tried

    cut = parse_duration(wait)
    if cut is None or cut <= timedelta(0):
        raise UsageError(f"--wait {wait!r} is not a duration", hint=DURATION_HINT)
    data = bytes_of(file)
    with opened(ctx) as app:
        person_id = find_person(app.context.db, to)
        if confirm:
            mark_test(app.context, person_id, True, operator())
        answer = tried(
            app.context, data, str(file), person_id, wait=cut, any_hour=any_hour, account_names=tuple(accounts or ()),
            pools=tuple(pools or ()), by=operator(),
        )  # fmt: skip
        if isinstance(answer, list):
            for problem in answer:
                note(problem.describe(str(file)))
            raise InvalidDefinition(f"{file} cannot be tried")
        app.hint(answer.hints)
    values = output.plain(answer)
    values.pop("hints")
    if as_json:
        output.document(values)
        return
    say(f"trying {answer.sequence} version {answer.version} on {alias(person_id)}: lead {answer.lead_id}")
    for lead_id in answer.stopped:
        say(f"  lead {lead_id} of an earlier try has stopped")
    say("  workers carry it on; outreach why WHO shows how far it is, outreach task list what it asks of you")
