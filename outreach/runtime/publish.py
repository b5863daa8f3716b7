"""publish: an author's file becomes an immutable version. Atomic, idempotent; leads in flight stay on theirs."""

from dataclasses import dataclass

from outreach.content.templates import check_template
from outreach.engine.compiler import Compiled, compile_bytes
from outreach.engine.events import EventKind
from outreach.engine.problems import Problem
from outreach.errors import ConflictError, UsageError
from outreach.limits.caps import parse_caps
from outreach.models import events, sequences
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.doors import missing_names, open_doors, without_senders


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What stands now. `new` False: the newest version says the same already."""

    sequence: str
    version: int
    version_id: int
    new: bool
    warnings: tuple[Problem, ...] = ()


def check(data: bytes, filename: str) -> Compiled | list[Problem]:
    """The compiled file, or all its problems. Reads no database."""
    return compile_bytes(data, filename, check_template=check_template, check_caps=_cap_problem)


def _cap_problem(text: str) -> str | None:
    try:
        parse_caps(text)
    except UsageError as error:
        return error.message
    return None


def publish(
    ctx: Context, data: bytes, filename: str, *, by: str, built_in: bool = False, follows: int | None = None
) -> Published | list[Problem]:
    """Version N + 1 if the file says something new; its problems, and nothing written, if it has any.

    `follows`: the version that must still be the newest, because somebody was shown the difference to it. Raises ConflictError.
    """
    compiled = check(data, filename)
    if not isinstance(compiled, Compiled):
        return compiled

    def work(tx: Tx) -> Published | list[Problem]:
        now = ctx.clock.at(tx.database_now())
        name = compiled.graph.sequence
        if missing := missing_names(tx, compiled.definition.entries, compiled.graph):
            return missing
        warnings = (*compiled.warnings, *without_senders(tx, compiled.definition.entries, compiled.graph))
        sequence_id = sequences.lock_or_create(
            tx, name, compiled.definition.title, built_in=built_in, now=now
        )
        newest = sequences.latest_version(tx, sequence_id)
        if newest is not None and newest.content_hash == compiled.content_hash:
            return Published(
                sequence=name,
                version=newest.version,
                version_id=newest.id,
                new=False,
                warnings=warnings,
            )
        if follows is not None and (newest is None or newest.id != follows):
            raise ConflictError(f"another version of {name} was published meanwhile", hint="look again")
        version = sequences.insert_version(
            tx, sequence_id, compiled.graph, number=newest.version + 1 if newest else 1, content_hash=compiled.content_hash,
            source=data.decode("utf-8-sig"), by=by, now=now,
        )  # fmt: skip
        open_doors(ctx, tx, sequence_id, version.id, compiled.graph, now)
        events.append(
            tx,
            [
                events.Event(
                    kind=EventKind.SEQUENCE_PUBLISHED,
                    at=now,
                    actor=by,
                    sequence_id=sequence_id,
                    payload={"version": version.version},
                )
            ],
        )
        return Published(
            sequence=name,
            version=version.version,
            version_id=version.id,
            new=True,
            warnings=warnings,
        )

    return ctx.db.run(work)
