"""Settings are read once and strictly: what cannot be meant is refused by name, with what to write, and without a secret."""

import pytest

from outreach.errors import ConfigurationError
from outreach.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "not a url"),
        ("DATABASE_URL", "mysql://me:hunter2@host/name"),
        ("DATABASE_URL", "postgres://me:hunter2@[::1/name"),
        ("DATABASE_URL", "postgres://me:hunter2@host:port/name"),
        ("DATABASE_URL", "postgres://me:hun#ter2@host/name"),
        ("REDIS_URL", "http://host"),
        ("REDIS_URL", "redis://:hunter2@host:99999/0"),
        ("PORT", "web"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("PORT", "-1"),
        ("OUTREACH_WORKER_THREADS", "0"),
        ("OUTREACH_WORKER_THREADS", "100000"),
        ("OUTREACH_POOL_SIZE", "1e9"),
        ("OUTREACH_TICK_SECONDS", "nan"),
        ("OUTREACH_TICK_SECONDS", "inf"),
        ("OUTREACH_LOG_LEVEL", "loud"),
        ("OUTREACH_JSON_LOGS", "perhaps"),
        ("OUTREACH_CLOCK_ORIGIN", "yesterday"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name_and_without_the_secret(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({name: value})
    assert caught.value.message.startswith(name)
    assert caught.value.hint
    assert "hunter2" not in str(caught.value)
    assert "hun" not in str(caught.value)


def test_what_hosting_platforms_set_is_understood() -> None:
    found = Settings.from_environment(
        {
            "DATABASE_URL": "postgres://me:p%23w@host:5432/name?sslmode=require",
            "REDIS_URL": "rediss://:pw@host:6380",
            "PORT": "40123",
            "OUTREACH_LOG_LEVEL": "debug",
        }
    )
    assert (found.port, found.log_level) == (40123, "DEBUG")
    assert found.database_url == "postgres://me:p%23w@host:5432/name?sslmode=require"
