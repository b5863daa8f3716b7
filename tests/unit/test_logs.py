"""An outage in a process's log: one line now and then that says what is away, never a traceback."""

import io
import logging
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg2
import pytest

from outreach.cli.logs import Budget, JsonLines, Lines, Outages, set_up_logs
from outreach.errors import NotFound
from outreach.settings import Settings

CONSUMER = "dramatiq.worker.ConsumerThread(twitter)"
WORKER = "dramatiq.worker.WorkerThread"


class Stage:
    """A handler as `set_up_logs` makes it, and a clock of its own."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        self.handler = logging.StreamHandler(self.out)
        self.handler.setFormatter(Lines())
        self.handler.addFilter(Outages())

    def say(self, name: str, at: float, text: str, *args: object, error: Exception | None = None) -> None:
        exc_info = (type(error), error, error.__traceback__) if error else None
        record = logging.LogRecord(name, logging.ERROR, __file__, 1, text, args, exc_info)
        record.created = at
        self.handler.handle(record)

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


@pytest.fixture
def stage() -> Iterator[Stage]:
    yield Stage()


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_a_database_that_is_away_is_one_line_without_a_traceback(stage: Stage) -> None:
    for second in range(29):
        error = raised(psycopg2.OperationalError("connection refused\n\tmore"))
        stage.say(WORKER, 100.0 + second, "Failed to process message %s.", "m", error=error)
    (line,) = stage.lines
    assert line.startswith(
        "error database_away: the database does not answer: connection refused; the rows wait"
    )
    stage.say(WORKER, 131.0, "again", error=raised(psycopg2.OperationalError("still away")))
    assert len(stage.lines) == 2


def test_a_redis_that_is_away_is_one_line_for_all_queues(stage: Stage) -> None:
    for queue in ("twitter", "engine", "soon.DQ"):
        stage.say(
            f"dramatiq.worker.ConsumerThread({queue})",
            5.0,
            "Consumer encountered a connection error: %s",
            "refused",
        )
    assert stage.lines == ["error redis_away: Redis does not answer: refused; it is asked again"]


def test_both_outages_are_said(stage: Stage) -> None:
    stage.say(CONSUMER, 5.0, "Consumer encountered a connection error: %s", "refused")
    stage.say(WORKER, 5.0, "Failed", error=raised(psycopg2.OperationalError("gone")))
    assert [line.split()[1] for line in stage.lines] == ["redis_away:", "database_away:"]


def test_an_error_of_ours_keeps_its_traceback_every_time(stage: Stage) -> None:
    for _ in range(2):
        stage.say(WORKER, 5.0, "Failed to process message %s.", "m", error=raised(RuntimeError("a bug")))
    assert stage.out.getvalue().count("Traceback") == 2
    assert stage.out.getvalue().count("in raised") == 2


@pytest.mark.parametrize("formatter", [Lines(), JsonLines()])
def test_a_traceback_says_where_and_what_kind_and_never_what_the_data_said(
    stage: Stage, formatter: logging.Formatter
) -> None:
    stage.handler.setFormatter(formatter)
    data = "@".join(("ann", "example.test"))  # the lines of code that are quoted must not hold it
    try:
        try:
            dict[str, int]()[data]
        except KeyError as first:
            first.add_note(f"of {data}")
            raise ValueError(f"cannot read {data}") from first
    except ValueError as error:
        stage.say(WORKER, 5.0, "Failed", error=error)
    said = stage.out.getvalue()
    assert said.index("KeyError") < said.index("ValueError")
    assert "test_logs.py" in said
    assert data not in said


def test_our_own_words_and_the_databases_names_are_said(stage: Stage) -> None:
    stage.say(WORKER, 5.0, "Failed", error=raised(NotFound("no lead 7")))
    stage.say(WORKER, 5.0, "Failed", error=raised(_Refused("Key (value)=(ann@example.test) already exists")))
    assert "NotFound: no lead 7" in stage.out.getvalue()
    assert "_Refused code=23505 constraint=identity_kind_value_key" in stage.out.getvalue()
    assert "ann@" not in stage.out.getvalue()


class _Refused(Exception):
    """As the driver has it."""

    pgcode = "23505"
    diag = SimpleNamespace(constraint_name="identity_kind_value_key", table_name=None)


def test_a_thread_that_dies_says_so_in_the_log_and_quotes_nothing(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    root, before = logging.getLogger(), threading.excepthook
    handlers = root.handlers[:]
    try:
        set_up_logs(Settings())
        root.handlers[:] = [stage.handler]

        def die() -> None:
            raise KeyError(chr(97) + "nn@example.test")

        thread = threading.Thread(target=die, name="somebody")
        thread.start()
        thread.join()
    finally:
        root.handlers[:] = handlers
        threading.excepthook = before
    said = stage.out.getvalue() + capsys.readouterr().err
    assert "thread_died" in said and "KeyError" in said and "of=somebody" in said
    assert "ann@" not in said


def test_at_debug_others_do_not_say_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, threading.excepthook
    try:
        set_up_logs(Settings(log_level="DEBUG"))
        logging.getLogger("peewee").debug("('SELECT %s', ['ann@example.test'])")
        logging.getLogger("outreach").debug("looked")
        logging.getLogger("outreach.embedded").debug("too")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        threading.excepthook = before
    said = capsys.readouterr().err
    assert "looked" in said and "too" in said
    assert "ann@" not in said


def test_an_outage_is_json_where_machines_read(stage: Stage) -> None:
    stage.handler.setFormatter(JsonLines())
    stage.say(WORKER, 5.0, "Failed", error=raised(psycopg2.OperationalError("gone")))
    assert '"action": "database_away"' in stage.lines[0]
    assert "traceback" not in stage.lines[0]


class Budgeted:
    """A handler with a budget, and a clock of its own."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        self.handler = logging.StreamHandler(self.out)
        self.handler.setFormatter(Lines())
        self.handler.addFilter(Budget())

    def say(self, at: float, text: str, level: int = logging.INFO) -> int:
        """How many lines there are now."""
        record = logging.LogRecord("outreach", level, __file__, 1, text, (), None)
        record.created = at
        self.handler.handle(record)
        return len(self.lines)

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def test_a_process_says_a_line_a_second_at_most_and_how_many_it_kept_back() -> None:
    log = Budgeted()
    for n in range(1000):
        log.say(100.0 + n / 10, "storm", logging.WARNING)
    # A hundred seconds: a burst, and then one a second.
    assert 155 <= len(log.lines) <= 161
    log.say(300.0, "calm")
    assert log.lines[-1].startswith("info outreach: calm withheld=")
    assert sum(int(line.partition("withheld=")[2] or 0) for line in log.lines) + len(log.lines) == 1001


def test_a_new_error_is_said_in_the_middle_of_a_storm() -> None:
    log = Budgeted()
    for _ in range(200):
        log.say(100.0, "storm")
    before = log.say(100.0, "storm")
    assert log.say(100.0, "disk full", logging.ERROR) == before + 1
    assert log.say(101.0, "disk full", logging.ERROR) <= before + 2
    assert log.say(131.0, "disk full", logging.ERROR) > before + 1


def test_at_debug_everything_is_said() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logs(Settings(log_level="DEBUG"))
        assert not any(isinstance(f, Budget) for f in root.handlers[0].filters)
        set_up_logs(Settings())
        assert any(isinstance(f, Budget) for f in root.handlers[0].filters)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
