"""Everything that anybody can do, and all that follows from it: state, witness line, webhooks, reactions.

In this order: refuse, or write the witness's line, change the network, tell the webhooks, let people plan
their reactions. `now` is real time. Whoever calls holds the simulator's lock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from outreach.simulator.agenda import Agenda
from outreach.simulator.clock import ScaledClock
from outreach.simulator.network import Message, Network
from outreach.simulator.payloads import message_activity, pair_activity
from outreach.simulator.personas import Habit, Persona, Reaction
from outreach.simulator.problems import BLOCKED, CANNOT_DM, Problem, invalid, missing
from outreach.simulator.webhooks import Webhooks
from outreach.simulator.witness import Witness

#: something to be done at an instant, which it is told
Deed = Callable[[datetime], object]


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of a follow."""

    pending: bool


class Acts:
    """Deeds of accounts (through the API, or by hand) and of people."""

    def __init__(
        self,
        *,
        network: Network,
        witness: Witness,
        webhooks: Webhooks,
        agenda: Agenda[Deed],
        clock: ScaledClock,
        persona: Callable[[str], Persona],
    ) -> None:
        self._network = network
        self._witness = witness
        self._webhooks = webhooks
        self._agenda = agenda
        self._clock = clock
        self._persona = persona

    # --- accounts

    def follow(
        self, account: str, target: str, now: datetime, *, by: str = "api", port: int = 0
    ) -> Followed | Problem:
        """An account follows somebody, or asks a protected one."""
        network = self._network
        if target not in network.users:
            return missing(target, "target_user_id")
        if account == target:
            return invalid("target_user_id", target, "You cannot follow yourself.")
        if network.blocks(target, account):
            return BLOCKED
        if network.follows(account, target) or network.requested(account, target):
            self._witness.saw(now, "repeated", account=account, person=target, kind="follow", by=by)
            return Followed(pending=network.requested(account, target))
        self._witness.accepted(now, account=account, recipient=target, kind="follow", by=by, port=port)
        return self._followed(account, target, now)

    def _followed(self, account: str, target: str, now: datetime) -> Followed:
        persona = self._persona(target)
        if pending := self._network.users[target].protected:
            self._network.request(account, target, now)
            self._plan(now, persona.approve_after, self.approve, target, account)
        else:
            self._begin_follow(account, target, now)
        self._plan(now, persona.follow_back_after, self.follow_back, target, account)
        return Followed(pending=pending)

    def unfollow(
        self, account: str, target: str, now: datetime, *, by: str = "api", port: int = 0
    ) -> Problem | None:
        """An account unfollows somebody or takes back its request."""
        network = self._network
        if target not in network.users:
            return missing(target, "target_user_id")
        if not network.follows(account, target) and not network.requested(account, target):
            self._witness.saw(now, "repeated", account=account, person=target, kind="unfollow", by=by)
            return None
        self._witness.accepted(now, account=account, recipient=target, kind="unfollow", by=by, port=port)
        self._end_follow(account, target, now)
        self._plan(now, self._persona(target).unfollow_back_after, self.unfollow_back, target, account)
        return None

    def message(
        self, account: str, recipient: str, text: str, now: datetime, *, by: str = "api", port: int = 0
    ) -> Message | Problem:
        """An account writes to somebody. The same text twice is two messages: the provider knows no idempotency."""
        network = self._network
        if recipient not in network.users:
            return missing(recipient, "participant_id")
        if recipient == account or not network.receives(account, recipient):
            return CANNOT_DM
        nth = network.sent_count(account, recipient)
        message = network.draft(account, recipient, text, now)
        self._witness.accepted(
            now,
            account=account,
            recipient=recipient,
            kind="dm",
            by=by,
            port=port,
            text=text,
            message=message.id,
        )
        self._send(message, now)
        for reaction in self._persona(recipient).to_message(nth):
            self._plan(now, reaction.after, self.react, recipient, account, reaction)
        return message

    def block_by_account(self, account: str, person: str, now: datetime) -> None:
        """An account blocks somebody. The provider tells of blocks to the one who blocks, and to nobody else."""
        self._witness.saw(now, "blocked", account=account, person=person, by="hand")
        self._network.block(account, person, now)
        self._tell_pair("block.block", account, person, now, only_source=True)

    # --- people

    def react(self, now: datetime, person: str, account: str, reaction: Reaction) -> None:
        """Somebody answers, or blocks."""
        if self._network.blocks(person, account):
            return
        if reaction.habit is Habit.BLOCK:
            self.block(now, person, account)
        else:
            self.say(now, person, account, reaction.text, kind=reaction.habit.value)

    def say(
        self, now: datetime, person: str, account: str, text: str, *, kind: str, by: str = "persona"
    ) -> Message:
        """Somebody writes to an account."""
        message = self._network.draft(person, account, text, now)
        self._witness.saw(
            now, "said", account=account, person=person, kind=kind, id=message.id, text=text, by=by
        )
        self._send(message, now)
        return message

    def follow_back(self, now: datetime, person: str, account: str, by: str = "persona") -> None:
        """Somebody follows an account, unless they do already or have blocked it."""
        network = self._network
        if network.follows(person, account) or network.blocks(person, account):
            return
        self._witness.saw(now, "followed", account=account, person=person, by=by)
        self._begin_follow(person, account, now)

    def unfollow_back(self, now: datetime, person: str, account: str, by: str = "persona") -> None:
        """Somebody unfollows an account, if they follow it."""
        if not self._network.follows(person, account):
            return
        self._witness.saw(now, "unfollowed", account=account, person=person, by=by)
        self._end_follow(person, account, now)

    def approve(self, now: datetime, person: str, account: str, by: str = "persona") -> None:
        """A protected user lets an account in, if it still asks."""
        if not self._network.requested(account, person):
            return
        self._witness.saw(now, "approved", account=account, person=person, by=by)
        self._begin_follow(account, person, now)

    def block(self, now: datetime, person: str, account: str, by: str = "persona") -> None:
        """Somebody blocks an account; no webhook tells of it."""
        self._witness.saw(now, "blocked", account=account, person=person, by=by)
        self._network.block(person, account, now)

    # --- what they share

    def _plan(
        self, now: datetime, after: timedelta | None, deed: Callable[..., object], *args: object
    ) -> None:
        """Put a reaction on the agenda, if there is to be one. Delays are scaled time, the agenda is real time."""
        if after is None:
            return
        due = now + self._clock.real_duration(after)
        self._agenda.push(due, partial(self._do, deed, args))

    def _do(self, deed: Callable[..., object], args: tuple[Any, ...], now: datetime) -> None:
        """Whoever is gone does nothing any more."""
        if args[0] in self._network.users:
            deed(now, *args)

    def _begin_follow(self, source: str, target: str, now: datetime) -> None:
        self._network.follow(source, target, now)
        self._tell_pair("follow.follow", source, target, now)

    def _end_follow(self, source: str, target: str, now: datetime) -> None:
        held = self._network.follows(source, target)
        self._network.unfollow(source, target, now)
        if held:
            self._tell_pair("follow.unfollow", source, target, now)

    def _tell_pair(
        self, event_type: str, source: str, target: str, now: datetime, *, only_source: bool = False
    ) -> None:
        users = self._network.users
        roles = {source: "outbound"} if only_source else {source: "outbound", target: "inbound"}
        self._webhooks.publish(event_type, roles, pair_activity(users[source], users[target]), now)

    def _send(self, message: Message, now: datetime) -> None:
        self._network.keep(message)
        payload = message_activity(message, self._network.users)
        self._webhooks.publish("dm.sent", {message.sender: "outbound"}, payload, now, message.id)
        self._webhooks.publish("dm.received", {message.recipient: "inbound"}, payload, now, message.id)
