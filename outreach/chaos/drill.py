"""The restore drill: a run, a backup by pg_dump, more sends, opt-outs and an erasure, the loss, the restore, the adoption; the witness judges.

Nothing here knows how the engine recovers: it takes a backup, loses a database and types what an operator would.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from outreach import app as apps
from outreach.embedded.binaries import find_postgres
from outreach.embedded.servers import Servers
from outreach.embedded.spawning import run
from outreach.embedded.supervisor import Supervisor
from outreach.embedded.waiting import wait_until
from outreach.errors import OutreachError, UsageError
from outreach.models import admin, drill, instance, journal, judging
from outreach.models.base import UNREACHABLE, Row
from outreach.rehearsal import world
from outreach.rehearsal.human import Human
from outreach.rehearsal.judge import Verdict, judge_restored
from outreach.rehearsal.stage import Say, Stage, empty_stage, open_stage, start_processes
from outreach.runtime.adopting import Adopted, Order, adopt
from outreach.runtime.control import pause_all
from outreach.runtime.erase import erase
from outreach.runtime.journaling import journal_place
from outreach.runtime.optout import opt_out
from outreach.runtime.recovering import database_standing
from outreach.simulator.witness import Acceptance, read_witness

#: Real seconds: of the run before the backup, of what is lost, of a restored database that nobody adopts, of the run afterwards.
_BEFORE, _LOST, _FOREIGN, _AFTER = 4.0, 4.0, 1.5, 4.0
#: Until something must have happened.
_PATIENCE = 60.0
#: Of those who were written to, or are about to be.
_OPT_OUTS, _ERASED = 8, 2
_BY = "drill"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """What a drill came to."""

    seed: int
    people: int
    verdict: Verdict
    #: persons who were erased before the loss, and of whom something is known again
    erased_and_back: int
    #: what happened after the backup, and was lost with the database
    lost: Mapping[str, int]
    found: str
    replayed: Mapping[str, int]
    #: sends of the lost stretch that settled the steps that they were; persons who wait for a human to read something
    recovered: int
    asked: int
    sent_afterwards: int
    #: real seconds of each part
    seconds: Mapping[str, float]
    #: the longest that a line waited to be outside, in real seconds
    journal_lag_s: float
    witness: Path

    @property
    def clean(self) -> bool:
        return self.verdict.clean and not self.erased_and_back

    def figures(self) -> dict[str, Any]:
        """As the command shows them."""
        return {
            "seed": self.seed, "people": self.people, "lost_with_it": dict(self.lost), "found": self.found,
            "replayed": dict(self.replayed), "recovered": self.recovered, "asked": self.asked, "sent_afterwards": self.sent_afterwards,
            **self.verdict.figures(), "erased_and_back": self.erased_and_back, "rto_s": round(sum(self.seconds.values()), 1), "seconds": dict(self.seconds), "journal_lag_s": self.journal_lag_s,
            "clean": self.clean, "witness": str(self.witness),
        }  # fmt: skip


@dataclass(slots=True)
class _Drill:
    """One drill under way."""

    stage: Stage
    servers: Servers
    supervisor: Supervisor
    seed: int
    say: Say
    seconds: dict[str, float] = field(default_factory=dict)
    #: handles' ids at the provider of those who said no after the backup; since when (business time) nothing may arrive there
    said_no: dict[str, datetime] = field(default_factory=dict)
    erased: list[int] = field(default_factory=list)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[what] = round(time.monotonic() - began, 2)

    @contextmanager
    def app(self) -> Iterator[apps.App]:
        """As a command has one: anew, for the database may be another one."""
        made = apps.build(self.stage.settings)
        try:
            yield made
        finally:
            made.close()


def run_drill(
    servers: Servers,
    folder: Path,
    *,
    seed: int,
    leads: int,
    say: Say,
    before: float = _BEFORE,
    lost: float = _LOST,
    worker_module: tuple[str, ...] = ("outreach",),
) -> DrillResult:
    """From an empty database to the verdict. Raises UsageError on servers of others."""
    if servers.flush_valkey is None:
        raise UsageError(
            "a drill loses its own database only, and these servers belong to another process",
            hint="end that process, or name another folder with --data-dir",
        )
    servers.flush_valkey()
    outside = folder / "journal.jsonl"
    outside.unlink(missing_ok=True)
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(say=lambda _line: None))
        stage = _with_journal(empty_stage(folder, servers, witness=f"drill-{seed}.witness.jsonl"), outside)
        stage = replace(stage, worker_module=worker_module)
        it = _Drill(stage, servers, supervisor, seed, say)
        with it.app() as app:
            people = open_stage(app, stage, supervisor, leads=leads, seed=seed, say=say)
            with Human(app.context, stage.simulator_url):
                time.sleep(before)  # noqa: TID251  the run itself, in real seconds
                _back_up(it, folder)
                stretch = _go_on_after_the_backup(it, app, lost)
        _lose(it)
        _restore(it, folder)
        found = _stays_silent(it)
        adopted = _adopt(it)
        return _judged(it, people, found, adopted, stretch)


def _with_journal(stage: Stage, outside: Path) -> Stage:
    url = outside.absolute().as_uri()
    return replace(
        stage, settings=replace(stage.settings, journal_url=url), for_workers={**stage.for_workers, "OUTREACH_JOURNAL_URL": url}
    )  # fmt: skip


# --- backup and loss -------------------------------------------------------------------------------------------------


def _back_up(it: _Drill, folder: Path) -> None:
    _program("pg_dump", "--format=custom", f"--file={folder / 'backup.dump'}", it.servers.database_url)
    it.say("backup taken with pg_dump, while everything runs")


def _program(name: str, *words: str) -> None:
    done = run((find_postgres().folder / name, *words), timeout=_PATIENCE)
    if done.returncode != 0:
        raise OutreachError(f"{name} failed: {done.stderr.strip()}")


def _go_on_after_the_backup(it: _Drill, app: apps.App, seconds: float) -> dict[str, Any]:
    """Sends go on, people say no, two want to be forgotten; the journal gets it outside."""
    ctx = app.context
    began = len(read_witness(it.stage.witness)[0])
    time.sleep(seconds / 2)  # noqa: TID251  the run itself
    chosen = ctx.db.run(lambda tx: drill.people(tx, _OPT_OUTS + _ERASED))
    for row in chosen[:_OPT_OUTS]:
        opt_out(ctx, row["person_id"], reason="asked by phone", source="operator", evidence={}, actor=_BY)
    for row in chosen[_OPT_OUTS:]:
        _until(lambda who=row["person_id"]: erase(ctx, who, by=_BY), "an erasure")  # type: ignore[misc]
    time.sleep(seconds / 2)  # noqa: TID251  the run itself
    _until(lambda: not ctx.db.run(judging.pulse)["draining"], "opt-outs")
    _until(lambda: not ctx.db.run(journal.standing)["waiting"], "the journal")
    it.erased = [row["person_id"] for row in chosen[_OPT_OUTS:]]
    effective = ctx.db.run(judging.effective_suppressions)
    it.said_no = {**effective, **{row["twitter_id"]: ctx.clock.now() for row in chosen[_OPT_OUTS:]}}
    return {"lag": ctx.db.run(drill.journal_lag), "sends": began, "opted_out": len(it.said_no) - _ERASED}


def _until(holds: Callable[[], bool], what: str) -> None:
    def quietly() -> bool:
        try:
            return holds()
        except UNREACHABLE:
            return False

    if not wait_until(quietly, timeout=_PATIENCE, every=0.1):
        raise OutreachError(f"{what} did not come to an end within {_PATIENCE:g} s")


def _lose(it: _Drill) -> None:
    """The database is gone under everything that runs; then somebody ends what runs."""
    admin.lose_database(it.servers.database_url)
    _end_processes(it)
    it.say("the database is lost")


def _end_processes(it: _Drill) -> None:
    ours = [name for name in it.supervisor.exit_codes() if name != "simulator"]
    for name in ours:
        it.supervisor.retire(name)
    if not wait_until(lambda: not set(ours) & set(it.supervisor.running()), timeout=_PATIENCE, every=0.05):
        raise OutreachError("processes did not end")


# --- restore and adoption --------------------------------------------------------------------------------------------


def _restore(it: _Drill, folder: Path) -> None:
    with it.timed("restore"):
        _program(
            "pg_restore", "--no-owner", f"--dbname={it.servers.database_url}", str(folder / "backup.dump")
        )
    it.say("backup restored with pg_restore")


def _stays_silent(it: _Drill) -> str:
    """Everything is started as if nothing had happened: nothing may be sent."""
    before = len(_by_api(it))
    start_processes(it.stage, it.supervisor)
    time.sleep(_FOREIGN)  # noqa: TID251  long enough for several sweeps
    with it.app() as app:
        found = app.context.db.run(instance.read).foreign_reason
    _end_processes(it)
    sent = len(_by_api(it)) - before
    if found is None or sent:
        raise OutreachError(f"a restored database was not refused: {sent} sent, sign: {found or 'none'}")
    it.say(f"started as it was, it sends nothing: {found}")
    return found


def _adopt(it: _Drill) -> Adopted:
    with it.timed("adopt"), it.app() as app:
        place = journal_place(it.stage.settings, app.context)
        lines = list(place.read()) if place is not None else []
        adopted = adopt(app.context, Order(reason="a drill", by=_BY, lines=lines))
    it.say(f"adopted; from the journal: {dict(adopted.replayed)}")
    return adopted


# --- afterwards ------------------------------------------------------------------------------------------------------


def _judged(it: _Drill, people: int, found: str, adopted: Adopted, stretch: Mapping[str, Any]) -> DrillResult:
    at_loss = len(_by_api(it))
    with it.app() as app, Human(app.context, it.stage.simulator_url):
        with it.timed("read"):
            start_processes(it.stage, it.supervisor)
            try:
                _until(lambda: app.context.db.run(instance.read).recovering_since is None, "the recovery")
            except OutreachError as late:
                left = database_standing(app.context)["waits_for"]
                raise OutreachError(f"{late.message}: it waits for {left}") from late
        it.say("all is read: sends go on")
        time.sleep(_AFTER)  # noqa: TID251  the run itself
        pause_all(app.context, "the drill is over", _BY)
        _until(lambda: _is_settled(app.context.db.run(judging.pulse)), "settling")
        _end_processes(it)
        return _verdict(it, app, people, found, adopted, stretch, at_loss)


def _is_settled(pulse: Row) -> bool:
    return not (pulse["open"] or pulse["undigested"] or pulse["draining"])


def _by_api(it: _Drill) -> list[Acceptance]:
    return [one for one in read_witness(it.stage.witness)[0] if one.by == "api"]


def _verdict(
    it: _Drill,
    app: apps.App,
    people: int,
    found: str,
    adopted: Adopted,
    stretch: Mapping[str, Any],
    at_loss: int,
) -> DrillResult:
    ctx = app.context
    acceptances, deeds = read_witness(it.stage.witness)
    verdict = judge_restored(
        ctx.db, acceptances, deeds, caps=world.witness_caps(it.stage.caps), now=ctx.clock.now(), machine=ctx.machine(1.0), said_no=it.said_no
    )  # fmt: skip
    known = ctx.db.run(lambda tx: drill.recovered(tx, it.erased))
    return DrillResult(
        seed=it.seed, people=people, verdict=verdict, erased_and_back=known["back"], found=found, replayed=adopted.replayed,
        recovered=known["recovered"], asked=known["asked"], sent_afterwards=len(_by_api(it)) - at_loss, seconds=it.seconds,
        lost={"sends": at_loss - stretch["sends"], "opted_out": stretch["opted_out"], "erased": len(it.erased)},
        journal_lag_s=round(ctx.clock.real_seconds(stretch["lag"]), 2), witness=it.stage.witness,
    )  # fmt: skip
