"""The simulator as a whole: one world, its people, its API, its witness. Plain synchronous code under one lock.

Nothing happens out of order: before a request is answered, every deed that was due before it is done, stamped
with the instant it was due at. So a read that saw nothing has proven that nothing had happened.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from outreach.simulator.acts import Acts, Deed
from outreach.simulator.agenda import Agenda
from outreach.simulator.authorize import AuthorizeRoutes
from outreach.simulator.clock import ScaledClock
from outreach.simulator.control import ControlRoutes
from outreach.simulator.faults import FaultPlan, Rule
from outreach.simulator.hooks import HookRoutes
from outreach.simulator.messages import MessageRoutes
from outreach.simulator.network import Network, User
from outreach.simulator.personas import Persona, persona_of
from outreach.simulator.quotas import Quotas
from outreach.simulator.routes import Auth, Route, Router, table
from outreach.simulator.tokens import Tokens
from outreach.simulator.users import UserRoutes
from outreach.simulator.webhooks import Delivery, Post, Webhooks
from outreach.simulator.wire import Request, Response
from outreach.simulator.witness import Witness
from outreach.simulator.world import AccountSpec, PersonSpec, WorldProblem, WorldSpec
from outreach.simulator.xapi import XApi

#: what a user object says of when it was made, before the start
AGE = timedelta(days=800)
#: an account of ours reacts to nothing by itself
INERT = Persona()


class Simulator:
    """One run. `post` makes requests to webhook subscribers; `wake` is told when something new is planned."""

    def __init__(
        self,
        world: WorldSpec,
        *,
        witness: Witness,
        post: Post,
        clock: ScaledClock | None = None,
        seed: int = 0,
        rules: tuple[Rule, ...] = (),
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.world = world
        self.seed = seed
        self.clock = clock or ScaledClock()
        self.witness = witness
        self.lock = threading.RLock()
        self.network = Network()
        self.faults = FaultPlan(seed, list(rules))
        self._wake = wake
        self._agenda: Agenda[Deed] = Agenda(self.wake)
        self._personas: dict[str, Persona] = {}
        self._last = self.clock.now()
        self.webhooks = self._make_webhooks(post)
        self.tokens = Tokens(world.app, seed, timedelta(seconds=world.token_lifetime_s), witness)
        self.acts = Acts(
            network=self.network,
            witness=witness,
            webhooks=self.webhooks,
            agenda=self._agenda,
            clock=self.clock,
            persona=self._persona,
        )
        self.api = self._make_api()
        self._settle_in(world, self._last)

    # --- requests

    def handle(self, request: Request) -> Response:
        """Answer one request now. In process, webhooks are not sent from in here: `run_until` sends them."""
        with self.lock:
            now = self._catch_up()
        return self.api.handle(request, now)

    def calls_out(self, request: Request) -> bool:
        """Does answering it make a request to a subscriber first, and so take long?"""
        found = self.api.router.find(request.method, request.path)
        return found is not None and found[0].calls_out

    # --- time

    def next_due(self) -> datetime | None:
        """When the next deed or webhook attempt is due (real time)."""
        with self.lock:
            dues = [
                due for due in (self._agenda.next_due(), self.webhooks.pending.next_due()) if due is not None
            ]
        return min(dues, default=None)

    def run_until(self, instant: datetime) -> None:
        """Do all that is due up to a real instant, in order, webhook attempts included. For use without a server."""
        while (due := self.next_due()) is not None and due <= instant:
            for delivery in self.step(due):
                self.deliver(delivery, due)

    def step(self, now: datetime) -> list[Delivery]:
        """Do the deeds due at `now`; returns the webhook attempts due, for `deliver`."""
        with self.lock:
            self._do_due(now)
            return self.webhooks.take(now)

    def deliver(self, delivery: Delivery, now: datetime | None = None) -> None:
        """Make one attempt and record it (at `now`, or when it is over). Holds no lock while it waits."""
        status = self.webhooks.attempt(delivery)
        with self.lock:
            self.webhooks.settle(delivery, status, now or self.clock.now())

    def wake(self) -> None:
        """Something new is on an agenda."""
        self._wake()

    def on_wake(self, wake: Callable[[], None]) -> None:
        """Tell somebody else from now on: the server's pump."""
        self._wake = wake

    def _catch_up(self) -> datetime:
        """Now, never before an instant already seen, with all that was due done."""
        now = max(self.clock.now(), self._last)
        self._do_due(now)
        return now

    def _do_due(self, now: datetime) -> None:
        while (due := self._agenda.pop_due(now)) is not None:
            at, deed = due
            deed(at)
        self._last = max(self._last, now)

    # --- what it is made of

    def _make_webhooks(self, post: Post) -> Webhooks:
        app = self.world.app
        return Webhooks(
            secrets=(app.consumer_secret,) + ((app.client_secret,) if app.client_secret else ()),
            post=post,
            faults=self.faults,
            witness=self.witness,
            delay=timedelta(seconds=self.world.webhook_delay_s),
            on_push=self.wake,
        )

    def _make_api(self) -> XApi:
        return XApi(
            router=Router(self._routes()),
            tokens=self.tokens,
            quotas=Quotas(
                published=self.world.rate_limits == "published", overrides=self.world.rate_limit_overrides
            ),
            faults=self.faults,
            clock=self.clock,
            dialect=self.world.dialect,
            seed=self.seed,
            read_lag=timedelta(seconds=self.world.read_lag_s),
            lock=self.lock,
            schedule=self._agenda.push,
        )  # fmt: skip

    def _routes(self) -> list[Route]:
        none, oauth = Auth.NONE, "/2/oauth2"
        tokens = table(
            ("token", "POST", f"{oauth}/token", lambda c: self.tokens.exchange(c.request, c.now), none, None),
            ("token.revoke", "POST", f"{oauth}/revoke", lambda c: self.tokens.revoke_token(c.request, c.now), none, None),
        )  # fmt: skip
        control = ControlRoutes(
            network=self.network,
            acts=self.acts,
            webhooks=self.webhooks,
            tokens=self.tokens,
            faults=self.faults,
            clock=self.clock,
            extend=self.extend,
            state=self.state,
        )
        return [
            *tokens,
            *AuthorizeRoutes(self.network, self.tokens, self.seed).routes(),
            *UserRoutes(self.network, self.acts).routes(),
            *MessageRoutes(self.network, self.acts, self.clock).routes(),
            *HookRoutes(
                self.webhooks, self.network, self.lock, lambda now: str(self.network.next_number(now))
            ).routes(),
            *control.routes(),
        ]  # fmt: skip

    # --- the population

    def extend(self, spec: WorldSpec, now: datetime) -> None:
        """Add accounts and people. Raises WorldProblem where a handle belongs to somebody else already."""
        for one in spec.everyone:
            holder = self.network.by_handle(one.handle)
            if holder is not None and holder.id != one.id:
                raise WorldProblem(f"@{one.handle} is {holder.id} already, not {one.id}")
        self._settle_in(spec, now)

    def _settle_in(self, spec: WorldSpec, now: datetime) -> None:
        for account in spec.accounts:
            self._add_account(account, now)
        for person in spec.people:
            self._add_person(person, spec, now)

    def _add_account(self, account: AccountSpec, now: datetime) -> None:
        user = User(
            id=account.id,
            handle=account.handle,
            name=account.name,
            created_at=now - AGE,
            is_account=True,
            follow_permitted=account.follow_permitted,
        )
        self.network.add(user)
        self.tokens.admit(account, now)

    def _add_person(self, person: PersonSpec, spec: WorldSpec, now: datetime) -> None:
        persona = persona_of(self.seed, person.id, spec.mixture, person.persona)
        newcomer = person.id not in self._personas
        self._personas[person.id] = persona
        user = User(
            id=person.id,
            handle=person.handle,
            name=person.name,
            created_at=now - AGE,
            protected=persona.protected,
            receives_dm=persona.receives_dm,
        )
        self.network.add(user)
        if newcomer and person.wrote_first:
            self._plan_first_word(person, now)

    def _plan_first_word(self, person: PersonSpec, now: datetime) -> None:
        """What somebody wrote unasked, in the past or yet to come."""
        first = person.wrote_first
        assert first is not None
        account = self.network.by_handle(first.to) if first.to else self._first_account()
        if account is None:
            raise WorldProblem(f"@{person.handle} wrote first to {first.to or 'nobody'}, who is no account")
        due = now + self.clock.real_duration(timedelta(seconds=first.after_s))
        say = partial(
            self.acts.say,
            person=person.id,
            account=account.id,
            text=first.text,
            kind="wrote_first",
            by="script",
        )
        if due <= now:
            say(due)
        else:
            self._agenda.push(due, say)

    def _first_account(self) -> User | None:
        return next((user for user in self.network.users.values() if user.is_account), None)

    def _persona(self, user_id: str) -> Persona:
        return self._personas.get(user_id, INERT)

    # --- looking

    def state(self, now: datetime) -> Mapping[str, Any]:
        """Counts, and what is still to come. `quiet`: no deed is planned and no webhook waits or is under way."""
        deeds, deliveries = len(self._agenda), len(self.webhooks.pending) + self.webhooks.under_way
        due = self.next_due()
        return {
            "now_real": now.isoformat(),
            "now_scaled": self.clock.scaled(now).isoformat(),
            "counts": dict(self.witness.counts),
            "pending": {
                "deeds": deeds,
                "deliveries": deliveries,
                "next_in_s": None if due is None else (due - now).total_seconds(),
            },
            "webhooks": dict(self.webhooks.outcomes),
            "quiet": deeds == 0 and deliveries == 0,
        }
