"""prepare: read and render a planned execution, without a lock. T1 believes nothing of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from outreach.content.rendering import Missing, Rendered, TooLong, compose
from outreach.engine.graph import Graph
from outreach.engine.kinds import ActionKind, ExecutionState, known
from outreach.engine.messages import BODY_LIMITS
from outreach.errors import NeedsNewerWorker
from outreach.limits.scope import Scope
from outreach.models import claims, reviews, sequences
from outreach.models.base import Row, Tx
from outreach.models.reviews import Approvals
from outreach.providers.base import fingerprint
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.hints import Hint
from outreach.runtime.scopes import scopes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Ready to be claimed, as far as an unlocked read can tell."""

    execution_id: int
    lead_id: int
    kind: ActionKind
    epoch: int
    graph: Graph
    scopes: tuple[Scope, ...]
    row: Row
    #: too late as far as this process's clock can tell: T1 says what becomes of it, and nothing is sent
    late: bool = False
    #: nobody has read it yet, as far as an unlocked read can tell: T1 puts it before somebody, and nothing is sent
    unread: bool = False
    body: str | None = None
    subject: str | None = None

    @property
    def pays(self) -> bool:
        """What is not going to be sent costs no room, so it waits for none."""
        return not (self.late or self.unread)

    @property
    def body_hash(self) -> str | None:
        return None if self.body is None else fingerprint(self.body)

    def again(self) -> Hint:
        """Start over with this execution."""
        return hints.perform(self.kind, self.execution_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRenderable:
    """The lead lacks variables that nothing stands in for, or the text is too long."""

    execution_id: int
    lead_id: int
    missing: tuple[str, ...] = ()
    too_long: str | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to do here (any more): a hint that came late, twice, or from nowhere."""

    hints: list[Hint] = field(default_factory=list)


#: Clocks of processes differ a little: what is due within this (real seconds) is left to T1 to judge.
_EARLY_SECONDS = 0.05


def prepare(ctx: Context, execution_id: int) -> Prepared | NotRenderable | Nothing:
    """Everything a claim needs."""
    return prepare_all(ctx, [execution_id])[0]


def prepare_all(ctx: Context, execution_ids: Sequence[int]) -> list[Prepared | NotRenderable | Nothing]:
    """The same for several, in one read-only transaction."""
    return [_prepared(ctx, *read) for read in _read_all(ctx, execution_ids)]


def _prepared(
    ctx: Context, row: Row | None, graph: Graph | None, review: Approvals | None
) -> Prepared | NotRenderable | Nothing:
    if row is None or row["state"] != ExecutionState.PLANNED.value or row["lead_state"] != "active":
        return Nothing()
    now = ctx.clock.now()
    if row["due_at"] > now + ctx.machine(_EARLY_SECONDS):
        return Nothing()  # deferred meanwhile: a doubled hint must not pay for it at the limiter
    if graph is None:
        return Nothing([hints.advance(row["lead_id"])])
    try:
        late = row["late_at"] is not None and row["late_at"] <= now
        prepared = _rendered(row, graph, late=late)
    except NeedsNewerWorker:
        return Nothing([hints.advance(row["lead_id"])])
    if review is not None and isinstance(prepared, Prepared):
        return replace(prepared, unread=review.body_hash is None or review.body_hash != prepared.body_hash)
    return prepared


#: What is read of one: models.claims.prepare's row, its graph (none where only newer code can read it), and the OKs that its version
#: still lacks (none where it lacks none, or this is no message).
_Read = tuple[Row | None, Graph | None, Approvals | None]


def _read_all(ctx: Context, execution_ids: Sequence[int]) -> list[_Read]:
    def work(tx: Tx) -> list[_Read]:
        rows = claims.prepare_all(tx, execution_ids)
        graphs = {id_: _graph(tx, row) for id_, row in rows.items()}
        asking = {
            id_: (rows[id_]["version_id"], graph.review_first)
            for id_, graph in graphs.items()
            if graph is not None
            and graph.review_first
            and graph.node(rows[id_]["cursor"]).message is not None
        }
        found = reviews.pending(tx, asking) if asking else {}
        return [(rows.get(id_), graphs.get(id_), found.get(id_)) for id_ in execution_ids]

    return ctx.db.run(work)


def _graph(tx: Tx, row: Row) -> Graph | None:
    try:
        return sequences.graph_of(tx, row["version_id"])
    except NeedsNewerWorker:
        return None


def _rendered(row: Row, graph: Graph, late: bool) -> Prepared | NotRenderable:
    kind = known(ActionKind, row["kind"])
    text = None if late else render_for(row, graph)
    if isinstance(text, Missing):
        return NotRenderable(
            execution_id=row["execution_id"], lead_id=row["lead_id"], missing=text.names or ("(empty text)",)
        )
    if isinstance(text, TooLong):
        return NotRenderable(
            execution_id=row["execution_id"],
            lead_id=row["lead_id"],
            too_long=f"{text.length} characters of {text.limit}",
        )
    return Prepared(
        execution_id=row["execution_id"],
        lead_id=row["lead_id"],
        kind=kind,
        epoch=row["epoch"],
        graph=graph,
        scopes=scopes_of(row, graph),
        row=row,
        late=late,
        body=text.text if text else None,
        subject=text.subject if text else None,
    )


def render_for(row: Row, graph: Graph) -> Rendered | Missing | TooLong | None:
    """The node's text for this lead in its variant; None for an action without words. `row` is models.claims.prepare's."""
    node = graph.node(row["cursor"])
    if node.message is None:
        return None
    variant = next((v for v in node.message.variants if v.key == row["variant"]), node.message.variants[0])
    return compose(
        body=variant.body,
        subject=variant.subject,
        fallback=node.message.fallback,
        values=values_of(row, graph),
        defaults=graph.defaults,
        max_length=BODY_LIMITS.get(node.kind),
    )


def body_hash_of(row: Row, graph: Graph) -> str | None:
    """Of the text that would be sent; None: there is none, or it cannot be rendered."""
    text = render_for(row, graph)
    return fingerprint(text.text) if isinstance(text, Rendered) else None


def values_of(row: Row, graph: Graph) -> dict[str, str]:
    """What templates may use: the lead's frozen attributes and the engine's own words."""
    data = {str(k): str(v) for k, v in row["data"].items() if v is not None}
    return data | {
        "opt_out": graph.opt_out_line,
        "sender_name": row["handle"] or row["account_name"],
        "sequence": row["sequence_name"],
    }
