"""Registering webhooks, subscribing to activities, and asking for a replay."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from outreach.simulator.clock import iso_millis
from outreach.simulator.network import Network
from outreach.simulator.problems import CONFLICT, Problem, invalid, missing
from outreach.simulator.routes import Auth, Call, Route, table
from outreach.simulator.webhooks import EVENT_TYPES, Hook, Subscription, Webhooks
from outreach.simulator.wire import Response, answer

#: replays reach back so far
REPLAYABLE = timedelta(hours=24)


def on_loopback(url: str) -> bool:
    """Nothing leaves this machine: the only addresses that may be told anything."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.hostname in ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class HookRoutes:
    """Handlers over the webhooks. Those that challenge an address make a request, and take the lock only around it."""

    webhooks: Webhooks
    network: Network
    lock: AbstractContextManager[object]
    #: a token for a challenge, from the number of a message
    new_token: Callable[[datetime], str]

    def routes(self) -> list[Route]:
        app, either, bucket = Auth.APP, Auth.EITHER, "webhooks"
        hooks, subscriptions = "/2/webhooks", "/2/activity/subscriptions"
        calling = table(
            ("webhooks.add", "POST", hooks, self.register, app, bucket),
            ("webhooks.validate", "PUT", f"{hooks}/{{id}}", self.validate, app, bucket),
        )
        return [replace(route, calls_out=True) for route in calling] + table(
            ("webhooks.list", "GET", hooks, self.list_hooks, app, bucket),
            ("webhooks.delete", "DELETE", f"{hooks}/{{id}}", self.delete, app, bucket),
            ("webhooks.replay", "POST", f"{hooks}/replay", self.replay, app, "webhooks.replay"),
            ("subscriptions.add", "POST", subscriptions, self.subscribe, either, "subscriptions"),
            ("subscriptions.list", "GET", subscriptions, self.list_subscriptions, either, "subscriptions"),
            (
                "subscriptions.delete",
                "DELETE",
                f"{subscriptions}/{{id}}",
                self.unsubscribe,
                either,
                "subscriptions",
            ),
        )

    # --- hooks

    def register(self, call: Call) -> Response | Problem:
        url = (call.request.json_object() or {}).get("url")
        if not isinstance(url, str) or not on_loopback(url):
            return invalid("url", url, "UrlValidationFailed: this stand-in tells nobody outside of loopback.")
        with self.lock:
            if any(hook.url == url for hook in self.webhooks.hooks.values()):
                return invalid("url", url, "DuplicateUrlFailed")
            token = self.new_token(call.now)
        if not self.webhooks.challenge(url, token):
            return invalid("url", url, "CrcValidationFailed")
        with self.lock:
            hook = Hook(id=self.new_token(call.now), url=url, created_at=call.now)
            self.webhooks.hooks[hook.id] = hook
        return answer({"data": hook.shown()})

    def validate(self, call: Call) -> Response | Problem:
        hook = self.webhooks.hooks.get(call.params["id"])
        if hook is None:
            return missing(call.params["id"], "webhook_id", "webhook")
        with self.lock:
            token = self.new_token(call.now)
        hook.valid = self.webhooks.challenge(hook.url, token)
        return answer({"data": {"valid": hook.valid}})

    def list_hooks(self, call: Call) -> Response:  # noqa: ARG002  every handler takes the call
        shown = [hook.shown() for hook in self.webhooks.hooks.values()]
        return answer({"data": shown, "meta": {"result_count": len(shown)}})

    def delete(self, call: Call) -> Response | Problem:
        hook = self.webhooks.hooks.pop(call.params["id"], None)
        return (
            answer({"data": {"deleted": True}})
            if hook
            else missing(call.params["id"], "webhook_id", "webhook")
        )

    def replay(self, call: Call) -> Response | Problem:
        body = call.request.json_object() or {}
        webhook_id, since, until = (
            body.get("webhook_id"),
            _minute(body.get("from_date")),
            _minute(body.get("to_date")),
        )
        if webhook_id not in self.webhooks.hooks:
            return invalid("webhook_id", webhook_id, "WebhookIdInvalid")
        if since is None or until is None or since > until or call.now - since > REPLAYABLE:
            return invalid(
                "from_date", body.get("from_date"), "Dates are yyyymmddhhmm, within the last 24 hours."
            )
        # both minutes are meant whole
        self.webhooks.replay(webhook_id, since, until + timedelta(seconds=59.999999), call.now)
        return answer({"data": {"job_id": self.new_token(call.now), "created_at": iso_millis(call.now)}})

    # --- subscriptions

    def subscribe(self, call: Call) -> Response | Problem:
        body = call.request.json_object() or {}
        wanted = self._wanted(body, call)
        if isinstance(wanted, Problem):
            return wanted
        key = (wanted.event_type, wanted.filter, wanted.webhook_id)
        if any(
            (one.event_type, one.filter, one.webhook_id) == key
            for one in self.webhooks.subscriptions.values()
        ):
            return CONFLICT
        self.webhooks.subscriptions[wanted.id] = wanted
        return answer({"data": {"subscription": wanted.shown()}, "meta": self._meta()})

    def _wanted(self, body: dict[str, object], call: Call) -> Subscription | Problem:
        event_type, filtered, webhook_id = (body.get(key) for key in ("event_type", "filter", "webhook_id"))
        if event_type not in EVENT_TYPES:
            return invalid("event_type", event_type, f"event_type is one of {', '.join(sorted(EVENT_TYPES))}")
        account = filtered.get("user_id") if isinstance(filtered, dict) else None
        user = self.network.users.get(str(account))
        if (
            not isinstance(filtered, dict)
            or user is None
            or not user.is_account
            or call.account not in ("", user.id)
        ):
            return invalid(
                "filter", filtered, "filter.user_id must be an account that has authorised this app."
            )
        if webhook_id not in self.webhooks.hooks:
            return invalid("webhook_id", webhook_id, "WebhookIdInvalid")
        direction, tag = filtered.get("direction"), body.get("tag")
        if direction not in (None, "inbound", "outbound"):
            return invalid("filter.direction", direction, "direction is inbound or outbound")
        return Subscription(
            id=self.new_token(call.now),
            event_type=str(event_type),
            account=user.id,
            webhook_id=str(webhook_id),
            created_at=call.now,
            direction=direction,
            tag=None if tag is None else str(tag),
        )

    def list_subscriptions(self, call: Call) -> Response:
        shown = [
            one.shown() for one in self.webhooks.subscriptions.values() if call.account in ("", one.account)
        ]  # fmt: skip
        return answer({"data": shown, "meta": self._meta()})

    def unsubscribe(self, call: Call) -> Response | Problem:
        if self.webhooks.subscriptions.pop(call.params["id"], None) is None:
            return missing(call.params["id"], "subscription_id", "subscription")
        return answer({"data": {"deleted": True}, "meta": self._meta()})

    def _meta(self) -> dict[str, int]:
        return {"total_subscriptions": len(self.webhooks.subscriptions)}


def _minute(text: object) -> datetime | None:
    """A yyyymmddhhmm instant in UTC, or None."""
    try:
        return datetime.strptime(str(text), "%Y%m%d%H%M").replace(tzinfo=UTC)
    except ValueError:
        return None
