"""answer: a human answers a reply in their own words, through the same gate as everything else; one answer per reply, for ever."""

from outreach.engine.events import EventKind
from outreach.engine.kinds import ActionKind
from outreach.errors import ConflictError, NotFound, UsageError
from outreach.models import events, replies
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.oneoff import OneOff, send_one

#: What answers a message of the channel.
_KINDS = {
    "twitter": ActionKind.SEND_TWITTER_DM,
    "linkedin": ActionKind.SEND_LINKEDIN_DM,
    "xmtp": ActionKind.SEND_XMTP_DM,
    "email": ActionKind.SEND_EMAIL,
}


def key_of(inbound_id: int) -> str:
    """The one-off key of the reply's one answer."""
    return f"reply:{inbound_id}"


def answer(ctx: Context, inbound_id: int, text: str, *, subject: str | None = None, by: str) -> OneOff:
    """The lead that answers, made once: by the account they wrote to, to the handle they wrote with.

    Raises NotFound, ConflictError for a message that belongs to nobody or to no account of ours, UsageError for one without text.
    """
    if not text.strip():
        raise UsageError("an answer needs words", hint="--text …, or --text - for stdin")
    row, identity_id = ctx.db.run(
        lambda tx: (replies.read(tx, inbound_id), replies.identity_of(tx, inbound_id))
    )
    if row["person_id"] is None or identity_id is None or row["account"] is None:
        raise ConflictError(f"reply {inbound_id} is {row['state']}: there is nobody to answer")
    if row["channel"] not in _KINDS:
        raise NotFound(f"nothing answers on {row['channel']}")
    return send_one(
        ctx, key=key_of(inbound_id), person_id=row["person_id"], kind=_KINDS[row["channel"]], text=text.strip(), subject=subject,
        account_names=(row["account"],), identity_id=identity_id, by=by, made=lambda tx, lead_id: _note(ctx, tx, inbound_id, row["person_id"], lead_id, by),
    )  # fmt: skip


def _note(ctx: Context, tx: Tx, inbound_id: int, person_id: int, lead_id: int, by: str) -> None:
    """In the transaction that makes the lead: whoever lists open replies sees at once that this one is being answered."""
    replies.note_answer(tx, inbound_id, lead_id)
    events.append(
        tx,
        [
            events.Event(
                kind=EventKind.REPLY_ANSWERED, at=ctx.clock.at(tx.database_now()), actor=by, person_id=person_id,
                payload={"inbound_id": inbound_id, "lead_id": lead_id},
            )
        ],
    )  # fmt: skip
