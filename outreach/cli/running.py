"""Commands that run: everything in one terminal, one process each, the schema, the demo."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outreach.cli.output import AsJson, done, note, say
from outreach.cli.session import prepare, read_settings, served
from outreach.settings import Settings, inherited_environment

if TYPE_CHECKING:
    from outreach.embedded.supervisor import Command


def up(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(help="Of the web process; 0: PORT.", min=0, max=65_535)] = 0,
    workers: Annotated[int, typer.Option(help="How many worker processes.", min=1, max=16)] = 1,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Against a simulated X, in a database of its own.")
    ] = False,
    speed: Annotated[
        float, typer.Option(help="With --simulate: how much faster its time runs.", min=1, max=3600)
    ] = 1440,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="With --simulate: empty its database first.")
    ] = False,
) -> None:
    """Run everything in this terminal: servers if need be, web, workers, scheduler. Ctrl-C stops it all."""
    if simulate:
        from outreach.cli.simulated import run_simulation

        settings = read_settings(ctx)
        run_simulation(settings, port=port or settings.port, workers=workers, speed=speed, fresh=fresh)
        return
    from outreach.broker import require_redis
    from outreach.cli.processes import listening
    from outreach.embedded.supervisor import Supervisor, interrupted_by_signals

    with interrupted_by_signals(), served(ctx, aloud=True) as settings, Supervisor() as supervisor:
        require_redis(settings.redis_url)
        listening(settings.host, port or settings.port).close()
        try:
            for command in process_commands(settings, port or settings.port, workers):
                supervisor.start(command)
            say(f"outreach is up: http://{settings.host}:{port or settings.port} · Ctrl-C stops it")
            sys.stdout.flush()
            supervisor.wait()
        except KeyboardInterrupt:
            note("stopping")


def process_commands(settings: Settings, port: int, workers: int) -> list["Command"]:
    """Web, scheduler and workers as a supervisor's children."""
    from outreach.embedded.supervisor import Command

    environ = child_environment(settings)
    names = ["web", "scheduler", *(f"worker{n}" for n in range(1, workers + 1))]
    return [
        Command(
            name=name,
            words=[sys.executable, "-m", "outreach", name.rstrip("0123456789"), *(["--port", str(port)] if name == "web" else [])],
            environ=environ,
            restart=True,
        )
        for name in names
    ]  # fmt: skip


def child_environment(settings: Settings) -> Mapping[str, str]:
    """What our processes inherit: this one's environment, with the servers and the clock spelt out."""
    return inherited_environment() | {
        "DATABASE_URL": str(settings.database_url),
        "REDIS_URL": str(settings.redis_url),
        "OUTREACH_CLOCK_ORIGIN": settings.clock_origin.isoformat(),
        "OUTREACH_CLOCK_FACTOR": str(settings.clock_factor),
        "PYTHONUNBUFFERED": "1",
    }


def migrate(
    ctx: typer.Context,
    online: Annotated[
        bool, typer.Option("--online", help="Build big indexes too, beside the work; it may take hours.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the schema up to date, and make the instance if there is none. Safe to run again, and to break off."""
    from outreach.embedded.servers import start_servers

    settings = read_settings(ctx)
    if settings.database_url is None:
        with start_servers(settings) as servers:
            found = prepare(
                _with_urls(settings, servers.database_url, servers.redis_url), note if online else None
            )
    else:
        found = prepare(settings, note if online else None)
    sentence = f"applied {', '.join(found.applied)}" if found.applied else "the schema is up to date"
    if found.note:
        sentence = f"nothing to do: {found.note}"
    done({"applied": found.applied, "note": found.note, "online": found.online}, sentence, as_json)
    if found.online:
        note(f"left for outreach migrate --online, beside the work: {', '.join(found.online)}")


def _with_urls(settings: Settings, database_url: str, redis_url: str) -> Settings:
    from dataclasses import replace

    return replace(settings, database_url=database_url, redis_url=redis_url)


def worker(
    ctx: typer.Context,
    queues: Annotated[str, typer.Option(help="Only these, as in twitter,engine; else all.")] = "",
    threads: Annotated[int, typer.Option(help="0: OUTREACH_WORKER_THREADS.", min=0, max=256)] = 0,
    lead: Annotated[int, typer.Option(help="Look at this lead once, and end.", min=0)] = 0,
) -> None:
    """Work on hints until told to stop."""
    from outreach.cli import processes

    only = processes.checked_queues(queues)
    settings = processes.process_settings(read_settings(ctx))
    if lead:
        raise typer.Exit(processes.one_lead(settings, lead))
    raise typer.Exit(processes.worker(settings, queues=only, threads=threads or None))


def scheduler(ctx: typer.Context) -> None:
    """Send ticks until told to stop."""
    from outreach.cli import processes

    raise typer.Exit(processes.scheduler(processes.process_settings(read_settings(ctx))))


def web(
    ctx: typer.Context, port: Annotated[int, typer.Option(help="0: PORT.", min=0, max=65_535)] = 0
) -> None:
    """Serve webhooks, the opt-out page, health and metrics."""
    from outreach.cli import processes

    raise typer.Exit(processes.web(processes.process_settings(read_settings(ctx)), port=port or None))


def listen(ctx: typer.Context) -> None:
    """Hold connections open for channels that need it. None does yet: it idles until told to stop."""
    import signal
    import threading

    read_settings(ctx)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    note(
        "no channel of this release holds a connection open: idle until SIGTERM; this process may be scaled to 0"
    )
    stop.wait()


def demo(
    ctx: typer.Context,
    seed: Annotated[int, typer.Option(help="The same people behave the same way.")] = 7,
    leads: Annotated[int, typer.Option(help="How many people to enroll.", min=1)] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Where its servers keep their data.")] = None,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Kill workers, flush Valkey, restart Postgres meanwhile.")
    ] = False,
    seconds: Annotated[
        int, typer.Option(help="How long it may take at most; 0: as long as its story needs.", min=0)
    ] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Its servers stay up until Ctrl-C.")] = False,
) -> None:
    """The main job end to end, simulated, judged by the provider's own log."""
    from outreach.cli.demo import run_demo

    folder = data_dir or read_settings(ctx).data_dir
    raise typer.Exit(
        run_demo(
            seed=seed, leads=leads, as_json=as_json, data_dir=folder, seconds=seconds, chaos=chaos, keep=keep
        )
    )


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    for command in (up, migrate, worker, scheduler, web, listen, demo):
        cli.command()(command)
