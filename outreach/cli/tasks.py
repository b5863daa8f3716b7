"""Tasks: what a human must do or decide. Here, and only here, the operator sees whom to write to."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output, task_card
from outreach.cli.leads import with_alias
from outreach.cli.output import AsJson, Limit, note, say
from outreach.cli.replies import words_of
from outreach.cli.session import opened, operator
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.runtime.context import Context
    from outreach.runtime.hints import Hints
    from outreach.runtime.taking import NothingToTake, Started

task = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Tasks: what a human must do or decide.")

_Id = Annotated[int, typer.Argument(metavar="ID", help="The task's number.")]
_By = Annotated[str, typer.Option(help="Who; else the user of this machine.")]
_Kind = Annotated[
    str, typer.Option(help="Only of this kind: act, decide, held, review; or SEND_TWITTER_DM, …")
]
_OPEN = ("open", "claimed", "asked")
_BY_GATE = 3


def _kinds(word: str) -> tuple[str | None, str | None]:
    """The kind of task, and the kind of action, that the word names."""
    from outreach.engine.kinds import CHANNEL_OF

    of_tasks, of_actions = ("act", "decide", "held", "review"), [kind.value for kind in CHANNEL_OF]
    output.require_word("kind", word, [*of_tasks, *of_actions])
    return (word or None, None) if word in of_tasks else (None, word or None)


@task.command("list")
def list_all(
    ctx: typer.Context,
    mine: Annotated[bool, typer.Option("--mine", help="Only what you have in hand, and what was taken from you.")] = False,
    kind: _Kind = "",
    by: _By = "",
    closed: Annotated[bool, typer.Option("--closed", help="Those that are over, instead.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """The oldest first."""
    from outreach.models import tasks
    from outreach.runtime.human import tell_holder

    of_task, of_action = _kinds(kind)
    states = ("done", "skipped", "void") if closed else _OPEN
    holder = (by or operator()) if mine or by else None
    with opened(ctx) as app:
        told = tell_holder(app.context, holder) if holder and not closed else []
        rows = app.context.db.run(
            lambda tx: tasks.listed(
                tx, states=states, limit=limit, kind=of_task, action=of_action, holder=holder
            )
        )
    task_card.notices(told)
    columns = ("id", "kind", "person", "action_kind", "account", "state", "reason", "holder", "deadline", "expires_at")  # fmt: skip
    if closed:
        columns = ("id", "kind", "person", "action_kind", "account", "state", "reason", "outcome", "closed_by", "closed_at")  # fmt: skip
    output.listing([with_alias(row) for row in rows], columns, as_json, empty="nothing to do")


# --- taking one in hand --------------------------------------------------------------------------------------


@task.command("next")
def next_one(
    ctx: typer.Context,
    kind: Annotated[str, typer.Option(help="Only this action, as in SEND_LINKEDIN_DM.")] = "",
    account: Annotated[str, typer.Option(help="Only by this account.")] = "",
    by: _By = "",
    text_only: Annotated[bool, typer.Option("--text-only", help="Nothing but the words on stdout, for a pipe.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take the next act that may be done now: yours alone, with a deadline. At a terminal you then say what became of it."""
    from outreach.engine.kinds import CHANNEL_OF
    from outreach.models import accounts
    from outreach.runtime.human import tell_holder
    from outreach.runtime.taking import Started, take_next

    output.require_word("kind", kind, [k.value for k in CHANNEL_OF])
    holder = by or operator()
    with opened(ctx) as app:
        if account:
            app.context.db.run(lambda tx: accounts.find(tx, account))
        while True:
            told = tell_holder(app.context, holder)
            task_card.notices(told)
            found = take_next(app.context, holder, action=kind or None, account=account or None)
            if not isinstance(found, Started):
                _say_nothing(app, found, told, as_json)
                return
            if not _shown(app, found, told, text_only, as_json):
                return


def _shown(
    app: "App", found: "Started", told: Sequence[Mapping[str, Any]], text_only: bool, as_json: bool
) -> bool:
    """Show it; at a terminal ask what became of it. True: it was answered, and there may be more."""
    card = task_card.card_of(app, found)
    if as_json:
        output.document({"task": task_card.card_json(card), "told": told, "refused": []})
    elif text_only:
        task_card.show(card, note)
        say(found.text or "")
    else:
        task_card.show_with_text(card)
        if task_card.at_terminal():
            return _asked(app, card)
        _say_how(found.task_id, found.text is not None)
    return False


def _say_how(task_id: int, words: bool) -> None:
    edited = f" (or, in your own words: task done {task_id} --as edited --text -)" if words else ""
    say(f"then: outreach task done {task_id}{edited}; skip {task_id}, never {task_id}, release {task_id}")


def _asked(app: "App", card: task_card.Card) -> bool:
    from outreach.runtime import human

    found = card.task
    choice, text = task_card.ask(card)
    if choice == "quit":
        stays = f"stays yours until {output.shown(found.deadline)}; then you are asked about it"
        note(f"task {found.task_id} {'waits for your answer' if found.state == 'asked' else stays}")
        return False
    if choice == "never":
        human.never(app.context, found.task_id, found.holder)
    elif choice == "release":
        app.hint(human.release(app.context, found.task_id, found.holder))
    elif choice == "skip":
        app.hint(human.skip(app.context, found.task_id, found.holder))
    else:
        app.hint(human.done(app.context, found.task_id, found.holder, text=text))
    note(_became(app, found.task_id))
    return True


def _say_nothing(
    app: "App", found: "NothingToTake", told: Sequence[Mapping[str, Any]], as_json: bool
) -> None:
    """Why there is nothing: nothing is open, or the gate keeps back what is, and until when."""
    from outreach.models import tasks

    others = app.context.db.run(lambda tx: tasks.asking(tx))
    refused = [{"task": task_id, **output.plain(v), "meaning": v.meaning} for task_id, v in found.refused]
    if as_json:
        output.document({"task": None, "told": told, "refused": refused, "other_kinds": others})
    else:
        say("nothing that may be done now" if refused else "nothing to do")
        rules = dict.fromkeys(v.rule for _, v in found.refused)
        for rule in rules:
            same = [v for _, v in found.refused if v.rule == rule]
            until = min((v.until for v in same if v.until), default=None)
            frees = f"; earliest {output.shown(until)}" if until else ""
            say(f"  {len(same)} wait: {same[0].meaning.rstrip('.')} ({rule}){frees}")
        for row in others:
            say(f"  {row['tasks']} of kind {row['kind']}: outreach task list --kind {row['kind']}")
    if refused:
        raise typer.Exit(_BY_GATE)


@task.command()
def start(
    ctx: typer.Context,
    task_id: _Id,
    by: _By = "",
    text_only: Annotated[bool, typer.Option("--text-only", help="Nothing but the words on stdout, for a pipe.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Claim this very one: the gate judges first, then you see whom, by which account, and the text to paste. Of a review: read it."""
    from outreach.runtime.reviewing import show as shown_for_review
    from outreach.runtime.taking import start as started

    with opened(ctx) as app:
        shown = shown_for_review(app.context, task_id, by or operator())
        if shown is not None:
            task_card.show_review(shown, as_json)
            return
        found = started(app.context, task_id, by or operator())
        card = task_card.card_of(app, found)
    if as_json:
        output.document(task_card.card_json(card))
    elif text_only:
        task_card.show(card, note)
        say(found.text or "")
    else:
        task_card.show_with_text(card)
        _say_how(task_id, found.text is not None)


@task.command()
def show(ctx: typer.Context, task_id: _Id, as_json: AsJson = False) -> None:
    """One task without taking it: what it asks, about whom, and the words it is about."""
    from outreach.models import tasks

    with opened(ctx) as app:
        row, rows = app.context.db.run(
            lambda tx: (tasks.with_words(tx, task_id), tasks.addresses_of_task(tx, task_id))
        )
        policy = app.instance.policy
    because, source = task_card.why_yours(row["reason"])
    shown = with_alias(row)
    if as_json:
        output.document({**shown, "because": because, "source": source, "handles": task_card.spelt(rows)})
        return
    words = words_of({"text": shown.pop("words"), "gone": shown.pop("gone")}, policy)
    output.facts({
        "task": task_id, "kind": row["kind"], "state": row["state"], "do": row["action_kind"], "as": row["account"],
        "to": f"{shown['person']} · {', '.join(task_card.spelt(rows))}".rstrip(" ·"), "because": f"{because.rstrip('.')} ({row['reason']})", "says so": source,
        "holder": row["holder"], "deadline": row["deadline"], "expires": row["expires_at"], "outcome": row["outcome"],
    })  # fmt: skip
    if words:
        say(f"\n{words}\n")


# --- answering -----------------------------------------------------------------------------------------------


def _became(app: "App", task_id: int) -> str:
    from outreach.models import tasks

    row = app.context.db.run(lambda tx: tasks.read(tx, task_id))
    return f"task {task_id} is {row['state']}" + (f": {row['outcome']}" if row["outcome"] else "")


def _close(
    ctx: typer.Context, task_id: int, by: str, as_json: bool, how: "Callable[[Context, int, str], Hints]"
) -> None:
    from outreach.models import tasks

    with opened(ctx) as app:
        app.hint(how(app.context, task_id, by or operator()))
        row = app.context.db.run(lambda tx: tasks.read(tx, task_id))
        sentence = _became(app, task_id)
    values = {"task": task_id, "state": row["state"], "outcome": row["outcome"], "sent_at": row["sent_at"], "observed": row["observed"]}  # fmt: skip
    output.done(values, sentence, as_json)


@task.command()
def done(
    ctx: typer.Context,
    task_id: _Id,
    how: Annotated[str, typer.Option("--as", help="sent: as it stood; edited: in your words, with --text.")] = "",
    text: Annotated[str, typer.Option(help="A file with what was sent; - reads stdin.")] = "",
    at: Annotated[str, typer.Option(help="When, if not now: ISO 8601, UTC where no zone is given.")] = "",
    before: Annotated[bool, typer.Option("--before", help="It was done before the task was taken from you: it counts.")] = False,
    by: _By = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """You did it (of a held one: it is there; of an unclear reply: it is no opt-out, go on; of a late step, and of a review: send it)."""
    from outreach.cli.ledger import instant
    from outreach.runtime.human import done as happened

    moment = instant(at, "--at") if at else None
    said = task_card.text_sent(how, text)
    if before and said is not None:
        raise UsageError("--before takes no --text")
    _close(
        ctx, task_id, by, as_json,
        lambda context, id_, who: happened(context, id_, who, at=moment, text=said, before=before),
    )  # fmt: skip


@task.command()
def skip(ctx: typer.Context, task_id: _Id, by: _By = "", as_json: AsJson = False) -> None:
    """You did not and will not (of a held one: it is not there; of an unclear reply: they stay paused; of a late step: pass it over; of a review: do not send it)."""
    from outreach.runtime.human import skip as skipped

    _close(ctx, task_id, by, as_json, skipped)


@task.command()
def release(ctx: typer.Context, task_id: _Id, by: _By = "", as_json: AsJson = False) -> None:
    """You did not do it, and somebody else may: it is open again."""
    from outreach.runtime.human import release as released

    _close(ctx, task_id, by, as_json, released)


@task.command()
def never(ctx: typer.Context, task_id: _Id, by: _By = "", as_json: AsJson = False) -> None:
    """This person is never to be contacted: on the do-not-contact list, on every channel, from now on."""
    from outreach.audience.aliases import alias
    from outreach.models import tasks
    from outreach.runtime.human import never as suppressed

    with opened(ctx) as app:
        effective = suppressed(app.context, task_id, by or operator())
        row = app.context.db.run(lambda tx: tasks.read(tx, task_id))
    person = alias(row["person_id"])
    values = {"task": task_id, "state": row["state"], "outcome": row["outcome"], "person": person, "effective": effective}  # fmt: skip
    under_way = "" if effective else "; a call to them is still under way"
    output.done(values, f"{person} is on the do-not-contact list{under_way}", as_json)


# --- caps ----------------------------------------------------------------------------------------------------


@task.command()
def caps(
    ctx: typer.Context,
    account: Annotated[str, typer.Argument(help="The account's name.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="KIND=CAPS", help="As in SEND_LINKEDIN_DM=30/date; none; default.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """What humans may do by hand by this account, beside its own caps; with KIND=CAPS: set it."""
    from outreach.cli.account_options import pairs
    from outreach.engine.events import EventKind
    from outreach.limits.caps import DEFAULT_TASK_CAPS, format_caps, parse_caps
    from outreach.models import accounts, events

    said = pairs(words or [], "")
    for text in said.values():
        if text not in ("none", "default"):
            parse_caps(text)
    with opened(ctx) as app:

        def work(tx: Any) -> tuple[Mapping[str, str], str]:
            row = accounts.find(tx, account)
            kept = {**accounts.task_caps(tx, row["id"]), **said}
            own = {kind: text for kind, text in kept.items() if text != "default"}
            if said:
                accounts.set_task_caps(tx, row["id"], own)
                now = app.context.clock.at(tx.database_now())
                events.append(
                    tx,
                    [
                        events.Event(
                            kind=EventKind.TASK_CAPS_SET, at=now, actor=operator(), account_id=row["id"], payload=dict(said)
                        )
                    ],
                )  # fmt: skip
            return own, row["channel"]

        own, channel = app.context.db.run(work)
    rows = [
        {"kind": kind, "caps": own.get(kind) or format_caps(default.caps), "set by": "you" if kind in own else "default"}
        for kind, default in DEFAULT_TASK_CAPS.items()
        if _channel_of(kind) == channel
    ]  # fmt: skip
    output.listing(rows, ("kind", "caps", "set by"), as_json)


def _channel_of(kind: str) -> str:
    from outreach.engine.kinds import CHANNEL_OF, ActionKind

    return CHANNEL_OF[ActionKind(kind)].value


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(task, name="task")
