"""What the gate may know: everything that T1's one facts query reads, as frozen values. Nothing here decides.

Every instant is aware and UTC, in business time. No field that could permit a send has a permissive default: what was
not read is missing, and what is missing refuses.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from outreach.engine.graph import Window
from outreach.engine.kinds import TOUCH_KINDS, ActionKind, Channel, IfLate

#: A message to somebody who wrote to us within this time answers them; it opens no contact and renews none.
ANSWER_WITHIN = timedelta(days=7)


class Performer(StrEnum):
    """Who would act: the engine through the provider, or a human who claims the task."""

    ENGINE = "engine"
    HUMAN = "human"


class BasisKind(StrEnum):
    """Why we may contact this identity on this channel. There is no `none`: what is not recorded does not exist."""

    CONSENT = "consent"
    OPT_IN = "opt_in"
    EXISTING_CUSTOMER = "existing_customer"
    LEGITIMATE_INTEREST = "legitimate_interest"
    #: they wrote to us; holds for the account they wrote to
    INBOUND = "inbound"


class DmMode(StrEnum):
    """What the operator said, with a reason, about an account's direct messages."""

    INBOUND_FIRST = "inbound_first"
    OPT_IN = "opt_in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """One recorded permission of the identity on this channel; withdrawn ones are not read."""

    basis: BasisKind
    obtained_at: datetime
    expires_at: datetime | None = None
    #: None: every account of ours
    account_id: int | None = None

    def stands(self, now: datetime) -> bool:
        """Has it begun, and not yet ended?"""
        return self.obtained_at <= now and (self.expires_at is None or now < self.expires_at)

    def serves(self, account_id: int) -> bool:
        """Was it given to this account, or to all of ours?"""
        return self.account_id in (None, account_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionHit:
    """A standing suppression row that names this person, or an identifier that any of their identities carries."""

    scope: Literal["person", "identifier"]
    at: datetime
    reason: str
    #: None: every channel
    channel: Channel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFacts:
    """The human: one opt-out, one pause and one touch budget for all their handles."""

    id: int
    suppressed_at: datetime | None
    suppression_reason: str | None
    suppressions: tuple[SuppressionHit, ...]
    paused_at: datetime | None
    pause_reason: str | None
    #: IANA name; None: unknown
    zone: str | None
    #: when they last wrote to us on this channel; None: never
    last_inbound_at: datetime | None
    #: something of theirs is stored and not yet read
    undigested_inbound: bool
    #: one of us: nothing that is sent to them is a touch
    is_test: bool
    #: their touches on all channels as far back as the policy looks: `effect_by` of every row that may have arrived
    touches: tuple[datetime, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFacts:
    """The handle that would be contacted."""

    id: int
    #: identity.status: active, shared, blocked, closed, not_found
    status: str
    #: the provider's own id of it is known
    resolved: bool
    #: of this very identity, on this very channel
    bases: tuple[Basis, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """The sending account and what the platform permits it."""

    id: int
    #: account.state; anything but "ok" stops it
    state: str
    state_reason: str | None
    zone: str
    follow_permitted: bool
    dm_mode: DmMode
    #: its base URL points at this machine: a simulator
    loopback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFacts:
    """The developer app behind the account."""

    #: app.state; anything but "ok" stops it
    state: str
    state_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFacts:
    """The whole installation."""

    #: the typed confirmation of `live on` is stored
    live: bool
    #: never live: a demo
    simulated_only: bool
    paused_at: datetime | None
    pause_reason: str | None
    touch_policy: "TouchPolicy"
    #: restored or cloned, and not adopted yet
    foreign_since: datetime | None = None
    foreign_reason: str | None = None
    #: adopted, and what the backup does not know is not all read yet
    recovering_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchPolicy:
    """Never two touches of a person within the gap, never more than `limit` within `days`, over all channels."""

    gap: timedelta
    limit: int
    days: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceFacts:
    """The sequence and what its version says about when and whom."""

    #: sequence.state; anything but "active" holds its leads
    state: str
    state_reason: str | None
    #: None: at any time
    window: Window | None
    exclude_already_contacted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadFacts:
    """The person's passage, as it stands under the lock."""

    active: bool
    paused_at: datetime | None
    pause_reason: str | None
    epoch: int
    due_at: datetime | None
    #: this person was contacted before on this channel, by any account of ours, outside this lead
    already_contacted: bool
    #: this lead has not contacted them on this channel yet
    opens_contact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFacts:
    """The ledger row that would be claimed."""

    #: a human has claimed its task, or let the claim expire: only they can say whether it was done
    with_human: bool
    #: execution.state; anything but "planned" cannot be claimed
    state: str
    #: the lead's epoch under which the text was rendered
    rendered_epoch: int
    #: the trigger that led here, 'start' or 'one_off'
    cause: str
    #: a negative edge: what its evidence must reach
    cause_deadline: datetime | None
    #: since when it could have been done; None: unknown
    first_due_at: datetime | None
    #: from then on it comes too late; None: never
    late_at: datetime | None
    #: what becomes of it then
    if_late: IfLate


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFacts:
    """The first messages of a version wait for somebody's OK."""

    #: so many must have one before the version runs by itself
    wanted: int
    #: so many have one
    approved: int
    #: this very message has one, for this very text
    this_one: bool

    @property
    def over(self) -> bool:
        return self.approved >= self.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceFacts:
    """Proven silence: the least that is read and digested, over every stream that this edge depends on."""

    #: None: never read
    read_up_to: datetime | None
    #: evidence older than this proves nothing any more; 15 real minutes, as a business duration
    freshness: timedelta
    #: a signal says that they did what the edge says they had not
    contradicted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The provider said "not before" to this account or app, for this kind."""

    scope: Literal["account", "app"]
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CapUse:
    """One window of one cap, counted from the ledger by the caller. `task`: what humans do by hand by one account."""

    scope: Literal["account", "app", "sequence", "instance", "task"]
    #: as written, for example "40/day"
    cap: str
    limit: int
    used: int
    #: while full: when the next slot frees; None: the caller cannot say
    full_until: datetime | None = None

    @property
    def full(self) -> bool:
        return self.used >= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it, read by one query after the locks were taken."""

    now: datetime
    #: a few real seconds as a business duration: how soon to look again at what passes by itself
    recheck: timedelta
    performer: Performer
    kind: ActionKind
    channel: Channel
    instance: InstanceFacts
    app: AppFacts
    account: AccountFacts
    sequence: SequenceFacts
    person: PersonFacts
    #: None: this person has no handle on this channel
    identity: IdentityFacts | None
    lead: LeadFacts
    execution: ExecutionFacts
    evidence: EvidenceFacts
    #: None: this version asks for no review, or this is no message
    review: ReviewFacts | None
    holds: tuple[Hold, ...]
    #: the account's pacing gap of this kind ends then; None: it has ended
    pace_until: datetime | None
    caps: tuple[CapUse, ...]

    @property
    def by_human(self) -> bool:
        return self.performer is Performer.HUMAN

    @property
    def is_answer(self) -> bool:
        """Does it answer something they wrote within the last seven days?"""
        wrote = self.person.last_inbound_at
        return wrote is not None and self.now - wrote <= ANSWER_WITHIN

    @property
    def is_touch(self) -> bool:
        """Would it open or renew contact? Follows and answers do not, nor does what we send to ourselves."""
        return self.kind in TOUCH_KINDS and not self.is_answer and not self.person.is_test
