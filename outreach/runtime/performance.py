"""performance: how well it has gone lately, for `stats --health`: lateness, providers' answers, stuck leads, times to an answer."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from outreach.models import health, performance, sequences
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context

#: A lead that stands this long where nothing moves by itself is worth a look.
_STUCK = timedelta(days=3)
_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a provider made of our calls."""

    channel: str
    calls: int
    sent: int
    refused: int
    rate_limited: int
    #: no connection, or it came too late to begin: surely without effect
    not_begun: int
    #: other answers that mean "later", as a token that has run out
    put_off: int
    in_doubt: int

    @property
    def success(self) -> float | None:
        """Of the calls that began, the share that the provider took."""
        begun = self.calls - self.not_begun
        return self.sent / begun if begun else None

    @property
    def limited(self) -> float | None:
        """Of the calls that began, the share that was told to come later (429)."""
        begun = self.calls - self.not_begun
        return self.rate_limited / begun if begun else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Of one sequence or all; seconds are business seconds."""

    since: datetime
    due: int
    oldest_due_at: datetime | None
    lateness: Row
    providers: Sequence[Answers]
    stuck: Sequence[Row]
    replies: Row


def performance_since(ctx: Context, sequence: str | None, days: int) -> Performance:
    """The last `days`. Raises NotFound for a sequence that there is not."""

    def work(tx: Tx) -> Performance:
        now = ctx.clock.at(tx.database_now())
        sequence_id = sequences.find(tx, sequence)["id"] if sequence else None
        since, vitals = now - timedelta(days=days), health.vitals(tx, now)
        return Performance(
            since=since,
            due=vitals["due"],
            oldest_due_at=vitals["oldest_due_at"],
            lateness=performance.lateness(tx, since, sequence_id),
            providers=_answers(performance.outcomes(tx, since, sequence_id)),
            stuck=performance.stuck(tx, now - _STUCK, sequence_id, _LISTED),
            replies=performance.times_to_reply(tx, since, sequence_id),
        )

    return ctx.db.run(work)


def _answers(rows: Sequence[Row]) -> list[Answers]:
    return [
        _of_channel(c, [r for r in rows if r["channel"] == c]) for c in sorted({r["channel"] for r in rows})
    ]


def _of_channel(channel: str, rows: Sequence[Row]) -> Answers:
    by: Counter[str] = Counter()
    for row in rows:
        by[_word(row)] += row["n"]
    # A call that was in doubt is counted where it was settled; one that still is, or is held, is not counted yet.
    return Answers(
        channel=channel,
        calls=by["sent"] + by["refused"] + by["rate_limited"] + by["not_begun"] + by["put_off"],
        sent=by["sent"],
        refused=by["refused"],
        rate_limited=by["rate_limited"],
        not_begun=by["not_begun"],
        put_off=by["put_off"],
        in_doubt=by["in_doubt"],
    )


def _word(row: Row) -> str:
    match row["kind"], row["rule"]:
        case "ActionSent", _:
            return "sent"
        case "ActionFailed", _:
            return "refused"
        case "ActionInDoubt", _:
            return "in_doubt"
        case "ActionDeferred", "hold.provider":
            return "rate_limited"
        case "ActionDeferred", "unreachable" | "guard":
            return "not_begun"
        case _:
            return "put_off"
