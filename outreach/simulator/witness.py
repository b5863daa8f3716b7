"""The witness: what the provider really accepted, and what people really did. One JSON line per fact, append-only.

A line is handed to the operating system before the answer leaves, so that no kill of anybody can lose it.
Lines with `"what": "accepted"` are Acceptances; all others are Deeds: `said`, `followed`, `unfollowed`, `blocked`,
`approved` (people), `repeated` (a call that changed nothing), `connected`, `refreshed`, `revoked` (tokens), `delivered`,
`undelivered`, `lost` (attempts at a webhook).
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from outreach.simulator.clock import ScaledClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One effect that the provider accepted from an account: `kind` is follow, unfollow or dm."""

    t_real: datetime
    t_scaled: datetime
    #: both by their id at the provider
    account: str
    recipient: str
    kind: str
    #: SHA-256 of the text's UTF-8 bytes, in hex; empty where there is no text
    body_sha256: str
    #: only if the witness keeps bodies
    body: str | None
    #: of the message; empty where there is none
    id: str
    peer_port: int
    #: "api", or "hand" where a human did it in the provider's own app
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Anything else that happened. Fields that do not apply are empty."""

    what: str
    t_real: datetime
    t_scaled: datetime
    account: str = ""
    person: str = ""
    #: of what was said: the habit; of what was repeated: the action; of a webhook: the event type
    kind: str = ""
    #: of the message, or of the message that a webhook is about
    id: str = ""
    body_sha256: str = ""
    body: str | None = None
    #: "persona", "script" or "hand"
    by: str = ""
    #: of a webhook: which attempt (from 1) and the status it met (0: none)
    attempt: int = 0
    status: int = 0


class Witness:
    """Writes the lines. Without a path they are kept in memory (`lines`), for use in process."""

    def __init__(self, clock: ScaledClock, path: Path | None = None, *, keep_bodies: bool = False) -> None:
        self._clock = clock
        self._keep_bodies = keep_bodies
        self.lines: list[str] = []
        #: how many lines of each sort: `accepted.dm`, `said`, ...
        self.counts: Counter[str] = Counter()
        self._in_memory = path is None
        self._file = -1 if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def accepted(
        self,
        now: datetime,
        *,
        account: str,
        recipient: str,
        kind: str,
        by: str,
        port: int,
        text: str | None = None,
        message: str = "",
    ) -> None:
        """An effect was accepted; returns once the operating system has the line."""
        line = {
            "what": "accepted",
            **self._times(now),
            "account": account,
            "recipient": recipient,
            "kind": kind,
        }
        self._write({**line, **self._body(text), "id": message, "peer_port": port, "by": by})

    def saw(self, now: datetime, what: str, *, text: str | None = None, **about: str | int) -> None:
        """A deed: `about` are fields of Deed."""
        self._write({"what": what, **self._times(now), **about, **(self._body(text) if text else {})})

    def close(self) -> None:
        """No line after this: writing one would fail loudly."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self) -> tuple[list[Acceptance], list[Deed]]:
        """What was kept in memory."""
        return parse_witness(self.lines)

    def _times(self, now: datetime) -> dict[str, str]:
        return {"t_real": now.isoformat(), "t_scaled": self._clock.scaled(now).isoformat()}

    def _body(self, text: str | None) -> dict[str, str]:
        if text is None:
            return {"body_sha256": ""}
        digest = {"body_sha256": hashlib.sha256(text.encode()).hexdigest()}
        return {**digest, "body": text} if self._keep_bodies else digest

    def _write(self, line: dict[str, Any]) -> None:
        text = json.dumps(line, separators=(",", ":"))
        self.counts[f"accepted.{line['kind']}" if line["what"] == "accepted" else line["what"]] += 1
        if self._in_memory:
            self.lines.append(text)
        else:
            # one write of one line to a file opened for appending: it cannot be torn by another line
            os.write(self._file, f"{text}\n".encode())


def read_witness(path: Path) -> tuple[list[Acceptance], list[Deed]]:
    """All that a witness file says, in order. A last line cut short by a kill is left out."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return parse_witness(whole.splitlines())


def parse_witness(lines: Iterable[str]) -> tuple[list[Acceptance], list[Deed]]:
    """Acceptances and deeds of the lines. Raises ValueError naming the line that is not understood."""
    acceptances: list[Acceptance] = []
    deeds: list[Deed] = []
    for number, line in enumerate(lines, start=1):
        try:
            raw = json.loads(line)
            raw |= {key: datetime.fromisoformat(raw[key]) for key in ("t_real", "t_scaled")}
            if raw["what"] == "accepted":
                del raw["what"]
                acceptances.append(Acceptance(**{"body": None, **raw}))
            else:
                deeds.append(Deed(**raw))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"witness line {number} is not understood: {error}") from error
    return acceptances, deeds
