"""Log lines: a sentence with its stable action word and ids, on stderr; JSON where machines read them."""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

from outreach.errors import OutreachError
from outreach.models.outage import explain_outage
from outreach.settings import Settings

#: What every record has of its own; the rest came in by `extra`.
_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Seconds between two lines that say the same outage.
_QUIET_SECONDS = 30.0
#: Lines of one process: so many a second on average, and so many at once (a start says a lot).
_LINES_PER_SECOND, _BURST = 1.0, 60.0
#: Whose lines are ours, below a warning too. Others' say what they are about, at DEBUG with every parameter of every statement.
_OURS = "outreach"


def told(error: BaseException) -> str:
    """The frames of an error and its causes, and of what kind each was: never its words, which quote what it failed on.

    Ours are said, being written for this. Of the database's: the code, and the names of table and constraint.
    """
    lines = []
    for one in _with_causes(error):
        lines += traceback.format_tb(one.__traceback__)
        lines.append(f"{type(one).__name__}{_details(one)}\n")
    return "Traceback, the first cause first:\n" + "".join(lines).rstrip()


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """As Python says them: what came first, first. No error is its own cause, but a made-up one could be."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    yield from reversed(chain)


def _details(error: BaseException) -> str:
    if isinstance(error, OutreachError):
        return f": {error.message}"
    code, diag = getattr(error, "pgcode", None), getattr(error, "diag", None)
    known = {
        "code": code,
        "table": getattr(diag, "table_name", None),
        "constraint": getattr(diag, "constraint_name", None),
    }
    return "".join(f" {name}={value}" for name, value in known.items() if value)


class Lines(logging.Formatter):
    """`level action sentence key=value …`"""

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in _OWN}
        action = fields.pop("action", record.name)
        rest = " ".join(f"{k}={v}" for k, v in fields.items())
        text = f"{record.levelname.lower()} {action}: {record.getMessage()} {rest}".rstrip()
        error = record.exc_info[1] if record.exc_info else None
        return f"{text}\n{told(error)}" if error else text


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in _OWN}
        line = {"level": record.levelname.lower(), "message": record.getMessage(), **fields}
        error = record.exc_info[1] if record.exc_info else None
        if error:
            line["traceback"] = told(error)
        return json.dumps(line, default=str)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == _OURS


class Outages(logging.Filter):
    """A server that is away is one line now and then, without a traceback: every thread of a worker meets it, every second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        sentence = _database_away(record)
        if sentence is not None:
            return self._once(record, "database_away", sentence)
        if record.name.startswith("dramatiq.") and "connection error" in str(record.msg):
            return self._once(
                record, "redis_away", f"Redis does not answer: {_last(record.args)}; it is asked again"
            )
        return True

    def _once(self, record: logging.LogRecord, action: str, sentence: str) -> bool:
        record.msg, record.args, record.exc_info, record.exc_text = sentence, None, None, None
        record.__dict__["action"] = action
        if record.created - self._said.get(action, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return False
        self._said[action] = record.created
        return True


class Budget(logging.Filter):
    """A line a second at most, on average: platforms drop lines, and bill them. What is withheld is counted on the next line.

    An error that was not said for half a minute passes in any case. At DEBUG everything passes: whoever asked for it reads it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._left, self._at, self._withheld = _BURST, 0.0, 0
        self._errors: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # Another thread may come between: a line more or less is no harm.
        self._left = min(_BURST, self._left + max(0.0, record.created - self._at) * _LINES_PER_SECOND)
        self._at = record.created
        if self._left < 1 and not self._is_new_error(record):
            self._withheld += 1
            return False
        self._left -= 1
        if self._withheld:
            record.__dict__["withheld"], self._withheld = self._withheld, 0
        return True

    def _is_new_error(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return False
        kind = str(getattr(record, "action", record.msg))
        is_new = record.created - self._errors.get(kind, -_QUIET_SECONDS) >= _QUIET_SECONDS
        if is_new:
            self._errors[kind] = record.created
        return is_new


def _database_away(record: logging.LogRecord) -> str | None:
    error = record.exc_info[1] if record.exc_info else None
    known = explain_outage(error) if error is not None else None
    return f"{known.message}; the rows wait, and the sweep brings them back" if known else None


def _last(args: object) -> object:
    """The error, wherever it stands among the words."""
    given = args if isinstance(args, tuple) else ()
    return next(
        (one for one in given if isinstance(one, BaseException)), given[-1] if given else "connection lost"
    )


def hold_standard_streams() -> None:
    """Whoever starts us may have closed them. A connection must not get the number that C code takes for stderr, and writes to."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    nowhere = Path(os.devnull)
    sys.stdout, sys.stderr = (stream or nowhere.open("w") for stream in (sys.stdout, sys.stderr))


def set_up_logs(settings: Settings) -> None:
    """Configure this process's logging once."""
    handler = logging.StreamHandler()
    handler.addFilter(_is_ours)
    handler.addFilter(Outages())
    if settings.log_level != "DEBUG":
        handler.addFilter(Budget())
    handler.setFormatter(JsonLines() if settings.json_logs else Lines())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    threading.excepthook = _thread_died


def _thread_died(died: threading.ExceptHookArgs) -> None:
    """Python would print the error's words, past every formatter."""
    if died.exc_value is not None and not issubclass(died.exc_type, SystemExit):
        name = died.thread.name if died.thread else "?"
        logging.getLogger(_OURS).error(
            "a thread died", exc_info=died.exc_value, extra={"action": "thread_died", "of": name}
        )
