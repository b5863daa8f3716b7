"""Replies: what people wrote, how it was read, who sees to it; corrected, assigned, answered by hand, done."""

import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.leads import with_alias
from outreach.cli.output import AsJson, Limit, note, say
from outreach.cli.session import opened, operator

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.models.base import Row

reply = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="One reply: read, corrected, assigned, answered, done."
)

_Id = Annotated[int, typer.Argument(metavar="ID", help="The reply's number.")]
_By = Annotated[str, typer.Option(help="Who; else the user of this machine.")]
#: Real seconds between two looks of `replies --follow`, and how many of the newest it looks at.
_EVERY = 1.0
_LOOK_BACK = 500
#: Characters of a text in a list.
_SHOWN = 100
#: What a terminal would obey, and what would break a line. People's words are data.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_COLUMNS = ("id", "occurred_at", "person", "channel", "account", "class", "assignee", "care", "text")


def one_line(text: str | None, most: int = _SHOWN) -> str:
    """The text as it can stand in a row of a list."""
    flat = " ".join(_UNPRINTABLE.sub(" ", text or "").split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def words_of(row: Mapping[str, Any], policy: Mapping[str, Any], kind: str = "messages") -> str | None:
    """What was said; where that is gone, why. `kind`: as retention calls it."""
    from outreach.compliance.retention import gone_words

    text: str | None = row["text"]
    return gone_words(row["gone"], kind, policy) if text is None and row["gone"] else text


def _safe(text: str) -> str:
    """The whole text, line by line, without what a terminal would obey."""
    return "\n".join(_UNPRINTABLE.sub(" ", line) for line in text.splitlines())


def replies(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C; with --json one object a line.")] = False,
    reply_class: Annotated[str, typer.Option("--class", help="Only those read so: positive, neutral, negative, unclear, …")] = "",
    only_open: Annotated[bool, typer.Option("--open", help="Only those that nobody has answered or seen to.")] = False,
    assignee: Annotated[str, typer.Option("--to", help="Only those assigned to this person.")] = "",
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """What people wrote, newest first, how it was understood, and who sees to it."""
    from outreach.engine.kinds import ReplyClass
    from outreach.models import replies as inbox

    output.require_word("class", reply_class, [c.value for c in ReplyClass])

    def latest(app: "App", most: int) -> list["Row"]:
        rows = app.context.db.run(
            lambda tx: inbox.latest(
                tx,
                limit=most,
                reply_class=reply_class or None,
                only_open=only_open,
                assignee=assignee or None,
            )
        )
        return [row | {"text": words_of(row, app.instance.policy)} for row in rows]

    with opened(ctx) as app:
        if follow:
            _follow(lambda most: latest(app, most), limit, as_json)
        rows = latest(app, limit)
    if as_json:
        output.document([with_alias(row) for row in rows])
    else:
        output.table(
            [_row(row) for row in rows], _COLUMNS, empty="no replies" if only_open else "no replies yet"
        )


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**with_alias(row), "text": one_line(row["text"]), "care": _care(row)}


def _care(row: Mapping[str, Any]) -> str | None:
    """done, answered, or how its answer stands."""
    if row["done_at"] is not None:
        return f"done by {row['done_by']}"
    answer: str | None = row["answer"]
    return "answered" if answer == "sent" else f"answer {answer}" if answer else None


def _follow(latest: Callable[[int], Sequence["Row"]], limit: int, as_json: bool) -> None:
    """The newest, then new ones as they are understood: one may be understood later than another that came after it."""
    known: dict[int, None] = {}
    first = True
    while True:
        rows = [row for row in latest(_LOOK_BACK) if row["state"] not in ("stored", "waiting")]
        fresh = [row for row in rows if row["id"] not in known]
        for row in reversed(fresh[:limit] if first else fresh):
            say(_json_line(row) if as_json else _line(row))
        sys.stdout.flush()
        first = False
        # What is no longer among the newest cannot come up again.
        known = {row["id"]: None for row in rows}
        threading.Event().wait(_EVERY)


def _line(row: Mapping[str, Any]) -> str:
    shown = _row(row)
    who = shown["person"] or "somebody unknown"
    return f"{output.shown(row['occurred_at'])}  {row['id']}  {who} on {row['channel']}  {row['class'] or '-'}  {shown['text']}"


def _json_line(row: Mapping[str, Any]) -> str:
    import json

    return json.dumps(output.plain(with_alias(row)), ensure_ascii=False)


# --- one of them -----------------------------------------------------------------------------------------------


@reply.command()
def show(ctx: typer.Context, reply_id: _Id, as_json: AsJson = False) -> None:
    """One reply in full: who wrote it, what was said before, how it was read, who sees to it."""
    from outreach.models import replies as inbox
    from outreach.models import reports

    def work(tx: Any) -> tuple["Row", list["Row"], list[str]]:
        row = inbox.read(tx, reply_id)
        if row["person_id"] is None:
            return row, [], []
        return (
            row,
            inbox.of_person(tx, row["person_id"], 10),
            reports.handles_of(tx, row["person_id"], row["channel"]),
        )

    with opened(ctx) as app:
        row, talk, handles = app.context.db.run(work)
        policy = app.instance.policy
    row = row | {"text": words_of(row, policy)}
    talk = [
        line | {"text": words_of(line, policy, "bodies" if line["ours"] else "messages")} for line in talk
    ]
    if as_json:
        output.document({**with_alias(row), "handles": handles, "conversation": talk})
        return
    shown = _row(row)
    output.facts({
        "reply": reply_id, "from": f"{shown['person'] or 'somebody unknown'} · {', '.join(handles)}".rstrip(" ·"), "to": row["account"],
        "at": row["occurred_at"], "class": _class(row), "assigned to": row["assignee"], "care": shown["care"],
    })  # fmt: skip
    for line in talk:
        say(
            f"\n{'we' if line['ours'] else 'they'}, {output.shown(line['at'])}:\n{_safe(line['text'] or '(no text)')}"
        )
    if not talk:
        say(f"\n{_safe(row['text'] or '(no text)')}")


def _class(row: Mapping[str, Any]) -> str:
    if row["class_by"] is None:
        return str(row["class"] or "-")
    return f"{row['class']} (says {row['class_by']}; read as {row['class_was'] or 'nothing'})"


@reply.command("class")
def classify(
    ctx: typer.Context,
    reply_id: _Id,
    word: Annotated[str, typer.Argument(metavar="CLASS", help="positive, neutral, negative, out_of_office, unknown or unsubscribe.")],
    by: _By = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Correct how it was read: leads that may still decide on it do. unsubscribe is an opt-out; none is ever taken back here."""
    from outreach.engine.kinds import ReplyClass
    from outreach.engine.suggest import did_you_mean
    from outreach.errors import UsageError
    from outreach.runtime.reclassify import CLASSES, reclassify

    words = [c.value for c in CLASSES]
    if word not in words:
        raise UsageError(f"no class {word!r}", hint=did_you_mean(word, words))
    with opened(ctx) as app:
        found = reclassify(app.context, reply_id, ReplyClass(word), by or operator())
        app.hint(found.hints)
    if as_json:
        values = output.plain(found)
        values.pop("hints")
        output.document(values)
        return
    say(f"reply {reply_id} is {word} (was {found.before or 'nothing'})")
    for lead_id in found.leads:
        say(f"  lead {lead_id} decides anew")
    for lead_id in found.decided:
        say(f"  lead {lead_id} had decided already and stays as it is: outreach lead show {lead_id}")
    if found.suppressed:
        say(
            "  this person is on the do-not-contact list"
            + ("" if word == "unsubscribe" else ", and stays there: a class lifts no opt-out")
        )


@reply.command()
def assign(
    ctx: typer.Context,
    reply_id: _Id,
    to: Annotated[str, typer.Option(help="Who sees to it.")],
    by: _By = "",
    as_json: AsJson = False,
) -> None:
    """It is theirs: outreach replies --to NAME lists it."""
    from outreach.errors import UsageError
    from outreach.runtime.caring import assign as given

    if not to.strip():
        raise UsageError("--to needs a name")
    with opened(ctx) as app:
        given(app.context, reply_id, to.strip(), by or operator())
    output.done({"reply": reply_id, "assignee": to.strip()}, f"reply {reply_id} is {to.strip()}'s", as_json)


@reply.command()
def answer(
    ctx: typer.Context,
    reply_id: _Id,
    text: Annotated[str, typer.Option(help="What to say; - reads stdin.")],
    subject: Annotated[str, typer.Option(help="Email only.")] = "",
    by: _By = "",
    enqueue: Annotated[bool, typer.Option("--enqueue", help="Leave it to the workers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer by hand, once, through the same gate as everything else. Exit codes as of send; again: what became of it then."""
    from outreach.cli.sending import finish_one
    from outreach.runtime.answering import answer as answered
    from outreach.runtime.answering import key_of

    words = sys.stdin.read() if text == "-" else text
    with opened(ctx) as app:
        made = answered(app.context, reply_id, words, subject=subject or None, by=by or operator())
        if not made.new:
            note(
                f"reply {reply_id} has its answer already; to write once more: outreach send with a key of your own"
            )
        code = finish_one(app, key_of(reply_id), made, enqueue, as_json)
    raise typer.Exit(code)


@reply.command()
def done(ctx: typer.Context, reply_id: _Id, by: _By = "", as_json: AsJson = False) -> None:
    """Nothing more is to be done about it: outreach replies --open lists it no longer."""
    from outreach.runtime.caring import finish

    with opened(ctx) as app:
        first = finish(app.context, reply_id, by or operator())
    said = "is done" if first else "was done before"
    output.done({"reply": reply_id, "done": True, "first": first}, f"reply {reply_id} {said}", as_json)


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.command()(replies)
    cli.add_typer(reply, name="reply")
