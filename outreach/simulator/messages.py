"""Sending direct messages and reading them back."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outreach.simulator.acts import Acts
from outreach.simulator.clock import ScaledClock
from outreach.simulator.network import Message, Network, conversation_of
from outreach.simulator.paging import Page, page_of
from outreach.simulator.payloads import MESSAGE_FIELDS, message_object, user_object, wanted_user_fields
from outreach.simulator.problems import Problem, invalid, not_found
from outreach.simulator.routes import Auth, Call, Route, table
from outreach.simulator.wire import Response, answer
from outreach.simulator.world import USER_ID

LONGEST = 10_000
#: reads reach back so far (scaled time)
READABLE = timedelta(days=30)
_BODY_KEYS = {"text", "attachments"}
EVENT_TYPES = frozenset(("MessageCreate", "ParticipantsJoin", "ParticipantsLeave"))


@dataclass(frozen=True, slots=True)
class MessageRoutes:
    """Handlers over the network."""

    network: Network
    acts: Acts
    clock: ScaledClock

    def routes(self) -> list[Route]:
        user, conversations = Auth.USER, "/2/dm_conversations"
        return table(
            ("dm.send", "POST", f"{conversations}/with/{{id}}/messages", self.send, user, "dm.send"),
            ("dm.list", "GET", "/2/dm_events", self.inbox, user, "dm.read"),
            (
                "dm.with",
                "GET",
                f"{conversations}/with/{{id}}/dm_events",
                self.with_participant,
                user,
                "dm.read",
            ),
            (
                "dm.conversation",
                "GET",
                f"{conversations}/{{id}}/dm_events",
                self.in_conversation,
                user,
                "dm.read",
            ),
        )

    def send(self, call: Call) -> Response | Problem:
        recipient = call.params["id"]
        if not USER_ID.fullmatch(recipient):
            return invalid("participant_id", recipient)
        text = _text(call.request.json_object())
        if isinstance(text, Problem):
            return text
        sent = self.acts.message(call.account, recipient, text, call.now, port=call.request.peer_port)
        if isinstance(sent, Problem):
            return sent
        return answer({"data": {"dm_conversation_id": sent.conversation, "dm_event_id": sent.id}}, 201)

    def inbox(self, call: Call) -> Response | Problem:
        return self._list(call, self.network.messages(call.account))

    def with_participant(self, call: Call) -> Response | Problem:
        return self._list(call, self.network.messages(call.account, call.params["id"]))

    def in_conversation(self, call: Call) -> Response | Problem:
        one, _, other = call.params["id"].partition("-")
        peer = other if one == call.account else one
        if not peer.isdigit() or conversation_of(call.account, peer) != call.params["id"]:
            return invalid("dm_conversation_id", call.params["id"])
        return self._list(call, self.network.messages(call.account, peer))

    def _list(self, call: Call, messages: Sequence[Message]) -> Response | Problem:
        query = call.request.query
        fields = frozenset(query.get("dm_event.fields", "").split(",")) - {""}
        if unknown := fields - MESSAGE_FIELDS:
            return invalid("dm_event.fields", min(unknown))
        kinds = frozenset(query.get("event_types", "MessageCreate").split(","))
        if unknown := kinds - EVENT_TYPES:
            return invalid("event_types", min(unknown))
        visible = self._visible(call, messages) if "MessageCreate" in kinds else []
        page = page_of(query, visible, key=lambda message: message.id, most=100, usual=100)
        if not isinstance(page, Page):
            return page
        return self._expanded(call, page, page.payload([message_object(one, fields) for one in page.items]))

    def _visible(self, call: Call, messages: Sequence[Message]) -> list[Message]:
        """Newest first, without what is too young (lag) or too old to be shown."""
        oldest = call.now - self.clock.real_duration(READABLE)
        since = bisect_left(messages, oldest, key=_at)
        until = bisect_right(messages, call.horizon, key=_at)
        return list(reversed(messages[since:until]))

    def _expanded(self, call: Call, page: Page[Message], payload: dict[str, Any]) -> Response | Problem:
        """With `includes.users`, where the senders or participants were asked for. Who is gone is named under `errors`."""
        asked = set(call.request.query.get("expansions", "").split(","))
        wanted = wanted_user_fields(call.request.query)
        if isinstance(wanted, Problem):
            return wanted
        if asked & {"sender_id", "participant_ids"} and page.items:
            ids = dict.fromkeys(one.sender for one in page.items)
            here = [self.network.users[user_id] for user_id in ids if user_id in self.network.users]
            gone = [user_id for user_id in ids if user_id not in self.network.users]
            described = [user_object(user, wanted, self.network, call.account, call.horizon) for user in here]
            payload |= {"includes": {"users": described}} if described else {}
            payload |= {"errors": [not_found(user_id, "sender_id") for user_id in gone]} if gone else {}
        return answer(payload)


def _at(message: Message) -> datetime:
    return message.at


def _text(body: dict[str, Any] | None) -> str | Problem:
    """The text of a message body; its schema allows `text` and `attachments` and nothing else."""
    if body is None or set(body) - _BODY_KEYS:
        return invalid("body", body, "The body is an object with `text` or `attachments`.")
    text = body.get("text", "")
    if not isinstance(text, str) or len(text) > LONGEST or not (text or body.get("attachments")):
        return invalid("text", str(text)[:100], f"text is a string of 1 to {LONGEST} characters.")
    return text
