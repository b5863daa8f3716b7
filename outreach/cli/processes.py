"""The long-running processes: worker, scheduler, web. Each is one function of settings; `python -m outreach NAME` runs them."""

import argparse
import logging
import socket
import threading
from collections.abc import Callable, Sequence

from outreach import app as apps
from outreach import failpoints
from outreach.broker import CHANNEL_QUEUES, ENGINE, INBOUND, QUEUES, SafeBroker, queues_in_use, require_redis
from outreach.cli.ending import end_with
from outreach.cli.logs import hold_standard_streams, set_up_logs
from outreach.cli.session import on_its_clock
from outreach.engine.suggest import did_you_mean
from outreach.errors import ConfigurationError, OutreachError
from outreach.settings import MOST_THREADS, Settings

log = logging.getLogger("outreach")

#: Connections that wait to be accepted, as uvicorn has it.
_BACKLOG = 2048
#: Real seconds between two looks for a Redis that does not answer at the start.
_REDIS_EVERY = 3.0
#: A worker's connections to Postgres beside one for each thread: the app's own looks at the live switch.
SPARE_CONNECTIONS = 2


def worker(settings: Settings, *, queues: Sequence[str] | None = None, threads: int | None = None) -> int:
    """Work on hints until told to stop."""
    from dataclasses import replace
    from functools import partial

    from outreach.cli.apart import look_apart
    from outreach.cli.worker import run_worker, told_to_end
    from outreach.runtime.suspect import APART_SECONDS

    set_up_logs(settings)
    if settings.failpoint:
        failpoints.arm(settings.failpoint)
    stop = told_to_end()
    _find_redis(settings, stop)
    count = threads or settings.worker_threads
    queues = queues or queues_in_use(settings.channel_workers)
    _require_used(queues, settings.channel_workers)
    # A thread holds one connection at a time, and the app's own look at the live switch may need one more.
    own = settings.channel_workers
    carries = frozenset(name for name in CHANNEL_QUEUES if (name if name in own else INBOUND) in queues)
    app = apps.build(
        replace(settings, pool_size=count + SPARE_CONNECTIONS),
        carries=carries,
        ending=stop.is_set,
        apart=partial(look_apart, seconds=APART_SECONDS),
    )
    apps.override(app)
    import outreach.actors  # noqa: F401  declares the actors on the broker

    if isinstance(app.broker, SafeBroker) and {ENGINE, INBOUND} <= set(queues):
        # It carries out what it finds due itself: few hints for its channels come by their queues.
        app.broker.seldom = carries
    return run_worker(app.broker, stop, queues=queues, threads=count)


def one_lead(settings: Settings, lead_id: int) -> int:
    """Look at one lead and end: what a worker starts for a lead that may kill whoever looks at it."""
    from outreach.cli.apart import look_at

    set_up_logs(settings)
    if settings.failpoint:
        failpoints.arm(settings.failpoint)
    return look_at(settings, lead_id)


def scheduler(settings: Settings) -> int:
    """Send ticks until told to stop."""
    from dataclasses import replace

    from outreach.cli.scheduler import run_scheduler

    set_up_logs(settings)
    _find_redis(settings, threading.Event())
    # It reads the database once, at its start; ticks are hints.
    app = apps.build(replace(settings, pool_size=1))
    apps.override(app)
    import outreach.actors  # noqa: F401  declares the actors on the broker

    return run_scheduler(app.broker, settings.tick_seconds)


def web(settings: Settings, *, port: int | None = None) -> int:
    """Serve webhooks, the opt-out page, health and metrics until told to stop."""
    import uvicorn

    from outreach.web.server import create_app

    set_up_logs(settings)
    app = apps.build(settings)
    apps.override(app)
    # Uvicorn's own access log would write one line per webhook, and its own exit code for a taken port means something else here.
    config = uvicorn.Config(create_app(app), log_config=None, access_log=False)
    with listening(settings.host, port or settings.port) as taken:
        uvicorn.Server(config).run(sockets=[taken])
    return 0


def listening(host: str, port: int) -> socket.socket:
    """The socket of the web process. Raises ConfigurationError where the address cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be listened on: {(error.strerror or str(error)).lower()}",
            hint="another process may have it: set PORT or --port, and OUTREACH_HOST to an address of this machine",
        ) from error


def _find_redis(settings: Settings, stop: threading.Event) -> None:
    """Redis answers. On a laptop an error says that it does not; in production it is waited for: platforms start a process that
    ends again and again later and later, up to many minutes, and all of them would come after Redis is back. Until told to stop."""
    while True:
        try:
            return require_redis(settings.redis_url)
        except ConfigurationError:
            raise
        except OutreachError as error:
            if not settings.production:
                raise
            log.warning(f"{error.message}; waiting for it", extra={"action": "redis_awaited"})
            if stop.wait(_REDIS_EVERY):
                raise


# --- by their own names on the command line ------------------------------------------------------------------------


def run_process(words: Sequence[str]) -> int:
    """`worker [--queues A,B] [--threads N]`, `scheduler`, `web [--port N]`; the exit code. Errors as everywhere."""
    hold_standard_streams()
    show_where = "--traceback" in words
    options = _parser().parse_args([word for word in words if word != "--traceback"])
    try:
        queues = checked_queues(getattr(options, "queues", ""))
        settings = process_settings(Settings.from_environment())
        match options.process:
            case "worker" if options.lead:
                return one_lead(settings, options.lead)
            case "worker":
                return worker(settings, queues=queues, threads=options.threads or None)
            case "scheduler":
                return scheduler(settings)
            case _:
                return web(settings, port=options.port or None)
    except Exception as error:
        if show_where:
            raise
        return end_with(error, quote=False)


def _require_used(queues: Sequence[str], channel_workers: Sequence[str]) -> None:
    """Raises ConfigurationError for a worker that would wait for ever: no hint goes by any of its queues."""
    used = queues_in_use(channel_workers)
    if not set(queues) & set(used):
        raise ConfigurationError(
            f"no hint goes by {', '.join(queues)}: this worker would wait for ever",
            hint=f"set OUTREACH_CHANNEL_WORKERS={','.join(queues)} for every process, or start it without --queues",
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="outreach", add_help=False, allow_abbrev=False)
    processes = parser.add_subparsers(dest="process", required=True)
    one = processes.add_parser("worker", add_help=False, allow_abbrev=False)
    one.add_argument("--queues", default="")
    one.add_argument("--threads", type=_up_to(MOST_THREADS), default=0)
    one.add_argument("--lead", type=_up_to(2**63 - 1), default=0)
    processes.add_parser("scheduler", add_help=False)
    processes.add_parser("web", add_help=False, allow_abbrev=False).add_argument(
        "--port", type=_up_to(65_535), default=0
    )
    return parser


def _up_to(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not 0 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {most}")
        return int(text)

    return read


def process_settings(settings: Settings) -> Settings:
    """A process of its own needs servers that outlive it; it runs on its database's clock."""
    if settings.database_url is None or settings.redis_url is None:
        raise ConfigurationError(
            "DATABASE_URL and REDIS_URL are not set",
            hint="outreach up runs everything, servers too; one process alone needs both",
        )
    return on_its_clock(settings)


def checked_queues(text: str) -> list[str] | None:
    """The named queues; None for all. Raises ConfigurationError naming the nearest."""
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in QUEUES:
            raise ConfigurationError(f"there is no queue {name!r}", hint=did_you_mean(name, QUEUES))
    return wanted or None
