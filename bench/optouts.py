"""`python -m bench.optouts --json`: two thousand opt-outs race the sends, by every door; then a hundred come while nothing else happens.

Doors: a reply that says STOP (pushed by webhook), the one-click page, an operator, and a list of identifiers. Real servers, workers, web
process and simulator; calls take 0.4 s, so that many an opt-out meets one under way. The witness judges; a figure of a wrong run is worth nothing.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from bench import world
from bench.main_job import Run, _judged, _set_up
from outreach.embedded.servers import start_servers
from outreach.embedded.waiting import wait_until
from outreach.models.base import Tx
from outreach.runtime.enroll import enroll
from outreach.runtime.optout import opt_out, opt_out_identifier
from outreach.settings import Settings
from outreach.simulator.witness import read_witness
from outreach.web.optout import make_token

_THREADS = 4
_SLOW = (
    {"match": {"route": "dm.send"}, "do": "delay", "seconds": 0.4},
    {"match": {"route": "*follow"}, "do": "delay", "seconds": 0.4},
)
#: Real seconds: until every opt-out is effective, and between two of one thread.
_LONGEST, _PAUSE = 180.0, 0.1


@dataclass(slots=True, kw_only=True)
class Storm:
    """The people who object, how, and how long each took to be told that it is so."""

    run: Run
    #: who has not objected yet: person -> id at the provider
    left: dict[int, str]
    client: httpx.Client
    #: person -> door and the seconds until it answered (a reply: when it was said, for nobody is answered)
    said: dict[int, tuple[str, float | datetime]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def doors(self) -> Mapping[str, Callable[[int, str], None]]:
        return {"reply": self._reply, "page": self._page, "operator": self._operator, "list": self._list}

    def object(self, door: str) -> bool:
        """One more person, one who is being called if there is any. False: there is nobody left."""
        called = self.run.app.context.db.run(_being_called)
        with self._lock:
            if not self.left:
                return False
            person = next((p for p in called if p in self.left), None) or next(iter(self.left))
            recipient = self.left.pop(person)
        at, began = self.run.app.context.clock.now(), time.monotonic()
        self.doors()[door](person, recipient)
        self.said[person] = (door, at if door == "reply" else time.monotonic() - began)
        return True

    def _reply(self, _person: int, recipient: str) -> None:
        said = {"from": recipient, "to": world.account_id(0), "text": "STOP", "kind": "stop"}
        self.client.post(f"{self.run.simulator}/__sim/say", json=said).raise_for_status()

    def _page(self, person: int, _recipient: str) -> None:
        token = make_token(self.run.app.settings.link_secret, person)
        self.client.post(f"http://127.0.0.1:{self.run.web_port}/opt-out/{token}").raise_for_status()

    def _operator(self, person: int, _recipient: str) -> None:
        opt_out(self.run.app.context, person, reason="asked", source="operator", evidence={}, actor="bench")

    def _list(self, _person: int, recipient: str) -> None:
        ctx = self.run.app.context
        digest = ctx.peppers.digest("twitter_id", recipient)
        opt_out_identifier(ctx, digest, reason="asked", source="list", evidence={}, actor="bench")


def _being_called(tx: Tx) -> list[int]:
    rows = tx.rows(
        "SELECT DISTINCT l.person_id FROM execution e JOIN lead l ON l.id = e.lead_id JOIN person p ON p.id = l.person_id"
        " WHERE e.state = 'calling' AND p.suppressed_at IS NULL ORDER BY l.person_id"
    )
    return [row["person_id"] for row in rows]


def main(words: Sequence[str] | None = None) -> int:
    """Run it; 1 where the witness found anything."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.optouts", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="only the last line")
    options = parser.parse_args(words)
    say = (lambda _text: None) if options.json else lambda text: sys.stdout.write(f"{text}\n")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outreach-bench-")))
        servers = stack.enter_context(start_servers(Settings(data_dir=folder)))
        run = _set_up(folder, servers, options.people, stack)
        client = stack.enter_context(httpx.Client(trust_env=False, timeout=30.0))
        line = _measure(run, client, say)
        clean = _judged(run, say)
    sys.stdout.write(json.dumps(line) + "\n")
    return 0 if clean and not line["after_effective"] else 1


def _measure(run: Run, client: httpx.Client, say: Any) -> dict[str, Any]:
    client.post(f"{run.simulator}/__sim/faults", json={"rules": _SLOW}).raise_for_status()
    racing = Storm(run=run, client=client, left=_people(run, world.BULK))
    ctx, names = run.app.context, tuple(world.account_name(n) for n in range(world.ACCOUNTS))
    run.app.hint(enroll(ctx, world.BULK, [world.BULK], account_names=names, by="bench").hints)
    threads = [threading.Thread(target=_object, args=(racing, n)) for n in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _until_effective(run, len(racing.said))
    say(f"{len(racing.said)} objected while others were written to")
    # Nothing else happens now: the second hundred was never written to.
    alone = Storm(run=run, client=client, left=_people(run, world.IDLE))
    for door in cycle(alone.doors()):
        time.sleep(_PAUSE)  # noqa: TID251  an idle house is idle between two of them
        if not alone.object(door):
            break
    _until_effective(run, len(racing.said) + len(alone.said))
    return _figures(run, racing, alone)


def _people(run: Run, segment: str) -> dict[int, str]:
    rows = run.app.context.db.read(
        "SELECT m.person_id, i.value FROM segment s JOIN segment_member m ON m.segment_id = s.id"
        " JOIN identity i ON i.person_id = m.person_id AND i.kind = 'twitter_id' WHERE s.name = %s ORDER BY m.person_id",
        (segment,),
    )
    return {row["person_id"]: row["value"] for row in rows}


def _object(storm: Storm, offset: int) -> None:
    doors = list(storm.doors())
    number = offset
    while storm.object(doors[number % len(doors)]):
        number += 1
        time.sleep(_PAUSE)  # noqa: TID251  slower than the sends, or most of them would never begin


def _until_effective(run: Run, people: int) -> None:
    sql = "SELECT count(*) AS n FROM person WHERE suppression_effective_at IS NOT NULL"
    if not wait_until(lambda: run.app.context.db.read(sql)[0]["n"] >= people, timeout=_LONGEST, every=0.2):
        raise SystemExit(f"not everybody's opt-out became effective: {run.app.context.db.read(sql)}")


# --- figures -----------------------------------------------------------------------------------------------------


def _figures(run: Run, racing: Storm, alone: Storm) -> dict[str, Any]:
    stamps = {
        row["id"]: row
        for row in run.app.context.db.read(
            "SELECT id, suppressed_at, suppression_effective_at AS effective_at FROM person WHERE suppressed_at IS NOT NULL"
        )
    }
    at_once = {p for p, row in stamps.items() if row["effective_at"] == row["suppressed_at"]}
    person_of = _people(run, world.BULK) | _people(run, world.IDLE)
    by_recipient = {value: stamps[p] for p, value in person_of.items() if p in stamps}
    sends = [a for a in read_witness(run.witness)[0] if a.by == "api" and a.recipient in by_recipient]
    drained = [
        stamps[p]["effective_at"] - stamps[p]["suppressed_at"] for p in racing.said if p not in at_once
    ]
    return {
        "opt_outs": len(racing.said),
        "accepted": len(sends),
        "met_a_call": len(drained),
        "accepted_between_commit_and_effective": sum(
            by_recipient[a.recipient]["suppressed_at"] < a.t_scaled <= by_recipient[a.recipient]["effective_at"] for a in sends
        ),
        "after_effective": sum(a.t_scaled > by_recipient[a.recipient]["effective_at"] for a in sends),
        "longest_drain_s": round(max((d.total_seconds() for d in drained), default=0.0), 2),
        "ack_ms_racing_nothing_in_flight": _by_door(racing, stamps, at_once),
        "ack_ms_idle": _by_door(alone, stamps, at_once),
    }  # fmt: skip


def _by_door(
    storm: Storm, stamps: Mapping[int, Mapping[str, Any]], at_once: set[int]
) -> dict[str, dict[str, float]]:
    found: dict[str, list[float]] = {"all": []}
    for person, (door, took) in storm.said.items():
        if person not in at_once:
            continue
        seconds = (
            took if isinstance(took, float) else (stamps[person]["suppressed_at"] - took).total_seconds()
        )
        found.setdefault(door, []).append(seconds * 1000)
        found["all"].append(seconds * 1000)
    return {door: _quantiles(values) for door, values in found.items() if values}


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = partial(_at, ordered)
    return {
        "n": len(ordered),
        "p50": round(at(0.5), 1),
        "p99": round(at(0.99), 1),
        "max": round(ordered[-1], 1),
    }


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


if __name__ == "__main__":
    sys.exit(main())
