"""`python -m outreach.simulator --world FILE --witness FILE`: one simulator process, until SIGTERM or Ctrl-C."""

import argparse
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from outreach.simulator.clock import ORIGIN, ScaledClock
from outreach.simulator.faults import FaultProblem, Rule, read_plan
from outreach.simulator.posting import HttpPost
from outreach.simulator.server import NotLoopback, Server
from outreach.simulator.simulator import Simulator
from outreach.simulator.witness import Witness
from outreach.simulator.world import WorldProblem, WorldSpec, read_world


def _instant(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m outreach.simulator", description="A stand-in for the X API v2."
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address; others are refused")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument(
        "--world", type=Path, help="JSON: app, accounts, people, mixture (else POST /__sim/world)"
    )
    parser.add_argument("--witness", type=Path, required=True, help="the log, appended to")
    parser.add_argument(
        "--keep-bodies", action="store_true", help="texts go into the witness, not only their hashes"
    )
    parser.add_argument("--origin", type=_instant, default=ORIGIN, help="ISO 8601; where scaled time begins")
    parser.add_argument(
        "--factor", type=float, default=1.0, help="how much faster scaled time runs than real time"
    )
    parser.add_argument("--seed", type=int, default=0, help="of personas and faults")
    parser.add_argument("--faults", type=Path, help='JSON: {"rules": [...]}')
    return parser


def _rules(path: Path | None) -> tuple[Rule, ...]:
    if path is None:
        return ()
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FaultProblem(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise FaultProblem(f"{path}: not JSON: {error}") from error
    try:
        return tuple(read_plan(raw))
    except FaultProblem as problem:
        raise FaultProblem(f"{path}: {problem}") from None


def _server(options: argparse.Namespace, post: HttpPost) -> tuple[Server, Witness]:
    clock = ScaledClock(origin=options.origin, factor=options.factor)
    world = read_world(options.world) if options.world else WorldSpec()
    rules = _rules(options.faults)
    witness = Witness(clock, options.witness, keep_bodies=options.keep_bodies)
    simulator = Simulator(world, witness=witness, post=post, clock=clock, seed=options.seed, rules=rules)
    return Server(simulator, host=options.host, port=options.port), witness


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after a clean stop, 2 where the arguments cannot be used."""
    options = _parser().parse_args(arguments)
    post = HttpPost()
    try:
        server, witness = _server(options, post)
    except (WorldProblem, FaultProblem, NotLoopback, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2

    def stop(*_: object) -> None:
        server.should_exit = True

    # the web server listens to these itself while it runs, and raises them once more when it is done
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.on_ready = lambda: print(f"ready {server.url}", flush=True)  # noqa: T201  the line that is waited for
    server.serve_until_stopped()
    post.close()
    witness.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
