"""The control routes under /__sim: change the world, plan faults, put words into mouths, and look at the truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.simulator.acts import Acts, Followed
from outreach.simulator.clock import ScaledClock
from outreach.simulator.faults import FaultPlan, FaultProblem, read_plan
from outreach.simulator.network import Network, User
from outreach.simulator.payloads import revoke_activity
from outreach.simulator.problems import Problem, invalid
from outreach.simulator.routes import Auth, Call, Route
from outreach.simulator.tokens import Tokens
from outreach.simulator.webhooks import Webhooks
from outreach.simulator.wire import Response, answer
from outreach.simulator.world import WorldProblem, WorldSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRoutes:
    """Handlers of a test or a demo, not of the provider."""

    network: Network
    acts: Acts
    webhooks: Webhooks
    tokens: Tokens
    faults: FaultPlan
    clock: ScaledClock
    extend: Callable[[WorldSpec, datetime], None]
    state: Callable[[datetime], Mapping[str, Any]]

    def routes(self) -> list[Route]:
        table: tuple[tuple[str, str, Callable[[Call], Response | Problem]], ...] = (
            ("POST", "world", self.world),
            ("GET", "state", self.show_state),
            ("GET", "ledger", self.ledger),
            ("POST", "faults", self.plan_faults),
            ("GET", "faults", self.show_faults),
            ("POST", "say", self.say),
            ("POST", "follow", self.follow),
            ("POST", "act", self.act),
        )
        return [
            Route(name=f"sim.{name}", method=method, path=f"/__sim/{name}", handler=handler, auth=Auth.NONE)
            for method, name, handler in table
        ]

    # --- the world and its faults

    def world(self, call: Call) -> Response | Problem:
        """Add accounts and people, or change those with the same id. The app and the rates stay as they are."""
        try:
            spec = WorldSpec.read(call.request.json_object() or {})
            self.extend(spec, call.now)
        except WorldProblem as error:
            return invalid("world", "", str(error))
        return answer({"accounts": len(spec.accounts), "people": len(spec.people)})

    def plan_faults(self, call: Call) -> Response | Problem:
        """{"rules": [...], "add": false}: replaces the plan unless `add` is true."""
        body = dict(call.request.json_object() or {})
        add = body.pop("add", False)
        try:
            rules = read_plan(body)
        except FaultProblem as error:
            return invalid("rules", "", str(error))
        if not add:
            self.faults.rules.clear()
        self.faults.rules.extend(rules)
        return self.show_faults(call)

    def show_faults(self, call: Call) -> Response:  # noqa: ARG002  every handler takes the call
        return answer({"rules": self.faults.report()})

    # --- looking

    def show_state(self, call: Call) -> Response:
        return answer(self.state(call.now))

    def ledger(self, call: Call) -> Response:  # noqa: ARG002  every handler takes the call
        """Per person: who follows whom, and all messages that came from or went to accounts of ours."""
        accounts = [user.id for user in self.network.users.values() if user.is_account]
        people = {
            user.id: entry
            for user in self.network.users.values()
            if not user.is_account and (entry := self._entry(user, accounts))
        }
        return answer({"people": people})

    def _entry(self, person: User, accounts: list[str]) -> dict[str, Any]:
        """What stands between this person and our accounts; empty if nothing does."""
        network = self.network
        facts = {
            "followed_by": [one for one in accounts if network.follows(one, person.id)],
            "requested_by": [one for one in accounts if network.requested(one, person.id)],
            "follows": [one for one in accounts if network.follows(person.id, one)],
            "blocks": [one for one in accounts if network.blocks(person.id, one)],
            "messages": [
                self._message(one) for account in accounts for one in network.messages(account, person.id)
            ],
        }
        return {"handle": person.handle, **facts} if any(facts.values()) else {}

    def _message(self, message: Any) -> dict[str, str]:
        return {
            "id": message.id,
            "from": message.sender,
            "to": message.recipient,
            "text": message.text,
            "t_real": message.at.isoformat(),
            "t_scaled": self.clock.scaled(message.at).isoformat(),
        }

    # --- doing

    def say(self, call: Call) -> Response | Problem:
        """{"from": handle or id, "to": account, "text": ..., "kind": "stop"}: somebody writes now."""
        body = call.request.json_object() or {}
        pair = self._pair(body, "from", "to")
        if isinstance(pair, Problem):
            return pair
        person, account = pair
        kind, text = str(body.get("kind", "scripted")), str(body.get("text", ""))
        message = self.acts.say(call.now, person.id, account.id, text, kind=kind, by="script")
        return answer({"id": message.id})

    def follow(self, call: Call) -> Response | Problem:
        """{"from": handle or id, "to": account}: somebody follows an account now."""
        pair = self._pair(call.request.json_object() or {}, "from", "to")
        if isinstance(pair, Problem):
            return pair
        self.acts.follow_back(call.now, pair[0].id, pair[1].id, "script")
        return answer({"following": True})

    def act(self, call: Call) -> Response | Problem:
        """{"who": ..., "do": ..., "to": ..., "text": ...}: one of us by hand in the provider's own app, or a person.

        An account may follow, unfollow, dm, block, revoke; a person may follow, unfollow, block, unblock, approve,
        open_dms, close_dms, and be suspended: nobody can look them up, and they do nothing more.
        """
        body = call.request.json_object() or {}
        who, do = self.network.find(str(body.get("who", ""))), str(body.get("do", ""))
        if who is None:
            return invalid("who", body.get("who"), "who is an account or a person of this world")
        if do == "revoke":
            return self._revoke(who, call.now)
        if do in ("open_dms", "close_dms"):
            who.receives_dm = do == "open_dms"
            return answer({"done": do})
        if do == "suspend" and not who.is_account:
            self.network.remove(who.id)
            return answer({"done": do})
        pair = self._pair(body, "who", "to")
        if isinstance(pair, Problem):
            return pair
        by = self._account_does if who.is_account else self._person_does
        return by(do, pair, str(body.get("text", "")), call.now)

    def _account_does(self, do: str, pair: tuple[User, User], text: str, now: datetime) -> Response | Problem:
        account, other = pair[0].id, pair[1].id
        result: object = None
        match do:
            case "follow":
                result = self.acts.follow(account, other, now, by="hand")
            case "unfollow":
                result = self.acts.unfollow(account, other, now, by="hand")
            case "dm":
                result = self.acts.message(account, other, text, now, by="hand")
            case "block":
                self.acts.block_by_account(account, other, now)
            case _:
                result = invalid("do", do, "an account may follow, unfollow, dm, block, revoke")
        return _outcome(do, result)

    def _person_does(self, do: str, pair: tuple[User, User], text: str, now: datetime) -> Response | Problem:  # noqa: ARG002  people speak by /say
        person, account = pair[0].id, pair[1].id
        match do:
            case "follow":
                self.acts.follow_back(now, person, account, "script")
            case "unfollow":
                self.acts.unfollow_back(now, person, account, "script")
            case "approve":
                self.acts.approve(now, person, account, "script")
            case "block":
                self.acts.block(now, person, account, "script")
            case "unblock":
                self.network.unblock(person, account)
            case _:
                return invalid(
                    "do", do, "a person may follow, unfollow, block, unblock, approve, open_dms, close_dms"
                )
        return answer({"done": do})

    def _revoke(self, account: User, now: datetime) -> Response | Problem:
        """The account's owner takes our access away; the provider tells of it."""
        if not account.is_account:
            return invalid("who", account.handle, "only accounts can revoke")
        self.tokens.revoke(account.id, now)
        payload = revoke_activity(account.id, self.tokens.app.id, now)
        self.webhooks.publish("oauth.revoke", {account.id: "inbound"}, payload, now)
        return answer({"done": "revoke"})

    def _pair(self, body: Mapping[str, Any], one: str, other: str) -> tuple[User, User] | Problem:
        found = []
        for key in (one, other):
            user = self.network.find(str(body.get(key, "")))
            if user is None:
                return invalid(key, body.get(key), f"{key} is an account or a person of this world")
            found.append(user)
        return found[0], found[1]


def _outcome(do: str, result: object) -> Response | Problem:
    """The answer of the provider's own app to somebody's hand."""
    if isinstance(result, Problem):
        return result
    pending = isinstance(result, Followed) and result.pending
    return answer({"done": do, "pending": pending, "id": getattr(result, "id", "")})
