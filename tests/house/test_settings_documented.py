"""Every environment variable is told in docs/settings.md, with the default that the code has."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from outreach.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
SOURCE = (ROOT / "outreach/settings.py").read_text(encoding="utf-8")


def read_variables() -> set[str]:
    """Every name in capitals that settings.py asks the environment for."""
    return set(
        re.findall(
            r'"((?:OUTREACH_[A-Z_]+|AWS_[A-Z_]+|[A-Z]+_URL|PORT|DYNO|KUBERNETES_SERVICE_HOST))"', SOURCE
        )
    )


def documented_defaults() -> dict[str, str]:
    """Variable -> the first code span of its default's cell."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", DOCUMENT, re.MULTILINE)
    return {name: found[0] for name, cell in rows if (found := re.findall(r"`([^`]+)`", cell))}


@pytest.mark.parametrize("variable", sorted(read_variables()))
def test_each_variable_that_the_settings_read_is_documented(variable: str) -> None:
    assert f"`{variable}`" in DOCUMENT


def test_there_are_as_many_variables_as_settings() -> None:
    known = read_variables() - {"DYNO", "KUBERNETES_SERVICE_HOST"}
    assert len(known) == len(Settings.__dataclass_fields__)


def test_no_variable_is_documented_that_nothing_reads() -> None:
    told = set(re.findall(r"^\| `(OUTREACH_[A-Z_]+)`", DOCUMENT, re.MULTILINE))
    assert told <= read_variables()


@pytest.mark.parametrize("name", ["tick_seconds", "call_deadline_seconds", "guard_seconds", "settle_seconds", "evidence_seconds", "poll_seconds",
                                  "inbox_lag_seconds", "hint_lease_seconds", "task_claim_seconds", "worker_threads", "pool_size",
                                  "clock_factor"])  # fmt: skip
def test_a_documented_number_is_the_default_of_the_code(name: str) -> None:
    assert float(documented_defaults()[f"OUTREACH_{name.upper()}"]) == getattr(Settings(), name)


def test_the_documented_words_are_the_defaults_of_the_code() -> None:
    defaults, told = Settings(), documented_defaults()
    assert told["OUTREACH_DATA_DIR"] == str(defaults.data_dir)
    assert told["OUTREACH_PUBLIC_URL"] == defaults.public_url
    assert told["OUTREACH_HOST"] == defaults.host
    assert told["OUTREACH_LOG_LEVEL"] == defaults.log_level
    assert int(told["PORT"]) == defaults.port
    assert datetime.fromisoformat(told["OUTREACH_CLOCK_ORIGIN"]) == defaults.clock_origin
