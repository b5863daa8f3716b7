"""What the demo shows while it runs: a live table on a terminal, plain lines elsewhere, nothing with --json."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from outreach.audience.aliases import alias
from outreach.compliance.verdicts import RULES
from outreach.limits.caps import parse_caps
from outreach.models import demo, judging
from outreach.models.base import Row, Tx
from outreach.rehearsal.judge import Verdict
from outreach.rehearsal.world import CAPS, SEQUENCE
from outreach.runtime.context import Context

#: Plain output: a line every so many looks.
_EVERY = 12


class Screen:
    """Progress on stderr; stdout is left to the last line."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._looks = 0

    def say(self, line: str) -> None:
        """One line of what is going on."""
        if not self._quiet:
            self._console.print(line, highlight=False, soft_wrap=True)

    def child_says(self, line: str) -> None:
        """A child's own words, which are rare and worth seeing."""
        self._console.print(line, style="yellow", highlight=False)

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """The display stands while the context lasts."""
        if self._quiet or not sys.stderr.isatty():
            yield
            return
        with Live(console=self._console, refresh_per_second=4, transient=False) as self._live:
            yield
        self._live = None

    def show(self, ctx: Context, pulse: Row, running: Mapping[str, int], taps: int, unread: bool) -> None:
        """One look."""
        if self._quiet:
            return
        self._looks += 1
        if self._live is not None:
            self._live.update(ctx.db.run(lambda tx: _table(tx, ctx, pulse, running, taps, unread)))
        elif self._looks % _EVERY == 0:
            self.say(_line(ctx, pulse, taps, unread))

    def verdict(self, verdict: Verdict, line: Mapping[str, Any], folder: Path) -> None:
        """What the witness says, and what to type next."""
        if self._quiet:
            return
        figures = verdict.figures()
        mark = "[bold green]clean[/]" if verdict.clean else "[bold red]NOT CLEAN[/]"
        self._console.print(f"\nThe provider's own log, held against our ledger: {mark}")
        self._console.print(
            "  " + "  ".join(f"{name.replace('_', ' ')} {n}" for name, n in figures.items()),
            highlight=False,
            soft_wrap=True,
        )
        for finding in verdict.findings[:10]:
            self._console.print(f"  - {finding}", style="red", highlight=False, soft_wrap=True)
        self._explain_held(verdict, folder)
        latency = line["reply_to_next_action_ms"]
        if latency["p50"] is not None:
            self.say(
                f"  reply to next action: {latency['p50']:.0f} ms (median), {latency['p99']:.0f} ms (99 of 100)"
            )
        self.say("\nLook around (the demo's database stays):")
        for command in ("status", f"stats {SEQUENCE}", "task list"):
            self.say(_typed(folder, command))

    def _explain_held(self, verdict: Verdict, folder: Path) -> None:
        """Held is no fault: it is what the engine does where another attempt might be a second message."""
        if not verdict.held:
            return
        self.say(
            f"  {verdict.held_for_human} held for a human: each was begun and its answer never came back (its worker was killed, say)."
        )
        for why in verdict.held:
            self.say(f"    {why}")
        self.say("  None is sent again by software; each counts against its cap until somebody has looked:")
        self.say(_typed(folder, "ledger list --state held"))
        self.say(
            _typed(folder, "ledger resolve ID --happened (or --not-happened, and --again to have it sent)")
        )


def _typed(folder: Path, command: str) -> str:
    return f"  .venv/bin/outreach --data-dir {folder} {command}"


def _line(ctx: Context, pulse: Row, taps: int, unread: bool) -> str:
    waits = (
        f", {pulse['on_evidence']} wait for an unread inbox: no reply is not assumed"
        if unread and pulse["on_evidence"]
        else ""
    )
    return (
        f"  {ctx.clock.now():%a %H:%M}  {pulse['sent']} sent, {pulse['replies']} replies, {pulse['opted_out']} opted out, "
        f"{pulse['active']} under way ({pulse['on_task']} wait for a human, {taps} taps){waits}"
    )


_SHORT = {"FOLLOW_ON_TWITTER": "follows", "UNFOLLOW_ON_TWITTER": "unfollows", "SEND_TWITTER_DM": "DMs"}


def _caps_line(tx: Tx, ctx: Context) -> str:
    """What the ledger counts in the rolling hour, beside the cap."""
    rows = demo.used_since(tx, ctx.clock.now() - timedelta(hours=1))
    hourly = {kind: caps[0].limit for kind, caps in ((k, parse_caps(text)) for k, text in CAPS.items())}
    return " · ".join(f"{r['name']} {_SHORT[r['kind']]} {r['used']}/{hourly[r['kind']]}" for r in rows)


def _table(tx: Tx, ctx: Context, pulse: Row, running: Mapping[str, int], taps: int, unread: bool) -> Group:
    nodes = Table(
        title=f"{ctx.clock.now():%A %H:%M} (an hour a second) — SIMULATED ONLY",
        title_justify="left",
        expand=False,
    )
    for heading in ("node", "does", "leads here", "sent", "failed", "too late", "wait for a human"):
        nodes.add_column(heading, justify="left" if heading in ("node", "does") else "right")
    for row in judging.counts_by_node(tx, SEQUENCE):
        numbers = (str(row[c]) for c in ("here", "sent", "failed", "passed_over", "human"))
        nodes.add_row(row["key"], row["kind"], *numbers)
    lines = [
        f"{pulse['sent']} sent · {pulse['replies']} replies · {pulse['opted_out']} opted out · {pulse['finished']} finished · "
        f"{pulse['exited']} left · {taps} taps by a human · processes: {len(running)}"
    ]
    if unread:
        lines.append(
            f"orbit's inbox cannot be read: {pulse['on_evidence']} leads wait; no reply is not assumed"
        )
    lines += [
        f"{alias(r['person_id'])}: {r['class']} reply  {r['moved'] or 'left the sequence'}"
        for r in demo.latest_replies(tx, 4)
    ]
    refusal = demo.a_refusal(tx)
    if refusal is not None:
        rule = refusal["verdict"]["rule"]
        lines.append(
            f"{alias(refusal['person_id'])}: {refusal['kind']} not by software — {rule}: {RULES[rule].meaning}"
        )
    return Group(nodes, *(Text(line) for line in lines))
