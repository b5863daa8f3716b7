"""Frozen settings, read once from the environment. The only reader of os.environ; loud on bad values."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from outreach.errors import ConfigurationError

#: Set by hosting platforms; each means that nothing may be started by itself.
_PRODUCTION_MARKS = ("DYNO", "KUBERNETES_SERVICE_HOST")
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
#: Of one worker; each holds a database connection.
MOST_THREADS = 256
CHANNELS = ("twitter", "linkedin", "xmtp", "email")
LOG_LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")
_EXAMPLE_URLS = {
    "DATABASE_URL": "postgres://USER:PASSWORD@HOST:5432/NAME",
    "REDIS_URL": "redis://:PASSWORD@HOST:6379/0",
    "NOTIFY_URL": "https://hooks.slack.com/services/T000/B000/XXXX",
    "ALERT_URL": "https://hooks.slack.com/services/T000/B000/XXXX",
    "HEARTBEAT_URL": "https://hc-ping.com/UUID",
    "OUTREACH_JOURNAL_URL": "s3://BUCKET/outreach",
    "OUTREACH_JOURNAL_ENDPOINT": "https://s3.example.com",
}
_WEB = ("https", "http")
_PLACES = ("file", "s3", *_WEB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the environment may say. Durations are real seconds unless the name says otherwise."""

    #: postgres:// or postgresql://; None: embedded
    database_url: str | None = None
    #: redis://, rediss:// or unix://; None: embedded
    redis_url: str | None = None
    #: name that a database's `instance` row must carry; None: whatever the row says
    instance: str | None = None
    production: bool = False
    #: where embedded servers keep their data
    data_dir: Path = field(default_factory=lambda: Path(".outreach"))
    #: secrets under which suppressed identifiers are remembered (HMAC), the current one first
    pepper: str = field(default="development-pepper", repr=False)
    #: keys under which credentials are stored (AES-256-GCM), the current one first; the default hides nothing
    keys: str = field(default="development", repr=False)
    #: secret that signs opt-out links
    link_secret: str = field(default="development-link-secret", repr=False)
    #: what people see in opt-out links and webhook registrations
    public_url: str = "http://127.0.0.1:8000"
    port: int = 8000
    host: str = "127.0.0.1"
    clock_origin: datetime = EPOCH
    clock_factor: float = 1.0
    tick_seconds: float = 60.0
    #: D: total deadline of one provider call
    call_deadline_seconds: float = 15.0
    #: G: a call whose claim is older than this is not begun
    guard_seconds: float = 2.0
    #: S: how long after its deadline a call may still surface at the provider
    settle_seconds: float = 60.0
    #: evidence of silence older than this is read again before it is acted on
    evidence_seconds: float = 900.0
    #: an account's inbox is read at least this often, webhooks or not
    poll_seconds: float = 900.0
    #: how late a message may show up in the provider's inbox reads
    inbox_lag_seconds: float = 5.0
    #: a hinted lead is not hinted again before this; with a tick it bounds what a lost hint costs (docs/guarantees.md)
    hint_lease_seconds: float = 25.0
    #: how long a human may hold a claimed task
    task_claim_seconds: float = 900.0
    #: how old or how far ahead the stamp of a posted form may be
    form_tolerance_seconds: float = 300.0
    worker_threads: int = 6
    #: channels whose hints have a queue of their own, because worker processes of their own take them
    channel_workers: tuple[str, ...] = ()
    pool_size: int = 4
    log_level: str = "INFO"
    #: told of every reply, in Slack's shape; None: nobody
    notify_url: str | None = None
    #: told of what needs somebody, in Slack's shape; None: nobody
    alert_url: str | None = None
    #: pinged by the tick; whoever is behind it raises the alarm when that stops
    heartbeat_url: str | None = None
    #: where opt-outs and erasures are kept outside the database (offbox.py); None: nowhere
    journal_url: str | None = None
    #: of an S3 service that is not Amazon's; None: Amazon's own
    journal_endpoint: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    aws_session_token: str | None = None
    aws_region: str | None = None
    #: may the words of a reply stand in the notice of it?
    notify_body: bool = False
    #: hosts of a private network that the URLs above, and files by https, may be at
    outbound_hosts: tuple[str, ...] = ()
    #: for tests: the named point at which a worker dies as by kill -9 (failpoints.py); None: nowhere
    failpoint: str | None = None
    json_logs: bool = False

    @classmethod
    def of_folder(cls, data_dir: Path) -> "Settings":
        """The defaults, on servers of that directory, but with the secrets of the environment: child processes read them there."""
        said = cls.from_environment()
        return cls(data_dir=data_dir, pepper=said.pepper, keys=said.keys, link_secret=said.link_secret)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment (or the given mapping). Raises ConfigurationError naming the variable at fault."""
        env = os.environ if environ is None else environ
        read = _Reader(env)
        production = any(env.get(m) for m in _PRODUCTION_MARKS) or env.get("OUTREACH_ENV") == "production"
        defaults = cls()
        return cls(
            database_url=read.url("DATABASE_URL", ("postgres", "postgresql")),
            redis_url=read.url("REDIS_URL", ("redis", "rediss", "unix")),
            instance=read.instance(production),
            production=production,
            data_dir=Path(env.get("OUTREACH_DATA_DIR") or ".outreach"),
            pepper=read.secret("OUTREACH_PEPPER", defaults.pepper, production),
            keys=_keys(read, defaults.keys, production),
            link_secret=read.secret("OUTREACH_LINK_SECRET", defaults.link_secret, production),
            public_url=env.get("OUTREACH_PUBLIC_URL") or defaults.public_url,
            port=read.whole("PORT", defaults.port, most=65_535),
            host=env.get("OUTREACH_HOST") or ("0.0.0.0" if production else defaults.host),  # noqa: S104  a dyno must listen on all
            clock_origin=read.instant("OUTREACH_CLOCK_ORIGIN", defaults.clock_origin),
            clock_factor=read.number("OUTREACH_CLOCK_FACTOR", defaults.clock_factor, least=0.001),
            tick_seconds=read.number("OUTREACH_TICK_SECONDS", defaults.tick_seconds, least=0.05),
            call_deadline_seconds=read.number(
                "OUTREACH_CALL_DEADLINE_SECONDS", defaults.call_deadline_seconds, least=0.1
            ),
            guard_seconds=read.number("OUTREACH_GUARD_SECONDS", defaults.guard_seconds, least=0.05),
            settle_seconds=read.number("OUTREACH_SETTLE_SECONDS", defaults.settle_seconds, least=0.1),
            evidence_seconds=read.number("OUTREACH_EVIDENCE_SECONDS", defaults.evidence_seconds, least=0.1),
            poll_seconds=read.number("OUTREACH_POLL_SECONDS", defaults.poll_seconds, least=0.1),
            inbox_lag_seconds=read.number("OUTREACH_INBOX_LAG_SECONDS", defaults.inbox_lag_seconds),
            hint_lease_seconds=read.number(
                "OUTREACH_HINT_LEASE_SECONDS", defaults.hint_lease_seconds, least=0.1
            ),
            task_claim_seconds=read.number(
                "OUTREACH_TASK_CLAIM_SECONDS", defaults.task_claim_seconds, least=1
            ),
            form_tolerance_seconds=read.number(
                "OUTREACH_FORM_TOLERANCE_SECONDS", defaults.form_tolerance_seconds, least=1
            ),
            worker_threads=read.whole(
                "OUTREACH_WORKER_THREADS", defaults.worker_threads, least=1, most=MOST_THREADS
            ),
            channel_workers=read.words("OUTREACH_CHANNEL_WORKERS", CHANNELS),
            pool_size=read.whole("OUTREACH_POOL_SIZE", defaults.pool_size, least=1, most=MOST_THREADS),
            log_level=read.word("OUTREACH_LOG_LEVEL", defaults.log_level, LOG_LEVELS),
            notify_url=read.url("NOTIFY_URL", _WEB),
            alert_url=read.url("ALERT_URL", _WEB),
            heartbeat_url=read.url("HEARTBEAT_URL", _WEB),
            journal_url=read.url("OUTREACH_JOURNAL_URL", _PLACES),
            journal_endpoint=read.url("OUTREACH_JOURNAL_ENDPOINT", _WEB),
            aws_access_key_id=env.get("AWS_ACCESS_KEY_ID") or None,
            aws_secret_access_key=env.get("AWS_SECRET_ACCESS_KEY") or None,
            aws_session_token=env.get("AWS_SESSION_TOKEN") or None,
            aws_region=env.get("AWS_REGION") or None,
            notify_body=read.flag("OUTREACH_NOTIFY_BODY", defaults.notify_body),
            outbound_hosts=read.words("OUTREACH_OUTBOUND_HOSTS"),
            failpoint=env.get("OUTREACH_FAILPOINT") or None,
            json_logs=read.flag("OUTREACH_JSON_LOGS", production),
        )


def _keys(read: "_Reader", default: str, production: bool) -> str:
    """In production the key that everybody knows may only be among the older ones."""
    keys = read.secret("OUTREACH_KEYS", default, production)
    if production and keys.split(",")[0].strip() == default:
        raise ConfigurationError(
            "OUTREACH_KEYS begins with the development key, which everybody knows",
            hint="outreach keys new prints one of your own",
        )
    return keys


def inherited_environment() -> dict[str, str]:
    """What a child process inherits: a copy to add to."""
    return dict(os.environ)


@dataclass(frozen=True, slots=True)
class _Reader:
    env: Mapping[str, str]

    def number(self, name: str, default: float, least: float = 0) -> float:
        raw = self.env.get(name)
        if not raw:
            return default
        try:
            value = float(raw)
        except ValueError:
            raise ConfigurationError(
                f"{name}={raw!r} is not a number", hint=f"unset it, or set it as in {name}={default:g}"
            ) from None
        if not value >= least:
            raise ConfigurationError(f"{name}={raw} is below {least:g}", hint=f"the default is {default:g}")
        if value == float("inf"):
            raise ConfigurationError(f"{name}={raw} has no end", hint=f"the default is {default:g}")
        return value

    def whole(self, name: str, default: int, least: int = 0, *, most: int) -> int:
        value = self.number(name, default, least)
        if value > most or value != int(value):
            raise ConfigurationError(
                f"{name}={self.env.get(name)} is no whole number up to {most}",
                hint=f"the default is {default}",
            )
        return int(value)

    def word(self, name: str, default: str, known: tuple[str, ...]) -> str:
        raw = self.env.get(name) or default
        if raw.upper() not in known:
            raise ConfigurationError(f"{name}={raw!r} is unknown", hint=f"one of {', '.join(known)}")
        return raw.upper()

    def words(self, name: str, known: tuple[str, ...] = ()) -> tuple[str, ...]:
        wanted = [word.strip().lower() for word in self.env.get(name, "").split(",") if word.strip()]
        for word in wanted:
            if known and word not in known:
                raise ConfigurationError(
                    f"{name} names {word!r}, which is unknown", hint=f"of {', '.join(known)}"
                )
        return tuple(dict.fromkeys(wanted))

    def flag(self, name: str, default: bool) -> bool:
        raw = self.env.get(name)
        if raw is None:
            return default
        if raw.lower() in _TRUE | _FALSE:
            return raw.lower() in _TRUE
        raise ConfigurationError(
            f"{name}={raw!r} is neither true nor false", hint=f"write {name}=1 or {name}=0"
        )

    def instant(self, name: str, default: datetime) -> datetime:
        raw = self.env.get(name)
        if not raw:
            return default
        try:
            value = datetime.fromisoformat(raw)
        except ValueError:
            raise ConfigurationError(
                f"{name}={raw!r} is not an ISO 8601 instant", hint=f"for example {default.isoformat()}"
            ) from None
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)

    def url(self, name: str, schemes: tuple[str, ...]) -> str | None:
        raw = self.env.get(name)
        if not raw:
            return None
        hint = f"as in {name}={_EXAMPLE_URLS[name]}"
        if raw.split("://")[0] not in schemes or "://" not in raw:
            raise ConfigurationError(
                f"{name} does not begin with {' or '.join(s + '://' for s in schemes)}", hint=hint
            )
        try:
            # Never the URL itself in a message: it holds a password.
            _ = urlsplit(raw).port
        except ValueError:
            raise ConfigurationError(
                f"{name} is no URL: its host or port cannot be read",
                hint=f"{hint}; a special character of the password is written as %XX",
            ) from None
        return raw

    def instance(self, production: bool) -> str | None:
        """In production it must be said: a clone of its database on another machine is told by it, too."""
        name = self.env.get("OUTREACH_INSTANCE") or None
        if name is None and production:
            raise ConfigurationError(
                "OUTREACH_INSTANCE is not set",
                hint="in production it must be the name that the database's instance row carries",
            )
        return name

    def secret(self, name: str, default: str, production: bool) -> str:
        """The value, or the contents of the file that NAME_FILE points at. In production it must be set."""
        if path := self.env.get(f"{name}_FILE"):
            try:
                return Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigurationError(f"{name}_FILE={path} cannot be read: {error.strerror}") from error
        value = self.env.get(name)
        if not value and production:
            raise ConfigurationError(
                f"{name} is not set",
                hint="in production every secret must be set; any long random text will do",
            )
        return value or default
