"""Doors of a sequence, as publishing opens them: those of its newest version, once every name in them is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.engine.graph import Graph
from outreach.engine.kinds import EntryKind
from outreach.engine.problems import Problem, Report
from outreach.engine.specs import EntrySpec
from outreach.engine.suggest import did_you_mean
from outreach.errors import NotFound, UsageError
from outreach.ids import new_token
from outreach.models import accounts, enrolling, entries, sequences
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.credentials import form_place


def open_doors(ctx: Context, tx: Tx, sequence_id: int, version_id: int, graph: Graph, now: datetime) -> None:
    """The sequence's doors are those of this version. A form that is new gets its secret."""
    secrets = [
        ctx.vault.seal(new_token(), form_place(sequence_id, entry.name))
        if entry.kind is EntryKind.FORM
        else None
        for entry in graph.entries
    ]
    entries.replace(tx, sequence_id, version_id, graph.entries, secrets, now)


def missing_names(tx: Tx, specs: Sequence[EntrySpec], graph: Graph) -> list[Problem]:
    """Accounts, pools and segments that the doors name and that are not there: a slip would keep a door shut in silence."""
    if not specs:
        return []
    report = Report()
    everyone = {row["name"]: row["channel"] for row in accounts.listed(tx)}
    pools, segments = accounts.pool_names(tx), enrolling.segment_names(tx)
    for spec, entry in zip(specs, graph.entries, strict=True):
        for name in entry.accounts:
            _expect(spec, "account", name, list(everyone), "outreach account add makes one", report)
            if entry.channel and everyone.get(name, entry.channel) != entry.channel:
                message = f"{name} is an account of {everyone[name]}, and they write on {entry.channel}."
                report.add("S404", spec.marks["account"], f"{spec.path}.account", message)
        for name in entry.pools:
            _expect(spec, "pool", name, pools, "outreach account pool makes one", report)
        if entry.kind is EntryKind.SEGMENT:
            _expect(spec, "segment", entry.name, segments, "outreach segment create makes one", report)
    return report.by_line()


def without_senders(tx: Tx, specs: Sequence[EntrySpec], graph: Graph) -> list[Problem]:
    """Warnings: doors by which nobody can come in yet, for it is not said which account would speak to them first."""
    report = Report()
    first = graph.node(graph.start).channel
    for spec, entry in zip(specs, graph.entries, strict=True):
        if first is None or entry.kind is EntryKind.MESSAGE_IN:
            continue  # whoever writes is answered by the account that they wrote to
        if first not in senders_of(tx, [first], entry.accounts, entry.pools):
            message = f"Nobody comes in by {entry.label} yet: {first} has no account of ours, or several."
            hint = "Name one, as in account: NAME; outreach account list shows those there are."
            report.add("S405", spec.mark, spec.path, message, hint)
    return report.by_line()


def _expect(spec: EntrySpec, key: str, name: str, known: Sequence[str], makes: str, report: Report) -> None:
    if name in known:
        return
    hint = did_you_mean(name, known) if known else f"{makes[0].upper()}{makes[1:]}."
    report.add("S404", spec.marks[key], f"{spec.path}.{key}", f"There is no {key} {name}.", hint)


def senders_of(
    tx: Tx, channels: Sequence[str], account_names: Sequence[str], pools: Sequence[str]
) -> Mapping[str, Sequence[int]]:
    """Per channel the accounts that may speak: those named, else the channel's only one. A channel without any is left out."""
    everyone = accounts.listed(tx)
    named = {row["id"] for row in everyone if row["name"] in account_names}
    named |= {row["id"] for name in pools for row in accounts.pool_members(tx, name)}
    found: dict[str, list[int]] = {}
    for channel in channels:
        all_of_it = [row["id"] for row in everyone if row["channel"] == channel]
        chosen = [account_id for account_id in all_of_it if account_id in named]
        if chosen or len(all_of_it) == 1:
            found[channel] = sorted(chosen or all_of_it)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FormSecret:
    """Where a form posts to, below the public URL, and what it signs with."""

    sequence: str
    form: str
    path: str
    secret: str


def form_secret(ctx: Context, sequence: str, form: str | None, *, rotate: bool) -> FormSecret:
    """The secret of a sequence's form (None: its only one). `rotate`: a new one; from the commit on the former one is refused.

    Raises NotFound, or UsageError where the sequence has several forms and none was named.
    """

    def work(tx: Tx) -> FormSecret:
        sequences.find(tx, sequence)
        names = entries.form_names(tx, sequence)
        if not names:
            hint = "a file says so: entry: {on: form, form: website}; then outreach sequence publish FILE"
            raise NotFound(f"{sequence} has no form", hint=hint)
        if form is None and len(names) > 1:
            raise UsageError(f"{sequence} has several forms", hint=f"say which: {', '.join(names)}")
        name = form or names[0]
        door = entries.form_door(tx, sequence, name)
        if door is None:
            raise NotFound(f"{sequence} has no form {name!r}", hint=did_you_mean(name, names))
        place = form_place(door["sequence_id"], name)
        secret = new_token() if rotate else ctx.vault.open(door["secret"], place)
        if rotate:
            entries.set_secret(tx, door["id"], ctx.vault.seal(secret, place))
        return FormSecret(sequence=sequence, form=name, path=f"/forms/{sequence}/{name}", secret=secret)

    return ctx.db.run(work)
