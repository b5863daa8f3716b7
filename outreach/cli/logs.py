"""Log lines: a sentence with its stable action word and ids, on stderr; JSON where machines read them."""

import json
import logging

from outreach.settings import Settings

#: What every record has of its own; the rest came in by `extra`.
_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
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


def set_up_logs(settings: Settings) -> None:
    """Configure this process's logging once."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.json_logs else Lines())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
