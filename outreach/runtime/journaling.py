"""take_out: the off-box journal's lines leave the database, in their order, each at least once; what is not taken waits in its row."""

from collections.abc import Sequence
from datetime import datetime

from outreach.models import adoptions, instance, journal
from outreach.models.base import Tx
from outreach.offbox import Bucket, Line, NotTaken, OtherLines, Place, Taken, Unknown, place_of
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.guarding import mark_foreign
from outreach.runtime.hints import Hints
from outreach.settings import Settings

#: Lines of one pass.
_MOST = 500
#: Real seconds: longer than a pass can take; of the first pause after a failure, of the longest.
_LEASE, _FIRST, _LONGEST = 90.0, 5.0, 600.0


def journal_place(settings: Settings, ctx: Context, url: str | None = None) -> Place | None:
    """Where the journal is kept: at `url`, else where the settings say; None: nowhere."""
    where = url or settings.journal_url
    if where is None:
        return None
    bucket = Bucket(
        endpoint=settings.journal_endpoint, region=settings.aws_region, access_key=settings.aws_access_key_id,
        secret_key=settings.aws_secret_access_key, session_token=settings.aws_session_token,
    )  # fmt: skip
    return place_of(where, ctx.outbound, bucket)


def take_out(ctx: Context) -> Hints:
    """One pass over what waits. A restored database is told by it: the outside has lines that it never wrote."""
    place = journal_place(ctx.settings, ctx)
    if place is None:
        return []
    begun = ctx.db.run(lambda tx: _begin(ctx, tx))
    if begun is None:
        return []
    lines, known = begun
    last = place.last(max(1, known))
    if isinstance(last, Line) and (other := ctx.db.run(lambda tx: _other(tx, last))):
        mark_foreign(ctx, other)
        return []
    done = last if isinstance(last, NotTaken) else _append(place, lines, last)
    if isinstance(done, OtherLines):
        mark_foreign(ctx, f"the off-box journal was written by another database: {done.detail}")
        return []
    ctx.db.run(lambda tx: _end(ctx, tx, lines, done))
    return [hints.take_out()] if len(lines) == _MOST and isinstance(done, Taken) else []


def _begin(ctx: Context, tx: Tx) -> tuple[list[Line], int] | None:
    """The lines to write, and the highest number of all that were ever given."""
    now = ctx.clock.at(tx.database_now())
    here, adoption = instance.read(tx), adoptions.newest(tx)
    if here.foreign_since is not None or (adoption is not None and adoption["replayed_at"] is None):
        # The outside is somebody else's, until this database is adopted and knows all that stands there.
        return None
    if not journal.claim(tx, now=now, lease=now + ctx.machine(_LEASE)):
        return None
    waiting = journal.number_waiting(tx, _MOST)
    return [Line(row["number"], row["line"]) for row in waiting], journal.last_confirmed(tx)


def _other(tx: Tx, last: Line) -> str | None:
    """Is the outside's last line none of ours?"""
    ours = journal.line_of(tx, last.number)
    if ours == last.text:
        return None
    what = "of which it knows nothing" if ours is None else "which is another one here"
    return f"the off-box journal ends with line {last.number}, {what}"


def _append(
    place: Place, lines: Sequence[Line], last: Line | Unknown | None
) -> Taken | NotTaken | OtherLines:
    """What the outside has already (an answer that was lost) is not written again."""
    missing = [line for line in lines if not isinstance(last, Line) or line.number > last.number]
    return place.append(missing) if missing else Taken()


def _end(ctx: Context, tx: Tx, lines: Sequence[Line], done: Taken | NotTaken) -> None:
    now: datetime = ctx.clock.at(tx.database_now())
    if isinstance(done, Taken):
        journal.delivered(tx, lines[-1].number if lines else None, now)
        return
    failures = journal.standing(tx)["attempts"]
    pause = min(_LONGEST, _FIRST * 2.0 ** min(failures, 16))
    journal.put_off(tx, done.reason, now + ctx.machine(pause))
