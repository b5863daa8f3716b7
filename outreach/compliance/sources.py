"""Where each pack's rules come from: document, address, and the day on which it was last read. Data, beside the rules.

Whoever reads a document again and finds the rule unchanged sets `read`; whoever finds it changed changes the pack, too.
Kinds are plain words here: an older or newer release may know more or fewer of them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from outreach.compliance.packs import PACK_OF, Automation, Pack
from outreach.engine.kinds import Channel

#: A pack whose sources nobody has read for longer warns.
OLD_AFTER = timedelta(days=180)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A document that a rule rests on."""

    title: str
    url: str
    #: what it says, in our words
    says: str
    #: when it was last read
    read: date
    #: action kinds that it is about
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """When an action runs by itself under a pack, what happens otherwise, and what on record changes that."""

    auto: str | None
    otherwise: str
    #: the rule that says so
    rule: str
    #: None: nothing widens it
    override: str | None


_DM, _FOLLOWS = ("SEND_TWITTER_DM",), ("FOLLOW_ON_TWITTER", "UNFOLLOW_ON_TWITTER")
_LINKEDIN = ("SEND_CONNECTION_REQUEST", "SEND_LINKEDIN_DM")

SOURCES: Mapping[str, tuple[Source, ...]] = {
    "x": (
        Source(
            title="X Developer Guidelines", url="https://docs.x.com/developer-guidelines", read=date(2026, 8, 22), kinds=_DM,
            says="Direct messages only after the user wrote first, with an easy way out; no bulk messages; the profile says that it is automated.",
        ),
        Source(
            title="X Developer Guidelines", url="https://docs.x.com/developer-guidelines", read=date(2026, 8, 22), kinds=_FOLLOWS,
            says="No bulk, aggressive or automated following and unfollowing.",
        ),
        Source(
            title="X API changelog, 16 April 2026", url="https://docs.x.com/changelog", read=date(2026, 8, 22), kinds=_FOLLOWS,
            says="Following through the API left the self-serve tiers on 20 April 2026.",
        ),
    ),
    "linkedin": (
        Source(
            title="LinkedIn User Agreement, 8.2", url="https://www.linkedin.com/legal/user-agreement", read=date(2026, 8, 22), kinds=_LINKEDIN,
            says="No bots or other automated methods that send or redirect messages.",
        ),
        Source(
            title="LinkedIn Messages API", url="https://learn.microsoft.com/linkedin/shared/integrations/communications/messages",
            read=date(2026, 8, 22), kinds=_LINKEDIN,
            says="For approved partners, and only on a member's own action; a scheduled event is none.",
        ),
    ),
    "xmtp": (
        Source(
            title="XMTP docs: user consent preferences", url="https://docs.xmtp.org/consent/filter-spam", read=date(2026, 8, 22),
            kinds=("SEND_XMTP_DM",),
            says="The network forbids no software; whether they want it is the recipient's to say.",
        ),
    ),
    "email": (
        Source(
            title="GDPR, Articles 6 and 21", url="https://eur-lex.europa.eu/eli/reg/2016/679/oj", read=date(2026, 8, 22),
            kinds=("SEND_EMAIL",),
            says="A legal basis for every contact; an objection to direct marketing is absolute.",
        ),
        Source(
            title="ePrivacy Directive, Article 13", url="https://eur-lex.europa.eu/eli/dir/2002/58/oj", read=date(2026, 8, 22),
            kinds=("SEND_EMAIL",),
            says="Electronic mail to natural persons mostly needs consent, or an existing customer.",
        ),
        Source(
            title="Gmail sender guidelines", url="https://support.google.com/a/answer/81126", read=date(2026, 8, 22), kinds=("SEND_EMAIL",),
            says="Authenticated mail, one-click unsubscribe, few complaints.",
        ),
    ),
}  # fmt: skip

_A_BASIS = "on a recorded basis"
LANES: Mapping[Automation, Lane] = {
    Automation.FREE: Lane(auto=_A_BASIS, otherwise="blocked", rule="basis.none", override=None),
    Automation.INBOUND_FIRST: Lane(
        auto="to people who wrote to this very account first", otherwise="yours", rule="x.dm.inbound_first",
        override="account.dm_mode = opt_in, with a reason: then also to people whose opt-in or consent is recorded",
    ),
    Automation.PERMITTED_ACCOUNT: Lane(
        auto="from an account that the platform permits", otherwise="yours", rule="x.follow.not_permitted",
        override="account.follow_permitted, with a reason: the platform has permitted this account",
    ),
    Automation.HUMAN_ONLY: Lane(auto=None, otherwise="yours", rule="linkedin.human_only", override=None),
}  # fmt: skip


def read_on(pack: Pack) -> date:
    """The day on which the source that was not read for longest was read."""
    return min(source.read for source in SOURCES[pack.name])


def age(pack: Pack, now: datetime) -> timedelta:
    """How long nobody has read one of the pack's sources."""
    return timedelta(days=(now.date() - read_on(pack)).days)


def is_old(pack: Pack, now: datetime) -> bool:
    """Is it time to read its sources again?"""
    return age(pack, now) > OLD_AFTER


def old_packs(now: datetime, channels: Collection[Channel] = tuple(Channel)) -> list[Pack]:
    """Of the channels' packs: those whose sources ought to be read again."""
    return [pack for channel, pack in PACK_OF.items() if channel in channels and is_old(pack, now)]


def warning(pack: Pack, now: datetime) -> str:
    """What is said of an old pack."""
    return (
        f"policy pack {pack.name}: its sources were last read on {read_on(pack)}, {age(pack, now).days} days ago; "
        "platforms change their rules: read them again (outreach policy show) or install a newer release"
    )
