"""How late a step may be: what an author writes, what the graph says, and what is said of mistakes."""

from datetime import time, timedelta

import pytest

from outreach.content.templates import check_template
from outreach.engine.compiler import Compiled, compile_text
from outreach.engine.graph import Lateness, Window
from outreach.engine.kinds import IfLate
from outreach.engine.lateness import longest_closure
from outreach.engine.mermaid import graph_to_mermaid
from outreach.engine.problems import Problem

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SKIP, ASK = IfLate.SKIP, IfLate.ASK


def _compile(head: str, *actions: str) -> Compiled | list[Problem]:
    text = f"sequence: a\n{head}\nactions:\n" + "".join(f"  {line}\n" for line in actions)
    return compile_text(text, "a.yaml", check_template=check_template, check_caps=lambda _: None)


def compiled(head: str, *actions: str) -> Compiled:
    found = _compile(head, *actions)
    assert isinstance(found, Compiled), found
    return found


def lateness(head: str, action: str) -> Lateness | None:
    """Of the one action, which is a follow with these further keys."""
    node = compiled(head, f"one: {{do: FOLLOW_ON_TWITTER{action}}}").graph.nodes["one"]
    return node.lateness


def problems(head: str, *actions: str) -> list[tuple[int, str, str]]:
    found = _compile(head, *actions)
    every = found.warnings if isinstance(found, Compiled) else found
    return [(p.line, p.code, p.path) for p in every]


@pytest.mark.parametrize(
    ("head", "action", "expected"),
    [
        ("", "", None),
        ("", ", max_lateness: 2d", Lateness(after=2 * DAY, then=SKIP)),
        ("", ", max_lateness: 2d, if_late: ask", Lateness(after=2 * DAY, then=ASK)),
        ("max_lateness: 3d", "", Lateness(after=3 * DAY, then=SKIP)),
        ("max_lateness: 3d\nif_late: ask", "", Lateness(after=3 * DAY, then=ASK)),
        ("max_lateness: 3d\nif_late: ask", ", if_late: skip", Lateness(after=3 * DAY, then=SKIP)),
        ("max_lateness: 3d\nif_late: ask", ", max_lateness: 1h", Lateness(after=HOUR, then=ASK)),
        ("if_late: ask", ", max_lateness: 1h", Lateness(after=HOUR, then=ASK)),
        ("max_lateness: 3d", ", max_lateness: none", None),
        ("max_lateness: none", ", max_lateness: 1h", Lateness(after=HOUR, then=SKIP)),
        ("if_late: ask", "", None),
    ],
)
def test_an_action_has_its_own_limit_else_the_sequences(
    head: str, action: str, expected: Lateness | None
) -> None:
    assert lateness(head, action) == expected


def test_what_sends_nothing_is_never_late() -> None:
    graph = compiled("max_lateness: 3d", "one: {do: WAIT, for: 1d}").graph
    assert graph.nodes["one"].lateness is None


def test_only_a_graph_that_says_it_needs_workers_that_know_it() -> None:
    assert compiled("", "one: {do: FOLLOW_ON_TWITTER}").graph.format == 1
    assert compiled("max_lateness: 1d", "one: {do: WAIT, for: 1d}").graph.format == 1
    assert compiled("max_lateness: 1d", "one: {do: FOLLOW_ON_TWITTER}").graph.format == 2


@pytest.mark.parametrize(
    ("head", "action", "expected"),
    [
        ("", "{do: FOLLOW_ON_TWITTER, max_lateness: soon}", [(4, "S107", "actions.one.max_lateness")]),
        ("", "{do: FOLLOW_ON_TWITTER, max_lateness: 0s}", [(4, "S107", "actions.one.max_lateness")]),
        ("", "{do: FOLLOW_ON_TWITTER, max_lateness: [1d]}", [(4, "S103", "actions.one.max_lateness")]),
        ("", "{do: FOLLOW_ON_TWITTER, max_lateness: 1d, if_late: send}", [(4, "S108", "actions.one.if_late")]),
        ("", "{do: FOLLOW_ON_TWITTER, if_late: ask}", [(4, "S102", "actions.one.max_lateness")]),
        ("", "{do: FOLLOW_ON_TWITTER, max_lateness: none, if_late: ask}", [(4, "S102", "actions.one.max_lateness")]),
        ("", "{do: FOLLOW_ON_TWITTER, max_lateness: x, if_late: ask}", [(4, "S107", "actions.one.max_lateness")]),
        ("", "{do: WAIT, for: 1d, max_lateness: 1d}", [(4, "S111", "actions.one.max_lateness")]),
        ("", "{do: BRANCH, if_late: ask}", [(4, "S111", "actions.one.if_late")]),
        ("max_lateness: 2 days", "{do: FOLLOW_ON_TWITTER}", [(2, "S107", "max_lateness")]),
        ("if_late: perhaps", "{do: FOLLOW_ON_TWITTER, max_lateness: 1d}", [(2, "S108", "if_late")]),
    ],
)  # fmt: skip
def test_a_mistake_is_said_once_and_in_its_place(
    head: str, action: str, expected: list[tuple[int, str, str]]
) -> None:
    assert problems(head, f"one: {action}") == expected


def test_the_message_after_one_that_may_be_passed_over_may_be_the_first_and_says_how_to_be_left_alone() -> (
    None
):
    first = "one: {do: SEND_TWITTER_DM, message: Reply STOP to stop., next: two}"
    late = "one: {do: SEND_TWITTER_DM, max_lateness: 1d, message: Reply STOP to stop., next: two}"
    second = "two: {do: SEND_TWITTER_DM, message: Hello again}"
    assert problems("", first, second) == []
    assert problems("", late, second) == [(5, "S304", "actions.two.message")]


# --- the window --------------------------------------------------------------------------------------------------


def test_a_limit_that_every_weekend_breaks_is_warned_of_once() -> None:
    window = "window: {days: mon-fri}"
    one, two = "one: {do: FOLLOW_ON_TWITTER, next: two}", "two: {do: UNFOLLOW_ON_TWITTER}"
    assert problems(f"{window}\nmax_lateness: 2d15h", one, two) == [(3, "S114", "max_lateness")]
    assert problems(f"{window}\nmax_lateness: 2d16h", one, two) == []
    assert problems("max_lateness: 1h", one, two) == []


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(), 2 * DAY + 15 * HOUR),
        (Window(days=(0, 1, 2, 3, 4, 5, 6)), 15 * HOUR),
        (Window(days=(2,)), 7 * DAY - 9 * HOUR),
        (Window(days=(0, 1, 2, 3, 4, 5, 6), start=time(22), end=time(6)), 16 * HOUR),
        (Window(days=(0, 1, 2, 3, 4, 5, 6), start=time(9), end=time(9)), timedelta(0)),
        (Window(days=()), timedelta(0)),
    ],
)
def test_how_long_a_window_stays_closed(window: Window, expected: timedelta) -> None:
    assert longest_closure(window) == expected


def test_the_drawing_shows_it() -> None:
    graph = compiled("", "one: {do: FOLLOW_ON_TWITTER, max_lateness: 1d12h, if_late: ask}").graph
    assert 'n1["one<br/>FOLLOW_ON_TWITTER<br/>1d12h late: ask"]' in graph_to_mermaid(graph)
