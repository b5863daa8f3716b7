"""A provider that quotes: whatever it is sent, tokens and texts, it says again in its refusals. And marks of every kind of secret."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

#: What must not be found, each of its own kind. Letters and digits that nothing else has.
MARKS: Mapping[str, str] = {
    "access token": "canaryaccess7Qx1",
    "access token of the second": "canaryaccess7Qx2",
    "access token of the third": "canaryaccess7Qx3",
    "refresh token": "canaryrefresh7Qx",
    "client secret": "canaryclient7Qx",
    "basic credentials": base64.b64encode(b"sim-client:canaryclient7Qx").decode(),
    "consumer secret": "canaryconsumer7Qx",
    "link secret": "canarylink7Qx",
    "pepper": "canarypepper7Qx",
    "encryption key": "canarykey7Qx" * 4,
    "handle": "canaryh7qx",
    "numeric id": "770077007700770",
    "stranger's id": "770077007700999",
    "email": "canary7qx@example-mail.com",
    "wallet": "0x7700770077007700770077007700770077007abc",
    "name": "Canaryname Sevenqx",
    "template variable": "canaryvariable7Qx",
    "message sent": "canarybodyout7Qx",
    "reply received": "canaryreply7Qx",
    "pushed message": "canarypushed7Qx",
    "pushed and not understood": "canaryunreadable7Qx",
    "form field": "canaryform7Qx",
    "poisoned cursor": "canarycursor7Qx",
    "notify url": "canarynotify7Qx",
    "alert url": "canaryalert7Qx",
    "heartbeat url": "canaryheart7Qx",
    "database password": "canarydb7Qx",
    "redis password": "canaryredis7Qx",
    "oauth state": "canarystate7Qx",
    "oauth code": "canarycode7Qx",
    "human reason": "canaryreason7Qx",
}
#: Never in the database either, in the clear: sealed there; or of this process, or of a URL.
OUTSIDE = {
    "access token", "access token of the second", "access token of the third", "refresh token", "client secret", "consumer secret",
    "basic credentials",
    "link secret", "pepper", "encryption key", "notify url", "alert url", "heartbeat url", "database password", "redis password", "oauth state", "oauth code",
    "pushed and not understood",
}  # fmt: skip
SEQUENCE = f"""
sequence: hello
entry: {{on: form, form: website, source: the form on example.com, cool_off: 30d}}
requires: [first_name, secret]
actions:
  hello:
    do: SEND_TWITTER_DM
    message: "Hello {{{{ first_name }}}}, {MARKS["message sent"]} {{{{ secret }}}}. {{{{ opt_out }}}}"
    next: [{{on: NOT_REPLIED, after: 3d, to: END}}, {{on: REPLIED, to: END}}]
"""


@dataclass
class Quoter:
    """What was asked of it, and what it answered."""

    url: str = ""
    told: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    #: all that it could quote
    heard: list[str] = field(default_factory=list)
    inbox_ids: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def quoting(account_ids: Mapping[str, str]) -> Iterator[Quoter]:
    """`account_ids`: access token -> id of the account."""
    quoter = Quoter(inbox_ids=account_ids)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(b"")

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers.get("content-length") or 0)))

        def answer(self, body: bytes) -> None:
            path = urlsplit(self.path).path
            quoter.asked.append((self.command, path))
            status, document = self.respond(path, body)
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def respond(self, path: str, body: bytes) -> tuple[int, Any]:
            authorization = self.headers.get("authorization", "")
            token = authorization.removeprefix("Bearer ")
            quoted = f"{authorization} {unquote(self.path)} {body.decode('utf-8', 'replace')} {json.dumps(parse_qs(body.decode('utf-8', 'replace')))}"
            quoter.heard.append(quoted)
            if path.startswith("/hooks/"):
                quoter.told.append(body.decode())
                return (500, quoted.encode()) if len(quoter.told) == 1 else (200, {})
            if path == "/2/dm_events":
                return self.inbox(token, quoted)
            if path == "/2/oauth2/token":
                return 400, {"error": "invalid_request", "error_description": quoted}
            if token.endswith("2"):
                problem = {
                    "title": "Forbidden",
                    "type": "about:blank",
                    "status": 403,
                    "detail": f"{quoted} may not do this to @{MARKS['handle']}",
                }
                return 403, problem
            if token.endswith("3"):
                return 401, {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": quoted}
            sends = sum(
                1 for method, where in quoter.asked if method == "POST" and "/dm_conversations/" in where
            )
            if self.command == "POST" and sends == 1:
                ids = {"dm_event_id": "880088", "dm_conversation_id": f"42-{MARKS['numeric id']}"}
                return 201, {"data": ids}
            return (500, quoted.encode()) if sends % 2 else (200, b"\xff not json " + quoted.encode())

        def inbox(self, token: str, quoted: str) -> tuple[int, Any]:
            if token.endswith("2"):
                return 500, quoted.encode()
            if token.endswith("3"):
                return 401, {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": quoted}
            message = {
                "id": "990099", "event_type": "MessageCreate", "text": f"thank you, {MARKS['reply received']}", "sender_id": MARKS["numeric id"],
                "created_at": "2026-01-05T12:00:00.000Z", "dm_conversation_id": "42-77",
            }  # fmt: skip
            polls = sum(1 for _, where in quoter.asked if where == "/2/dm_events")
            if polls > 2:
                message["created_at"] = quoted
            return 200, {"data": [message], "meta": {"result_count": 1}}

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        quoter.url = f"http://127.0.0.1:{server.server_port}"
        yield quoter
        server.shutdown()


def push(
    account: str, text: str, *, sender: str, stamp: str = "1767614400000", kind: str = "dm.received"
) -> bytes:
    """What X would push."""
    message = {
        "type": "message_create", "id": str(abs(hash((text, stamp))) % 10**12), "created_timestamp": stamp,
        "message_create": {"target": {"recipient_id": account}, "sender_id": sender, "message_data": {"text": text}},
    }  # fmt: skip
    users = {sender: {"data": {"username": MARKS["handle"]}}}
    data = {"event_uuid": "-1", "filter": {"user_id": account}, "event_type": kind, "tag": "", "payload": {"direct_message_events": [message], "users": users}}  # fmt: skip
    return json.dumps({"data": data}).encode()


def signed(body: bytes, secret: str) -> dict[str, str]:
    mac = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    return {"x-twitter-webhooks-signature": f"sha256={mac}"}
