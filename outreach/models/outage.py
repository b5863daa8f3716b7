"""What Postgres' refusals mean to whoever runs this: away, not let in, or too busy; and what to do about it."""

import peewee
import psycopg2
import psycopg2.errors
from playhouse.pool import MaxConnectionsExceeded

from outreach.errors import ConfigurationError, OutreachError
from outreach.models.base import UNREACHABLE

#: What means that no answer can be had now: the server, or every connection of this process, is away.
AWAY = (*UNREACHABLE, MaxConnectionsExceeded)
#: Ours to mend, not the server's: what the URL says is refused by a server that is there, or cannot be read.
_NOT_LET_IN = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
)
_NOT_READ = (
    "invalid dsn",
    "invalid connection option",
    "invalid sslmode",
    "invalid integer value",
    "invalid port",
)
#: lock_not_available, query_canceled: the server is there, and waited for somebody else
_BUSY = ("55P03", "57014")


def explain_outage(error: BaseException) -> OutreachError | None:
    """The error in the user's words, and with its exit code; None: it is not about the server."""
    # The driver's first line names host and user, never the password; what is below may quote a row.
    said = str(error).partition("\n")[0].strip()
    if said.startswith(_NOT_READ):
        # What cannot be read is quoted, and that is often the password.
        said = said.partition('"')[0].rstrip(" :")
    unread = (psycopg2.ProgrammingError, peewee.ProgrammingError, *UNREACHABLE)
    if isinstance(error, unread) and said.startswith(_NOT_READ):
        return ConfigurationError(
            f"DATABASE_URL cannot be used: {said}",
            hint="as in postgres://USER:PASSWORD@HOST:5432/NAME?sslmode=require",
        )
    if isinstance(error, MaxConnectionsExceeded):
        return OutreachError("every connection of this process is in use", hint="raise OUTREACH_POOL_SIZE")
    if not isinstance(error, UNREACHABLE):
        return None
    if getattr(error, "pgcode", None) in _BUSY:
        return OutreachError(f"the database is busy: {said}", hint="nothing was written; run it again")
    if isinstance(error, psycopg2.errors.DiskFull):
        return OutreachError(
            f"the database has no room left: {said}",
            hint="make room on its disk; what waits then goes on by itself",
        )
    if getattr(error, "pgcode", None) is None and any(words in said for words in _NOT_LET_IN):
        return ConfigurationError(
            f"the database does not let us in: {said}", hint="check user, password and name in DATABASE_URL"
        )
    return OutreachError(
        f"the database does not answer: {said}",
        hint="is it up, and is DATABASE_URL right? Then run it again; outreach doctor looks closer",
    )
