"""A task on screen: whom, where, why it is yours, the words, the link; and, at a terminal, what became of it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from outreach.cli import output
from outreach.cli.output import note, say
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.models.base import Row
    from outreach.runtime.reviewing import Shown
    from outreach.runtime.taking import Started

#: Bytes of a text that was sent.
_MOST_TEXT = 100_000
#: Ends a text that is typed or pasted.
_END = "."
_CHOICES = {
    "s": "sent", "sent": "sent", "e": "edited", "edited": "edited", "k": "skip", "skip": "skip", "n": "never", "never": "never",
    "r": "release", "release": "release", "q": "quit", "quit": "quit", "": "quit",
}  # fmt: skip
#: Where it opens: by the channel's own word.
_PLACES = {"twitter": "X", "linkedin": "LinkedIn", "xmtp": "XMTP", "email": "email"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything a human needs for one task that is theirs."""

    task: "Started"
    person: str
    #: how the account of theirs is spelt that is written to, names before numbers
    handles: Sequence[str]
    profile: str | None
    link: str | None
    #: why the engine does not do it itself, and who says so
    because: str
    source: str


def card_of(app: "App", task: "Started") -> Card:
    """The task with where to find its person."""
    from outreach.audience.aliases import alias
    from outreach.models import tasks

    rows = app.context.db.run(lambda tx: tasks.addresses_of_task(tx, task.task_id))
    return _card(task, rows, alias(task.person_id))


def _card(task: "Started", rows: Sequence["Row"], person: str) -> Card:
    from outreach.audience.reaching import deep_link, profile_url

    known: dict[str, str] = {}
    for row in rows:
        known.setdefault(row["kind"], row["value"])
    meaning, source = why_yours(task.reason)
    return Card(
        task=task,
        person=person,
        handles=spelt(rows),
        profile=profile_url(known),
        link=deep_link(task.action, known, text=task.text, subject=task.subject),
        because=meaning,
        source=source,
    )


def spelt(rows: Sequence["Row"]) -> list[str]:
    """Names that a human can look up before numbers."""
    numbers = ("twitter_id", "linkedin_member", "linkedin_urn")
    return [row["shown"] for row in sorted(rows, key=lambda row: row["kind"] in numbers)]


def why_yours(rule: str) -> tuple[str, str]:
    """What the rule that handed it over means, and who says so."""
    from outreach.compliance.verdicts import RULES

    known = RULES.get(rule)
    return (known.meaning, known.source) if known else (rule, "")


def card_json(card: Card) -> dict[str, Any]:
    """The card as one flat object."""
    values: dict[str, Any] = output.plain(card)
    return {**values.pop("task"), **values}


def show(card: Card, line: Callable[[str], None] = say) -> None:
    """All but the words, line by line."""
    task = card.task
    asked = task.state == "asked"
    head = "did you send it?" if asked else f"yours ({task.holder}) until {output.shown(task.deadline)}"
    line(
        f"task {task.task_id} · {task.action} as {task.account} on {_PLACES.get(task.channel, task.channel)} · {head}"
    )
    source = f"; {card.source}" if card.source else ""
    values = {
        "to": f"{card.person} · {', '.join(card.handles) or task.recipient}",
        "profile": card.profile,
        "open": card.link,
        "yours because": f"{card.because.rstrip('.')} ({task.reason}{source})",
        "opt-out line": f"{task.opt_out}  (in the text; leave it in)" if task.opt_out else None,
        "subject": task.subject,
    }
    shown = {name: value for name, value in values.items() if value}
    width = max(map(len, shown))
    for name, value in shown.items():
        line(f"  {name:<{width}}  {value}")


def show_with_text(card: Card) -> None:
    """The card, then the words alone between two empty lines, to be copied."""
    show(card)
    if card.task.text is not None:
        say(f"\n{card.task.text}\n")


def show_review(shown: "Shown", as_json: bool) -> None:
    """A message that waits for somebody's OK."""
    from outreach.audience.aliases import alias

    if as_json:
        output.document(shown)
        return
    output.facts({
        "task": shown.task_id, "would do": shown.action, "as": shown.account, "to": alias(shown.person_id),
        "OKs so far": f"{shown.approved} of {shown.wanted}", "subject": shown.subject,
    })  # fmt: skip
    say(f"\n{shown.text}\n")
    say(
        f"send it: outreach task done {shown.task_id}; do not send this one: outreach task skip {shown.task_id}"
    )


# --- at a terminal -------------------------------------------------------------------------------------------


def at_terminal() -> bool:
    """Does somebody sit there who can be asked?"""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(card: Card) -> tuple[str, str | None]:
    """sent, edited (with the text), skip, never, release or quit."""
    done = "sent" if card.task.text is not None else "done"
    question = f"[s] {done}  [e] edited  [k] skip  [n] never  [r] not done, give it back  [q] quit"
    if card.task.text is None:
        question = question.replace("[e] edited  ", "")
    while True:
        word = _typed(question)
        choice = _CHOICES.get(word)
        if choice == "edited" and card.task.text is not None:
            text = _pasted()
            if text:
                return choice, text
            note("nothing was typed, so nothing is stored")
        elif choice == "never":
            if _typed(f"never contact {card.person} again, on any channel? [y/N]") in ("y", "yes"):
                return choice, None
        elif choice is not None and choice != "edited":
            return choice, None


def _typed(question: str) -> str:
    try:
        return str(typer.prompt(question, default="", show_default=False, err=True)).strip().lower()
    except (typer.Abort, EOFError):
        return "q"


def _pasted() -> str:
    note(f"paste what you sent; a line with a single {_END} ends it")
    lines = []
    for line in sys.stdin:
        if line.rstrip("\r\n") == _END:
            break
        lines.append(line)
    return "".join(lines).strip()


# --- what was sent -------------------------------------------------------------------------------------------


def text_sent(how: str, text: str) -> str | None:
    """The words of `--as edited`. Raises UsageError where --as and --text do not fit each other."""
    from outreach.cli.files import bytes_of

    if how not in ("", "sent", "edited"):
        raise UsageError(
            f"--as {how!r} is unknown", hint="sent: as it stood; edited: in your words, with --text"
        )
    if how == "sent" and text:
        raise UsageError("--as sent takes no --text", hint="--as edited stores the text that was sent")
    if not text:
        if how == "edited":
            raise UsageError(
                "--as edited needs the text that was sent", hint="--text FILE, or --text - for stdin"
            )
        return None
    raw = sys.stdin.buffer.read(_MOST_TEXT + 1) if text == "-" else bytes_of(Path(text), _MOST_TEXT)
    if len(raw) > _MOST_TEXT:
        raise UsageError("the text is longer than any message", hint=f"at most {_MOST_TEXT // 1000} kB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError("the text is no UTF-8", hint="save it as UTF-8") from None


def notices(rows: Sequence[Mapping[str, Any]]) -> None:
    """What was taken out of somebody's hands, said once."""
    from outreach.audience.aliases import alias

    for row in rows:
        what = row["action_kind"] or row["kind"]
        note(
            f"task {row['id']} ({what} to {alias(row['person_id'])}) is no longer yours: {row['why']}"
            f" ({output.shown(row['closed_at'])}). Do not do it; if you had done it before: outreach task done {row['id']} --before"
        )
