"""A terminal for tests of the command line, and the few rows that they start from."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from outreach.cli import run
from outreach.embedded.servers import Servers
from outreach.models.base import Database
from outreach.peppers import Peppers
from outreach.settings import Settings

_PEPPERS = Peppers.of(Settings().pepper)
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
SEQUENCE = """
sequence: hello
requires: [first_name]
actions:
  say:
    do: SEND_TWITTER_DM
    message: "Hello {{ first_name }}. {{ opt_out }}"
    next:
      - on: REPLIED
        to: END
      - on: NOT_REPLIED
        after: 2d
        to: END
"""


class Terminal:
    """Runs command lines in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run; the exit code must be `code`. What stood on stdout."""
        got = run(words)
        self.out, self.err = self._capsys.readouterr()
        assert got == code, f"{words} ended with {got}\n{self.out}\n{self.err}"
        return self.out

    def json(self, *words: str, code: int = 0) -> Any:
        """Run with --json; stdout is one JSON document."""
        return json.loads(self(*words, "--json", code=code))


def set_environment(patch: pytest.MonkeyPatch, servers: Servers, database_url: str, data_dir: Path) -> None:
    """What every command reads: this test's own servers, and nothing that the machine says of itself."""
    for name in (
        "DYNO",
        "KUBERNETES_SERVICE_HOST",
        "OUTREACH_ENV",
        "OUTREACH_INSTANCE",
        "OUTREACH_CLOCK_FACTOR",
    ):
        patch.delenv(name, raising=False)
    patch.setenv("DATABASE_URL", database_url)
    patch.setenv("REDIS_URL", servers.redis_url)
    patch.setenv("OUTREACH_DATA_DIR", str(data_dir))


def add_account(terminal: Terminal) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTREACH_ACCESS_TOKEN", "very-secret-token")
        terminal(
            "account", "add", "twitter", "we", "--app", "sim", "--external-id", "77", "--handle", "we", "--base-url", "http://127.0.0.1:1",
            "--caps", "SEND_TWITTER_DM=4/hour", "--pace", "SEND_TWITTER_DM=30",
        )  # fmt: skip


def add_person(db: Database, name: str, handle: str) -> int:
    def work(tx: Any) -> int:
        person = tx.one(
            "INSERT INTO person (name, zone, created_at) VALUES (%s, 'UTC', %s) RETURNING id", (name, NOW)
        )["id"]
        tx.execute(
            "INSERT INTO identity (kind, value, shown, hmac, person_id, created_at) VALUES ('twitter_id', %s, %s, %s, %s, %s)",
            (
                str(1000 + person),
                str(1000 + person),
                _PEPPERS.digest("twitter_id", str(1000 + person)),
                person,
                NOW,
            ),
        )
        tx.execute(
            "INSERT INTO identity (kind, value, shown, hmac, person_id, created_at) VALUES ('twitter_handle', %s, %s, %s, %s, %s)",
            (handle, f"@{handle}", _PEPPERS.digest("twitter_handle", handle), person, NOW),
        )
        segment = tx.one(
            "INSERT INTO segment (name, definition, built_at) VALUES (%s, '{}', %s) RETURNING id",
            (f"only-{handle}", NOW),
        )["id"]
        tx.execute("INSERT INTO segment_member (segment_id, person_id) VALUES (%s, %s)", (segment, person))
        return int(person)

    return db.run(work)
