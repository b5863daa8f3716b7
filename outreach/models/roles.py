"""A role that can do everything the engine does and cannot change what is written in the log; and what the present role could."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg2.errors

from outreach.errors import ConfigurationError, NotFound, UsageError
from outreach.models.base import Tx

#: Added to, and never changed.
_LOGS = ("event", "person_event", "seal")
#: Read only: who adopts, exports or migrates is the owner.
_READ = ("migration", "event_generation", "event_export")
#: What a writer of events says; id and tx are Postgres's own.
_EVENT = "at, kind, lead_id, lead_seq, person_id, sequence_id, account_id, execution_id, actor, payload"
_TABLES = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
 ORDER BY c.relname"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What this connection's role could do to the log."""

    role: str
    owner: str
    #: it may alter the log: drop its triggers, then change anything
    owns: bool
    superuser: bool
    #: it may change, delete or empty, were it not for the triggers
    may_change: bool


def standing(tx: Tx) -> Standing:
    """Of the role that we are connected as."""
    row = tx.one(
        """
        SELECT current_user AS role, pg_get_userbyid(c.relowner) AS owner, pg_has_role(c.relowner, 'MEMBER') AS owns, r.rolsuper AS superuser,
               has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER') AS may_change
          FROM pg_class c, pg_roles r WHERE c.oid = 'event'::regclass AND r.rolname = current_user"""
    )
    return Standing(**row)


def grant(tx: Tx, role: str) -> None:
    """Give the role exactly what the engine needs, whatever it had before. Raises UsageError, NotFound, ConfigurationError."""
    here = standing(tx)
    row = tx.row(
        "SELECT rolsuper OR pg_has_role(oid, (SELECT o.oid FROM pg_roles o WHERE o.rolname = %s), 'MEMBER') AS strong FROM pg_roles WHERE rolname = %s",
        (here.owner, role),
    )
    if row is None:
        raise NotFound(
            f"there is no role {role!r}",
            hint=f"make it first: CREATE ROLE {_quoted(role)} LOGIN PASSWORD '...'; then run this again",
        )
    if row["strong"]:
        raise UsageError(
            f"{role} owns the log, or is a superuser: no grant can hold it",
            hint="name a role of its own for the app",
        )
    if not here.owns:
        raise ConfigurationError(
            f"only the owner of the tables can grant: that is {here.owner}, and this is {here.role}",
            hint=f"run it with a DATABASE_URL of {here.owner}",
        )
    try:
        for statement in _statements(tx, role):
            tx.script(statement)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"{here.role} may not grant this: {str(error).strip()}", hint="let the owner of the schema run it"
        ) from error


def _statements(tx: Tx, role: str) -> Sequence[str]:
    who = _quoted(role)
    tables = [row["relname"] for row in tx.rows(_TABLES)]
    free = _listed(name for name in tables if name not in (*_LOGS, *_READ))
    logs = _listed(name for name in _LOGS if name != "event")
    months = tx.rows(
        "SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid WHERE h.inhparent = 'event'::regclass"
    )
    return [
        # Months are written through the log alone: by themselves they are nobody's but the owner's.
        f"REVOKE ALL ON {_listed([*tables, *(row['relname'] for row in months)])} FROM {who}",
        f"REVOKE INSERT ({_EVENT}) ON event FROM {who}",
        f"GRANT USAGE ON SCHEMA public TO {who}",
        f"GRANT SELECT ON {_listed([*tables, 'event_default'])} TO {who}",
        f"GRANT INSERT, UPDATE, DELETE ON {free} TO {who}",
        f"GRANT INSERT ON {logs} TO {who}",
        f"GRANT INSERT ({_EVENT}) ON event TO {who}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {who}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {who}",
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def granted(tx: Tx) -> list[str]:
    """Roles that were made the app's by `grant`: they may add to the log, and do not own it."""
    rows = tx.rows(
        """
        SELECT DISTINCT r.rolname FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) x JOIN pg_roles r ON r.oid = x.grantee
         WHERE a.attrelid = 'event'::regclass AND x.privilege_type = 'INSERT' ORDER BY r.rolname"""
    )
    return [row["rolname"] for row in rows]
