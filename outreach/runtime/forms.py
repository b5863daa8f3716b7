"""take_form: what a form has posted, signed. Person, permission and lead in one transaction, or nothing at all.

The signature is the header `Outreach-Signature: t=SECONDS,v1=HEX`: HMAC-SHA256 under the form's secret over `SECONDS.BODY`.
"""

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import parse_qsl

from outreach.audience.importing import Order, Written, bring_in
from outreach.audience.reading import Record, flat_cells
from outreach.audience.rows import Columns, Reject, Row, read_row
from outreach.errors import ConflictError
from outreach.models import audience, enrolling, entries, persons
from outreach.models.base import Tx
from outreach.models.persons import LockedPerson
from outreach.runtime.context import Context
from outreach.runtime.credentials import form_place
from outreach.runtime.enroll import data_of
from outreach.runtime.entering import Door, Newcomer, admit, been_here, door_of, refuse
from outreach.runtime.hints import Hints
from outreach.vault import CannotOpen

SIGNATURE = "outreach-signature"
MOST_BYTES = 64 * 1024
_HEADER = re.compile(r"t=(\d{1,11}),v1=([0-9a-f]{64})", re.ASCII)
#: Real seconds that a form waits for its turn while a file is imported; then it is told to come again.
_PATIENCE = 5.0
_TRIES = 3
#: What only our own files may say of a record.
_COLUMNS = Columns({"key": "ignore", "invented": "ignore"})

Outcome = Literal[
    "taken", "unknown", "unsigned", "bad_signature", "expired", "malformed", "unusable", "replayed", "locked"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of it. Anything but `taken` has left nothing behind."""

    outcome: Outcome
    #: taken: did they come into the sequence, and if not, why
    entered: bool = False
    why: str = ""
    #: malformed, unusable: what is wrong, field by field
    problems: Sequence[str] = ()
    hints: Hints = field(default_factory=list)


def take_form(
    ctx: Context, sequence: str, form: str, *, body: bytes, content_type: str, signature: str | None
) -> Taken:
    """Take what was posted. A person whom somebody else changed meanwhile is looked at anew."""

    def work(tx: Tx) -> Taken:
        return _take(ctx, tx, sequence, form, body, content_type, signature)

    for _ in range(_TRIES - 1):
        try:
            return ctx.db.run(work)
        except ConflictError:
            continue
    return ctx.db.run(work)


def _take(
    ctx: Context, tx: Tx, sequence: str, form: str, body: bytes, content_type: str, signature: str | None
) -> Taken:
    found = entries.form_door(tx, sequence, form)
    if found is None:
        return Taken(outcome="unknown")
    now = ctx.clock.at(tx.database_now())
    try:
        secret = ctx.vault.open(found["secret"], form_place(found["sequence_id"], form))
    except CannotOpen as broken:
        return Taken(outcome="locked", problems=[broken.message])
    wrong = check_signature(ctx, secret, body, signature, now)
    if wrong is not None:
        return Taken(outcome=wrong)
    fields = read_fields(body, content_type)
    if isinstance(fields, str):
        return Taken(outcome="malformed", problems=[fields])
    row, rejects = read_row(Record(line=1, cells=fields), _COLUMNS)
    if row is None or rejects:
        return Taken(outcome="unusable", problems=[_said(reject) for reject in rejects])
    assert signature is not None
    number = entries.take_submission(tx, found["sequence_id"], form, signature.rpartition("=")[2], now)
    if number is None:
        return Taken(outcome="replayed")
    return _record(ctx, tx, door_of(tx, found), row, number, now)


def check_signature(
    ctx: Context, secret: str, body: bytes, signature: str | None, now: datetime
) -> Literal["unsigned", "bad_signature", "expired"] | None:
    """What is wrong with the signature, compared in constant time before its age is looked at."""
    if not signature:
        return "unsigned"
    header = _HEADER.fullmatch(signature.strip())
    if header is None:
        return "bad_signature"
    stamp, given = header.groups()
    if not hmac.compare_digest(sign(secret, stamp, body).encode(), given.encode()):
        return "bad_signature"
    signed_at = ctx.clock.business(datetime.fromtimestamp(int(stamp), UTC))
    tolerance = ctx.machine(ctx.settings.form_tolerance_seconds)
    return "expired" if abs(now - signed_at) > tolerance else None


def sign(secret: str, stamp: str, body: bytes) -> str:
    """The hexadecimal HMAC that belongs into the header."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, sha256).hexdigest()


def read_fields(body: bytes, content_type: str) -> Mapping[str, Any] | str:
    """The form's fields, JSON or as browsers post them; nested keys become `social.twitter`. A text says what is wrong."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            pairs = parse_qsl(body.decode(), strict_parsing=True, max_num_fields=_MOST_FIELDS)
            return dict(pairs)
        if kind != "application/json":
            return "the body is JSON (Content-Type: application/json), or application/x-www-form-urlencoded"
        value = json.loads(body)
        return flat_cells(value) if isinstance(value, dict) else "the body is no JSON object"
    except (ValueError, RecursionError):
        return "the body cannot be read as what its Content-Type says"


_MOST_FIELDS = 200


def _said(reject: Reject) -> str:
    return f"{reject.column}: {reject.reason}" if reject.column else reject.reason


# --- recording ----------------------------------------------------------------------------------------------


def _record(ctx: Context, tx: Tx, door: Door, row: Row, number: int, now: datetime) -> Taken:
    """Identities, attributes and the permission, as an import would write them; then the lead."""
    source = door.entry.source or f"form {door.row['sequence']}/{door.row['name']}"
    order = Order(path="", source=source, basis="opt_in", proof=f"form submission {number}")
    written = bring_in(
        tx, [row], order, import_id=_import_of(tx, door, source, now), pepper=ctx.settings.pepper, now=now, patience=_PATIENCE
    )  # fmt: skip
    person = persons.lock_present(tx, written.assembly.profiles[0].person_id)
    assert person is not None, "the row has just been written, or locked"
    why = _against(tx, door, person, now)
    if why is not None:
        refuse(tx, door, why, now, person_id=person.id, submission=number)
        return Taken(outcome="taken", why=why)
    hints = _enter(ctx, tx, door, person, written, number, now)
    return Taken(
        outcome="taken",
        entered=hints is not None,
        why="" if hints is not None else "active",
        hints=hints or [],
    )


def _import_of(tx: Tx, door: Door, source: str, now: datetime) -> int:
    """The import under which all people of this form are recorded."""
    known: int | None = door.row["import_id"]
    if known is not None:
        return known
    made = audience.insert_import(
        tx,
        source=source,
        file_name=f"/forms/{door.row['sequence']}/{door.row['name']}",
        file_hash="",
        basis=None,
        proof=None,
        now=now,
    )
    entries.set_import(tx, door.row["id"], made)
    return made


def _against(tx: Tx, door: Door, person: LockedPerson, now: datetime) -> str | None:
    if person.suppressed:
        return "suppressed"
    if person.paused:
        return "paused"
    return been_here(tx, door, person.id, now)


def _enter(
    ctx: Context, tx: Tx, door: Door, person: LockedPerson, written: Written, number: int, now: datetime
) -> Hints | None:
    known = enrolling.person_data(tx, person.id)
    newcomer = Newcomer(
        person_id=person.id,
        data=data_of(known["name"], known["attributes"] or {}),
        prefer=[identity for identity, _ in written.assembly.reachable],
    )
    return admit(ctx, tx, door, newcomer, now, submission=number)
