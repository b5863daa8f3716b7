"""What a refusal of Postgres means: who must mend it, by which exit code, in whose words."""

import peewee
import psycopg2
import psycopg2.errors
import pytest
from playhouse.pool import MaxConnectionsExceeded

from outreach.models.outage import explain_outage

AT = 'connection to server at "db", port 5432 failed: '


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (psycopg2.OperationalError(f"{AT}Connection refused\n\tIs it up?"), 1, "does not answer"),
        (psycopg2.OperationalError('could not translate host name "db" to address'), 1, "does not answer"),
        (peewee.InterfaceError("connection already closed"), 1, "does not answer"),
        (psycopg2.OperationalError(f"{AT}FATAL:  the database system is starting up"), 1, "does not answer"),
        (
            psycopg2.OperationalError(f'{AT}FATAL:  password authentication failed for user "me"'),
            2,
            "let us in",
        ),
        (psycopg2.OperationalError(f'{AT}FATAL:  database "x" does not exist'), 2, "let us in"),
        (psycopg2.OperationalError(f'{AT}FATAL:  role "x" does not exist'), 2, "let us in"),
        (psycopg2.OperationalError(f"{AT}fe_sendauth: no password supplied"), 2, "let us in"),
        (
            peewee.ProgrammingError('invalid dsn: invalid URI query parameter: "x"'),
            2,
            "DATABASE_URL cannot be used",
        ),
        (peewee.OperationalError('invalid sslmode value: "x"'), 2, "DATABASE_URL cannot be used"),
        (MaxConnectionsExceeded("x"), 1, "every connection"),
        (psycopg2.errors.DiskFull("could not extend file: No space left on device"), 1, "no room left"),
    ],
)
def test_an_outage_is_told_in_the_users_words(error: Exception, code: int, words: str) -> None:
    known = explain_outage(error)
    assert known is not None
    assert words in known.message
    assert (known.exit_code, "\n" in known.message) == (code, False)
    assert known.hint


@pytest.mark.parametrize(
    "error",
    [psycopg2.errors.UndefinedColumn("column x"), psycopg2.IntegrityError("duplicate"), RuntimeError("x")],
)
def test_what_is_no_outage_is_none(error: Exception) -> None:
    assert explain_outage(error) is None
