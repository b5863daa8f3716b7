"""Log lines: a sentence with its stable action word and ids, on stderr; JSON where machines read them."""

import json
import logging

from outreach.models.outage import explain_outage
from outreach.settings import Settings

#: What every record has of its own; the rest came in by `extra`.
_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Seconds between two lines that say the same outage.
_QUIET_SECONDS = 30.0
_QUIET = ("dramatiq", "periodiq", "httpx", "httpcore", "uvicorn")


class Lines(logging.Formatter):
    """`level action sentence key=value …`"""

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in _OWN}
        action = fields.pop("action", record.name)
        rest = " ".join(f"{k}={v}" for k, v in fields.items())
        text = f"{record.levelname.lower()} {action}: {record.getMessage()} {rest}".rstrip()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in _OWN}
        line = {"level": record.levelname.lower(), "message": record.getMessage(), **fields}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


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


def _database_away(record: logging.LogRecord) -> str | None:
    error = record.exc_info[1] if record.exc_info else None
    known = explain_outage(error) if error is not None else None
    return f"{known.message}; the rows wait, and the sweep brings them back" if known else None


def _last(args: object) -> object:
    return args[-1] if isinstance(args, tuple) and args else "connection lost"


def set_up_logs(settings: Settings) -> None:
    """Configure this process's logging once."""
    handler = logging.StreamHandler()
    handler.addFilter(Outages())
    handler.setFormatter(JsonLines() if settings.json_logs else Lines())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
