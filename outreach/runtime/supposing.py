"""Steps that are only supposed: the gate's facts about people who are not enrolled. Reads only; not an entry point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.compliance.facts import Facts
from outreach.content.rendering import Missing, Rendered, TooLong
from outreach.engine.graph import Graph, Node
from outreach.engine.kinds import MESSAGE_KINDS
from outreach.engine.variants import choose
from outreach.errors import NotFound
from outreach.limits.scope import Scope
from outreach.models import accounts, instance, sequences, supposed
from outreach.models.base import Row, Tx
from outreach.models.claims import Asked
from outreach.runtime.context import Context
from outreach.runtime.enroll import Senders, channels_of, find_senders
from outreach.runtime.prepare import render_for
from outreach.runtime.reading import Question, facts_of
from outreach.runtime.scopes import pace_of, scopes_of, windows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What is the same for everybody: who would send, and under which sequence."""

    graph: Graph
    senders: Senders
    accounts: Mapping[int, Row]
    #: None: not published yet
    sequence_id: int | None
    instance_caps: Mapping[str, str]

    def account_of(self, node: Node, person_id: int) -> Row:
        """The account that would speak to this person here. The node has a channel."""
        assert node.channel is not None
        return self.accounts[self.senders.choose(node.channel.value, person_id)]

    def scopes(self, node: Node, account: Row) -> tuple[Scope, ...]:
        """All scopes whose caps a step of this node by this account falls under."""
        row: dict[str, Any] = {
            "kind": node.kind.value, "channel": account["channel"], "account_id": account["id"], "account_zone": account["zone"],
            "account_caps": account["caps"], "account_pace": account["pace"], "app_id": account["app_id"], "app_caps": account["app_caps"],
            "sequence_id": self.sequence_id or 0, "instance_caps": self.instance_caps,
        }  # fmt: skip
        return scopes_of(row, self.graph)


def read_house(tx: Tx, graph: Graph, account_names: Sequence[str], pools: Sequence[str]) -> House:
    """Raises UsageError for a channel that nobody speaks on."""
    return House(
        graph=graph,
        senders=find_senders(tx, channels_of(graph), account_names, pools),
        accounts={row["id"]: row for row in accounts.listed(tx)},
        sequence_id=_sequence_id(tx, graph.sequence),
        instance_caps=instance.read(tx).caps,
    )


def _sequence_id(tx: Tx, name: str) -> int | None:
    try:
        return int(sequences.find(tx, name)["id"])
    except NotFound:
        return None  # a file that was never published


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One node for one person. `identity_id` None: no handle on its channel."""

    node: Node
    person_id: int
    identity_id: int | None


def read_supposed(
    ctx: Context, tx: Tx, house: House, steps: Sequence[Step], now: datetime, *, caps: bool
) -> list[Facts]:
    """The facts that T1 would judge each on if it were planned and due now. `caps` False: leave caps and pace out."""
    scopes = [
        house.scopes(step.node, house.account_of(step.node, step.person_id)) if caps else () for step in steps
    ]
    windows = [windows_of(one, now) for one in scopes]
    asked = []
    for i, step in enumerate(steps):
        account = house.account_of(step.node, step.person_id)
        assert step.node.channel is not None
        asked.append(
            supposed.Supposed(
                asked=Asked(
                    execution_id=-1 - i,
                    windows=[w.window for w in windows[i]],
                    pace_since=now - pace_of(scopes[i]),
                ),
                person_id=step.person_id,
                identity_id=step.identity_id,
                account_id=account["id"],
                app_id=account["app_id"],
                sequence_id=house.sequence_id,
                cursor=step.node.key,
                kind=step.node.kind.value,
                channel=step.node.channel.value,
            )
        )
    rows = supposed.facts(tx, asked, now=now, message_kinds=[k.value for k in MESSAGE_KINDS])
    questions = [
        Question(
            execution_id=one.asked.execution_id, graph=house.graph, version_id=None, scopes=scopes[i], epoch=0
        )
        for i, one in enumerate(asked)
    ]
    return [facts_of(ctx, rows[q.execution_id], q, windows[i], now, None) for i, q in enumerate(questions)]


def text_for(
    house: House, node: Node, person_id: int, data: Mapping[str, Any], variant: str | None = None
) -> Rendered | Missing | TooLong | None:
    """The node's text for this person in the variant they would get, or in the one named."""
    assert node.message is not None
    account = house.account_of(node, person_id)
    row = {
        "cursor": node.key, "variant": variant or choose(node.message, person_id=person_id, node_key=node.key).key, "data": data,
        "handle": account["handle"], "account_name": account["name"], "sequence_name": house.graph.sequence,
    }  # fmt: skip
    return render_for(row, house.graph)
