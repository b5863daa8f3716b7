"""Who may be judged in one transaction: nobody on whose facts another of them bears."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.engine.graph import Graph
from outreach.engine.kinds import ActionKind
from outreach.limits.caps import parse_caps
from outreach.limits.scope import Scope
from outreach.runtime.places import Placed, apart
from outreach.runtime.prepare import Prepared
from outreach.runtime.scopes import windows_of

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
KIND = ActionKind.FOLLOW_ON_TWITTER


def scope(kind: str, id_: int, caps: str = "", pace: float = 0) -> Scope:
    return Scope(
        kind=kind,  # type: ignore[arg-type]
        id=id_,
        action_kind=KIND.value,
        caps=parse_caps(caps) if caps else (),
        pace_seconds=pace,
    )


@dataclass
class Asking:
    """Executions 1, 2, 3 ...: only whose they are and whose caps they fall under is of interest here."""

    numbers: Iterator[int]

    def __call__(self, person: int, *scopes: Scope) -> Prepared:
        number = next(self.numbers)
        return Prepared(
            execution_id=number, lead_id=number, kind=KIND, epoch=0, graph=cast(Graph, None), scopes=scopes, row={"person_id": person, "version_id": 1}
        )  # fmt: skip


@pytest.fixture
def asking() -> Asking:
    return Asking(count(1))


def rounds(asked: Sequence[Prepared]) -> list[list[int]]:
    """Transaction by transaction, until everybody was judged."""
    found, rest = [], list(asked)
    while rest:
        together, rest = apart(rest)
        found.append([placed.prepared.execution_id for placed in together])
    return found


def test_nobody_asked_is_nobody_judged() -> None:
    assert apart([]) == ([], [])


def test_strangers_of_different_accounts_are_judged_together(asking: Asking) -> None:
    asked = [asking(person, scope("account", person, "1/hour", pace=60)) for person in (1, 2, 3)]
    together, rest = apart(asked)
    assert ([placed.prepared for placed in together], rest) == (asked, [])
    assert [dict(placed.places) for placed in together] == [{one.scopes[0].name: 0} for one in asked]


def test_two_of_one_person_are_judged_one_after_the_other(asking: Asking) -> None:
    asked = [asking(person) for person in (1, 2, 1, 1, 2, 3)]
    assert rounds(asked) == [[1, 2, 6], [3, 5], [4]]


def test_two_that_keep_a_pace_are_judged_one_after_the_other(asking: Asking) -> None:
    ours, theirs = scope("account", 1, pace=60), scope("account", 2, pace=60)
    asked = [asking(person, whose) for person, whose in enumerate((ours, ours, theirs, ours))]
    assert rounds(asked) == [[1, 3], [2], [4]]


def test_a_pace_stands_apart_whatever_else_they_share(asking: Asking) -> None:
    shared, paced, free = scope("app", 1, "9/hour"), scope("account", 1, pace=60), scope("account", 2)
    asked = [asking(person, whose, shared) for person, whose in enumerate((paced, free, paced, free))]
    assert rounds(asked) == [[1, 2, 4], [3]]


def test_one_more_than_a_cap_allows_waits_for_the_next_transaction(asking: Asking) -> None:
    capped = scope("app", 1, "3/hour")
    assert rounds([asking(person, capped) for person in range(7)]) == [[1, 2, 3], [4, 5, 6], [7]]


def test_of_several_caps_the_narrowest_counts(asking: Asking) -> None:
    wide, narrow, both = (
        scope("instance", 0, "5/hour"),
        scope("account", 1, "9/hour; 2/date"),
        scope("sequence", 3, "4/day"),
    )
    assert rounds([asking(person, wide, narrow, both) for person in range(5)]) == [[1, 2], [3, 4], [5]]


def test_caps_of_one_scope_in_two_versions_count_the_same_claims(asking: Asking) -> None:
    before, after = scope("sequence", 1, "5/hour"), scope("sequence", 1, "2/hour")
    assert rounds([asking(person, whose) for person, whose in enumerate((before, before, after))]) == [
        [1, 2],
        [3],
    ]


def test_the_ledger_is_asked_for_room_for_one_more_than_stand_before(asking: Asking) -> None:
    ours, app = scope("account", 1, "4/hour; 9/day"), scope("app", 1, "6/hour")
    theirs = scope("account", 2, "5/date")
    together, rest = apart(
        [asking(person, whose, app) for person, whose in enumerate((ours, theirs, ours, theirs))]
    )
    assert rest == []
    assert [[w.window.limit for w in windows_of(p.prepared.scopes, NOON, p.places)] for p in together] == [
        [4, 9, 6],
        [5, 5],
        [3, 8, 4],
        [4, 3],
    ]


def test_the_question_carries_the_place(asking: Asking) -> None:
    capped = scope("app", 1, "3/hour")
    together, _ = apart([asking(1, capped), asking(2, capped)])
    assert [dict(placed.question.places) for placed in together] == [{capped.name: 0}, {capped.name: 1}]


# --- whoever asks for whatever -------------------------------------------------------------------------------

SCOPES = [
    [scope("account", id_, caps, pace) for id_ in (1, 2) for caps in ("", "1/hour", "3/hour; 2/date") for pace in (0, 60)],
    [scope("app", 1, caps) for caps in ("2/hour", "5/day")],
    [scope("sequence", id_, "1/hour; 4/day") for id_ in (1, 2)],
    [scope("instance", 0, caps) for caps in ("3/hour", "9/hour")],
]  # fmt: skip
asks = st.tuples(
    st.integers(1, 6),
    st.lists(st.integers(0, 3), unique=True).flatmap(lambda rooms: st.tuples(*(st.sampled_from(SCOPES[r]) for r in rooms))),
)  # fmt: skip


@given(st.lists(asks, max_size=40))
def test_whoever_asks_is_judged_once_and_nobody_bears_on_another(wanted: list[tuple[int, tuple[Scope, ...]]]) -> None:  # fmt: skip
    asking, seen = Asking(count(1)), list[int]()
    asked = [asking(person, *scopes) for person, scopes in wanted]
    rest: Sequence[Prepared] = asked
    while rest:
        before = rest
        together, rest = apart(rest)
        assert together and together[0].prepared is before[0], "the first always goes, so this ends"
        judged_alone(together)
        has_room(together)
        seen += [placed.prepared.execution_id for placed in together]
        assert [one.execution_id for one in rest] == [
            o.execution_id for o in before if o.execution_id not in seen
        ]
    assert sorted(seen) == [one.execution_id for one in asked]


def judged_alone(together: Sequence[Placed]) -> None:
    """Each person and each pace once."""
    persons = Counter(placed.prepared.row["person_id"] for placed in together)
    paces = Counter(s.name for placed in together for s in placed.prepared.scopes if s.pace)
    assert {*persons.values(), *paces.values()} <= {1}


def has_room(together: Sequence[Placed]) -> None:
    """Each is told how many stand before it in its scopes, and every cap of its leaves room for it behind them."""
    before: Counter[str] = Counter()
    for placed in together:
        assert placed.places == {s.name: before[s.name] for s in placed.prepared.scopes}
        assert all(before[s.name] < cap.limit for s in placed.prepared.scopes for cap in s.caps)
        before.update(s.name for s in placed.prepared.scopes)
