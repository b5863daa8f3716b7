"""Leads: locked, viewed for decide(), and written back once per transaction with their events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from outreach.engine.decisions import Want
from outreach.engine.events import EventKind
from outreach.engine.graph import Graph, Node
from outreach.engine.kinds import (
    NEGATIVE_TRIGGERS,
    Channel,
    ExecutionState,
    ReplyClass,
    SignalKind,
    TriggerKind,
    WaitingOn,
    known,
)
from outreach.engine.state import ExecutionView, LeadView, SignalView
from outreach.models import events, sequences
from outreach.models.base import Hot, Row, Tx, columns_of, fields_of, part_of, table_of

#: What a lead that waits for evidence is filed under, in place of an action kind: one poll serves all of an account.
WANTS = {Want.INBOX: "CHECK_FOR_REPLY", Want.RELATIONSHIP: "LOOK_UP"}
RESOLVE = "RESOLVE"
#: The reason of a skipped step that came too late: its lead goes on as if it were done.
LATE = "late"
_CAUSES = frozenset(kind.value for kind in TriggerKind)
_CHANNELS = frozenset(channel.value for channel in Channel)
#: How the detail of a lead begins that this or another worker could not read. The sweep gives such leads a share of their own.
NEEDS_NEWER = "needs newer worker"


@dataclass(slots=True, kw_only=True)
class Lead:
    """A lead whose row this transaction has locked. Change it, then `write` it once."""

    id: int
    person_id: int
    sequence_id: int
    version_id: int
    state: str
    cursor: str
    visits: Mapping[str, int]
    entered_at: datetime
    due_at: datetime | None
    waiting_on: str | None
    waiting_detail: str | None
    account_id: int | None
    next_kind: str | None
    epoch: int
    event_seq: int
    attempts: int
    paused_at: datetime | None
    pause_reason: str | None
    exit_reason: str | None
    ended_at: datetime | None
    person_paused: bool
    suppressed: bool
    #: a person's opt-out still waits for calls to drain
    draining: bool
    _log: list[events.Event] = field(default_factory=list)

    @property
    def active(self) -> bool:
        return self.state == "active"

    def log(
        self,
        kind: EventKind,
        at: datetime,
        *,
        actor: str = "engine",
        execution_id: int | None = None,
        **payload: Any,
    ) -> None:
        """Note an event in the lead's own order."""
        self.event_seq += 1
        self._log.append(
            events.Event(
                kind=kind,
                at=at,
                actor=actor,
                lead_id=self.id,
                lead_seq=self.event_seq,
                person_id=self.person_id,
                sequence_id=self.sequence_id,
                account_id=payload.pop("account_id", None),
                execution_id=execution_id,
                payload=payload,
            )
        )

    def wait(self, until: datetime, on: WaitingOn, detail: str | None = None) -> None:
        """Look again at `until`."""
        self.due_at, self.waiting_on, self.waiting_detail = until, on.value, detail
        self.account_id = self.next_kind = None

    def wait_for_account(
        self, until: datetime, on: WaitingOn, account_id: int, kind: str, detail: str | None = None
    ) -> None:
        """Look again at `until`, when this account has room for an action (or a read) of this kind."""
        self.wait(until, on, detail)
        self.account_id, self.next_kind = account_id, kind

    def end(self, state: str, at: datetime, reason: str | None = None) -> None:
        """finished, or exited with a reason."""
        self.state, self.exit_reason, self.ended_at = state, reason, at
        self.due_at = self.waiting_on = self.waiting_detail = self.account_id = self.next_kind = None

    def write(self, tx: Tx) -> None:
        """Store the lead and its new events."""
        write_all(tx, [self])

    def take_log(self) -> list[events.Event]:
        """The events noted since they were last taken."""
        taken, self._log = self._log, []
        return taken


_COLUMNS = """
id, person_id, sequence_id, version_id, state, cursor, visits, entered_at, due_at, waiting_on, waiting_detail, account_id, next_kind, epoch,
event_seq, attempts, paused_at, pause_reason, exit_reason, ended_at"""
_FLAGS = ("person_paused", "suppressed", "draining")

#: What a locking function says of the lead, as `locked` wants it.
LOCKED = f"{fields_of('the_lead', 'lead_', _COLUMNS)}, {', '.join(_FLAGS)}"
_READ = Hot(f"""
SELECT {fields_of("l", "", _COLUMNS)}, p.paused_at IS NOT NULL AS person_paused, p.suppressed_at IS NOT NULL AS suppressed,
       p.suppressed_at IS NOT NULL AND p.suppression_effective_at IS NULL AS draining
  FROM lead l JOIN person p ON p.id = l.person_id WHERE l.id = ANY(%s)""")

_WRITTEN = {
    "id": "bigint", "state": "text", "cursor": "text", "visits": "jsonb", "entered_at": "timestamptz", "due_at": "timestamptz",
    "waiting_on": "text", "waiting_detail": "text", "account_id": "bigint", "next_kind": "text", "epoch": "int", "event_seq": "int",
    "attempts": "int", "paused_at": "timestamptz", "pause_reason": "text", "exit_reason": "text", "ended_at": "timestamptz",
}  # fmt: skip
#: What is only planned, to be carried out at once, has not moved yet: whoever dies of that has been hinted in vain.
_WRITE = Hot(f"""
UPDATE lead SET {", ".join(f"{name} = q.{name}" for name in _WRITTEN if name != "id")}, hinted_until = NULL,
       hints = CASE WHEN q.waiting_on = 'time' AND q.next_kind IS NOT NULL AND q.cursor = lead.cursor THEN lead.hints ELSE 0 END
  FROM {table_of(_WRITTEN)} WHERE lead.id = q.id""")


def write_all(tx: Tx, leads: Sequence[Lead]) -> None:
    """Store leads and their new events; the caller holds their rows."""
    if leads:
        rows = [{name: getattr(lead, name) for name in _WRITTEN} for lead in leads]
        tx.write(_WRITE, columns_of(_WRITTEN, rows))
        events.append(tx, [event for lead in leads for event in lead.take_log()])


def locked(row: Row) -> Lead:
    """The lead that a locking function returned."""
    return Lead(**part_of(row, "lead_"), **{name: row[name] for name in _FLAGS})


def read(tx: Tx, lead_id: int) -> Lead:
    """The lead as it stands; only write it back when its row is locked."""
    return Lead(**tx.one(_READ, ([lead_id],)))


def read_all(tx: Tx, lead_ids: Sequence[int]) -> list[Lead]:
    """Leads as they stand, only to be looked at."""
    return [Lead(**row) for row in tx.rows(_READ, (list(lead_ids),))]


def of_person(tx: Tx, person_id: int) -> list[int]:
    """The person's active leads by id. The caller has locked the person."""
    rows = tx.rows(
        "SELECT id FROM lead WHERE person_id = %s AND state = 'active' ORDER BY id FOR NO KEY UPDATE",
        (person_id,),
    )
    return [row["id"] for row in rows]


_VIEWS = Hot("""
SELECT q.lead AS lead_id, v.*
  FROM unnest(%(leads)s::bigint[], %(actions)s::bigint[], %(visits)s::int[], %(silences)s::boolean[], %(channels)s::text[])
       q (lead, action, visit, silence, channel)
 CROSS JOIN LATERAL (
SELECT e.id AS execution_id, e.state, e.sent_at, e.reason, e.cause, e.cause_node, e.cause_deadline, e.call_deadline, e.next_read_at, e.settled_at,
       b.channels, b.accounts, b.apps, b.identities, b.identity_kinds, b.usable,
       g.ids AS signal_ids, g.kinds AS signal_kinds, g.ats AS signal_ats, g.classes AS signal_classes,
       CASE WHEN q.silence THEN (SELECT r.at FROM inbox_read_up_to(q.lead) r) END AS read_up_to,
       (SELECT r.checked_at FROM lead_binding b JOIN relationship r ON r.account_id = b.account_id AND r.identity_id = b.identity_id
         WHERE b.lead_id = q.lead AND b.channel = q.channel) AS looked_up_at
  FROM (SELECT 1) one
  LEFT JOIN execution e ON e.lead_id = q.lead AND e.action_id = q.action AND e.visit = q.visit
  CROSS JOIN LATERAL (
       SELECT array_agg(k.channel) AS channels, array_agg(k.account_id) AS accounts, array_agg(a.app_id) AS apps,
              array_agg(k.identity_id) AS identities, array_agg(i.kind) AS identity_kinds,
              array_agg(i.status NOT IN ('not_found', 'shared')) AS usable
         FROM lead_binding k JOIN identity i ON i.id = k.identity_id JOIN account a ON a.id = k.account_id WHERE k.lead_id = q.lead) b
  CROSS JOIN LATERAL (
       SELECT array_agg(s.id ORDER BY s.at, s.id) AS ids, array_agg(s.kind ORDER BY s.at, s.id) AS kinds,
              array_agg(s.at ORDER BY s.at, s.id) AS ats, array_agg(s.class ORDER BY s.at, s.id) AS classes
         FROM signal s WHERE s.lead_id = q.lead AND s.used_at IS NULL) g OFFSET 0) v""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The lead's sticky account and identity on a channel."""

    account_id: int
    app_id: int
    identity_id: int
    identity_kind: str
    #: the identity can be contacted, as far as we know
    usable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A lead's view, the execution it came from, and what the lead is bound to."""

    view: LeadView
    execution_id: int | None
    call_deadline: datetime | None
    #: in doubt, and looked for in vain: when the provider may be asked again
    next_read_at: datetime | None
    #: where the edge was taken that led here; a negative one's deadline
    cause_node: str | None
    cause_deadline: datetime | None
    bindings: Mapping[Channel, Binding]


def views(tx: Tx, asked: Sequence[tuple[Lead, Graph]]) -> dict[int, Row]:
    """What decide() may know of the leads, read in one statement: for `seen`; by lead."""
    rows = tx.rows(
        _VIEWS,
        {
            "leads": [lead.id for lead, _ in asked],
            "actions": [sequences.action_ids(tx, lead.version_id)[lead.cursor] for lead, _ in asked],
            "visits": [lead.visits.get(lead.cursor, 1) for lead, _ in asked],
            "silences": [_asks_silence(graph.node(lead.cursor)) for lead, graph in asked],
            "channels": [_asked_channel(graph.node(lead.cursor)) for lead, graph in asked],
        },
    )
    return {row["lead_id"]: row for row in rows}


def seen(lead: Lead, row: Row) -> Seen:
    """A row of `views` as values. Raises NeedsNewerWorker where a newer release wrote it."""
    bindings = _bindings(row)
    return Seen(
        view=_view(lead, row, bindings),
        execution_id=row["execution_id"],
        call_deadline=row["call_deadline"],
        next_read_at=row["next_read_at"],
        cause_node=row["cause_node"],
        cause_deadline=row["cause_deadline"],
        bindings=bindings,
    )


def _bindings(row: Row) -> dict[Channel, Binding]:
    if row["channels"] is None:
        return {}
    columns = (
        row[name] for name in ("channels", "accounts", "apps", "identities", "identity_kinds", "usable")
    )
    return {
        Channel(channel): Binding(
            account_id=account, app_id=app, identity_id=identity, identity_kind=kind, usable=usable
        )
        for channel, account, app, identity, kind, usable in zip(*columns, strict=True)
        # On a channel that only newer code speaks, nothing of a graph that this code can read happens.
        if channel in _CHANNELS
    }


def _signals(row: Row) -> tuple[SignalView, ...]:
    if row["signal_ids"] is None:
        return ()
    columns = (row[name] for name in ("signal_ids", "signal_kinds", "signal_ats", "signal_classes"))
    return tuple(
        SignalView(
            id=id_, kind=known(SignalKind, kind), at=at, reply_class=known(ReplyClass, said) if said else None
        )
        for id_, kind, at, said in zip(*columns, strict=True)
    )


# Evidence is read for the node's own edges: the deadlines of later nodes cannot have passed yet.
def _asks_silence(node: Node) -> bool:
    return any(edge.kind is TriggerKind.NOT_REPLIED for edge in node.edges)


def _asked_channel(node: Node) -> str | None:
    """The channel whose relationships the node asks about."""
    kinds = [e.kind for e in node.edges if e.kind in NEGATIVE_TRIGGERS - {TriggerKind.NOT_REPLIED}]
    return relationship_channel(kinds[0]) if kinds else None


def relationship_channel(trigger: str | None) -> str:
    """Where one sees whether such an edge may be taken."""
    asks_linkedin = trigger == TriggerKind.CONNECTION_NOT_ACCEPTED
    return (Channel.LINKEDIN if asks_linkedin else Channel.TWITTER).value


def _view(lead: Lead, row: Row, bindings: Mapping[Channel, Binding]) -> LeadView:
    execution = None
    if row["execution_id"] is not None:
        execution = ExecutionView(
            state=known(ExecutionState, row["state"]),
            sent_at=row["sent_at"],
            reason=row["reason"],
            passed_at=row["settled_at"] if row["reason"] == LATE else None,
        )
    return LeadView(
        cursor=lead.cursor,
        entered_at=lead.entered_at,
        visits=lead.visits,
        execution=execution,
        signals=_signals(row),
        read_up_to=row["read_up_to"],
        looked_up_at=row["looked_up_at"],
        entered_by=TriggerKind(row["cause"]) if row["cause"] in _CAUSES else None,
        channels=frozenset(channel for channel, bound in bindings.items() if bound.usable),
    )


def use_signals(tx: Tx, signal_ids: Sequence[int], now: datetime) -> None:
    """An edge was taken on them."""
    if signal_ids:
        tx.write("UPDATE signal SET used_at = %s WHERE id = ANY(%s)", (now, list(signal_ids)))


def add_signal(
    tx: Tx,
    lead_id: int,
    kind: SignalKind,
    content_id: str,
    *,
    at: datetime,
    now: datetime,
    inbound_id: int | None,
    reply_class: str | None = None,
) -> bool:
    """True: the lead had not got this signal before."""
    return bool(
        tx.execute(
            "INSERT INTO signal (lead_id, kind, content_id, class, inbound_id, at, received_at) VALUES (%s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (lead_id, kind, content_id) DO NOTHING",
            (lead_id, kind.value, content_id, reply_class, inbound_id, at, now),
        )
    )


def least_read_account(tx: Tx, lead_id: int) -> tuple[int, str]:
    """Of the accounts that an answer could have gone to, the one whose inbox was read longest ago; its channel."""
    row = tx.one(
        """
        SELECT a.id, a.channel FROM listening_accounts(%s) c
          JOIN account a ON a.id = c.account_id
          LEFT JOIN watermark w ON w.account_id = a.id AND w.stream = 'inbox'
         ORDER BY w.read_up_to NULLS FIRST LIMIT 1""",
        (lead_id,),
    )
    return row["id"], row["channel"]


def unnamed_message(tx: Tx, lead_id: int) -> Row | None:
    """A message that may be theirs and keeps their silence from being proven: the account it came to, and whether the
    provider can still be asked for the id of their handle, which would tell."""
    return tx.row(
        "SELECT account_id, status = 'active' AS can_ask FROM unnamed_messages(%s) ORDER BY can_ask DESC LIMIT 1",
        (lead_id,),
    )


def relationship_binding(tx: Tx, lead_id: int, trigger: str | None) -> Row | None:
    """The account and the identity whose relationship such an edge asks about; None: the lead is on no such channel."""
    return tx.row(
        "SELECT account_id, identity_id FROM lead_binding WHERE lead_id = %s AND channel = %s",
        (lead_id, relationship_channel(trigger)),
    )


def has_signal(tx: Tx, lead_id: int, kind: SignalKind) -> bool:
    """Has the lead got one of this kind that no edge was taken on yet?"""
    found = tx.row(
        "SELECT 1 AS one FROM signal WHERE lead_id = %s AND kind = %s AND used_at IS NULL LIMIT 1",
        (lead_id, kind.value),
    )
    return found is not None


def bound_to(tx: Tx, person_id: int, account_id: int, identity_id: int) -> list[int]:
    """The person's active leads that ask after this very relationship, by id. The caller has locked the person."""
    rows = tx.rows(
        "SELECT l.id FROM lead l WHERE l.person_id = %s AND l.state = 'active' AND EXISTS (SELECT 1 FROM lead_binding b"
        " WHERE b.lead_id = l.id AND b.account_id = %s AND b.identity_id = %s) ORDER BY l.id FOR NO KEY UPDATE",
        (person_id, account_id, identity_id),
    )
    return [row["id"] for row in rows]
