"""Compiling: every problem code, what is legal, what the graph says, what counts as the same content."""

from collections.abc import Mapping
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from outreach.content.templates import check_template
from outreach.engine.compiler import Compiled, compile_bytes, compile_definition, compile_text
from outreach.engine.definition import Definition, parse_definition
from outreach.engine.graph import Edge, Message, Variant, Window
from outreach.engine.kinds import ActionKind, TriggerKind
from outreach.engine.problems import CODES, Problem

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "outreach" / "cli" / "starters" / "sequences").glob("*.yaml"))
ALL_KINDS = ROOT / "tests" / "data" / "all-kinds.yaml"
BROKEN: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    (ROOT / "tests/data/broken-sequences.yaml").read_text("utf-8")
)
#: Codes that only bytes can earn (test_definition.py has them), and those that only a database can (test_entries.py).
FILE_CODES = {"S003", "S004", "S404", "S405", "S501"}


def check_caps(cap: str) -> str | None:
    return None if "/" in cap else f"{cap!r} is no cap."


def compiled(text: str) -> Compiled:
    found = compile_text(text, "a.yaml", check_template=check_template, check_caps=check_caps)
    assert isinstance(found, Compiled), found
    return found


def problems(text: str) -> list[Problem]:
    """Errors and warnings, whether or not the text compiles."""
    found = compile_text(text, "a.yaml", check_template=check_template, check_caps=check_caps)
    return list(found.warnings) if isinstance(found, Compiled) else found


def codes(text: str) -> list[str]:
    return [problem.code for problem in problems(text)]


def sequence(actions: str, head: str = "") -> str:
    """A file with these actions, each a line, indented here."""
    return f"sequence: a\n{head}\nactions:\n" + "".join(
        f"  {line.strip()}\n" for line in actions.strip().splitlines()
    )


# --- every code ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", BROKEN)
def test_each_kind_of_problem_is_found_alone_and_on_its_line(code: str) -> None:
    found = problems(BROKEN[code]["file"])
    assert [(p.code, p.line, p.severity) for p in found] == [(code, BROKEN[code]["at"], CODES[code][0])]
    assert BROKEN[code].get("hint", "") in (found[0].hint or "")


def test_there_is_a_broken_file_for_every_code() -> None:
    assert set(BROKEN) | FILE_CODES == set(CODES)


def test_problems_of_form_and_of_meaning_come_together() -> None:
    text = sequence(
        """
        hello: {do: SEND_TWITTER_DM, mesage: Hi, next: check}
        check: {do: CHECK_FOR_REPLY, next: [{on: REPLIED, to: thx}, {on: NOT_REPLIED, to: END}]}
        thanks: {do: SEND_TWITTER_DM, message: "Thanks, {{ first_name }}"}
        """
    )
    assert [(p.line, p.code) for p in problems(text)] == [
        (4, "S102"),
        (4, "S101"),
        (5, "S201"),
        (5, "S205"),
        (6, "S202"),
        (6, "S302"),
    ]


def test_a_misspelt_target_is_one_problem_and_not_three() -> None:
    text = sequence("hello: {do: WAIT, for: 1d, next: goodbey}\ngoodbye: {do: WAIT, for: 1d}")
    assert codes(text) == ["S201"]


def test_a_misspelt_start_still_shows_what_else_is_wrong() -> None:
    text = sequence("one: {do: WAIT, for: 1d, next: two}\ntwo: {do: WAIT, for: 1d}", "start: oen")
    assert codes(text) == ["S201"]


def test_an_unreadable_template_hides_no_unused_variable_behind_it() -> None:
    text = sequence("hello: {do: SEND_TWITTER_DM, message: '{{ name '}", "variables: {name: there}")
    assert codes(text) == ["S301"]


# --- what is legal ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*EXAMPLES, ALL_KINDS], ids=lambda path: path.stem)
def test_the_examples_compile_without_a_warning(path: Path) -> None:
    found = compile_bytes(path.read_bytes(), path.name, check_template=check_template, check_caps=check_caps)
    assert isinstance(found, Compiled), found
    assert found.warnings == ()
    assert found.graph.sequence == path.stem


def test_the_example_in_the_guide_compiles_without_a_warning() -> None:
    guide = (ROOT / "docs" / "sequences.md").read_text("utf-8")
    whole = guide.split("## A whole file")[1].split("```yaml\n")[1].split("```")[0]
    assert compiled(whole).warnings == ()


def test_every_kind_reaches_the_graph() -> None:
    graph = compiled(ALL_KINDS.read_text("utf-8")).graph
    assert {node.kind for node in graph.nodes.values()} == set(ActionKind)
    assert {edge.kind for node in graph.nodes.values() for edge in node.edges} == set(TriggerKind)


@pytest.mark.parametrize(
    "actions",
    [
        "one: {do: WAIT, for: 1d, next: two}\ntwo: {do: BRANCH, next: [{on: REPLIED, to: END}, one]}",
        "one: {do: BRANCH, next: [{on: REPLIED, to: END}, {to: two, after: 1d}]}\ntwo: {do: BRANCH, next: one}",
        "one: {do: CHECK_FOR_REPLY, next: [{on: REPLIED, to: END}, {on: NOT_REPLIED, after: 1s, to: one}]}",
        "one: {do: CHECK_FOR_REPLY, next: [{on: REPLIED, to: END}, {on: TIMEOUT, after: 9d, to: one}]}",
    ],
)
def test_a_cycle_that_takes_time_is_legal(actions: str) -> None:
    assert codes(sequence(actions)) == []


@pytest.mark.parametrize(
    "actions",
    [
        "one: {do: BRANCH, next: [{on: REPLIED, to: END}, one]}",
        "one: {do: WAIT, for: 0s, next: [{on: REPLIED, to: END}, one]}",
        "one: {do: FOLLOW_ON_TWITTER, next: [{on: FAILED, to: one}]}",
        "one: {do: WAIT, for: 1d, next: [two, {on: REPLIED, to: END}]}\ntwo: {do: BRANCH, next: three}\nthree: {do: BRANCH, next: two}",
        # one way round waits, the other does not
        "one: {do: CHECK_FOR_REPLY, next: [{on: REPLIED, to: two}, {on: NOT_REPLIED, after: 2d, to: two}]}\n"
        "two: {do: BRANCH, next: [one, {on: NEGATIVE_REPLY, to: END}]}",
    ],
)
def test_a_cycle_that_can_be_gone_round_in_no_time_is_not(actions: str) -> None:
    assert "S203" in codes(sequence(actions))


def test_two_separate_cycles_are_two_problems() -> None:
    text = sequence(
        """
        one: {do: BRANCH, next: [{on: REPLIED, to: two}, {on: NEGATIVE_REPLY, to: three}, {on: END}]}
        two: {do: BRANCH, next: [two, {on: REPLIED, to: END}]}
        three: {do: BRANCH, next: [four, {on: REPLIED, to: END}]}
        four: {do: BRANCH, next: three}
        """
    )
    found = [p.message for p in problems(text) if p.code == "S203"]
    assert found == ["The cycle two → two takes no time.", "The cycle three → four → three takes no time."]


def test_an_action_without_next_ends_there() -> None:
    found = compiled(sequence("one: {do: WAIT, for: 1d, next: two}\ntwo: {do: WAIT, for: 1d}"))
    assert found.graph.nodes["two"].edges == ()
    assert found.warnings == ()


def test_an_action_that_leads_on_only_when_it_fails_ends_there_too() -> None:
    text = sequence(
        "one: {do: FOLLOW_ON_TWITTER, next: [{on: FAILED, to: two}]}\ntwo: {do: WAIT, for: 1d, next: one}"
    )
    assert codes(text) == []


def test_an_edge_is_not_doubted_where_what_comes_before_it_could_not_be_read() -> None:
    text = sequence(
        "one: {do: FOLOW_ON_TWITTER, next: two}\n"
        "two: {do: CHECK_FOR_REPLY, next: [{on: FOLLOWED_BACK, to: END}, {to: END, after: 1d}]}"
    )
    assert codes(text) == ["S105"]


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ("[{on: NOT_REPLIED, after: 3d, to: END}, {on: TIMEOUT, after: 3d, to: END}]", []),
        ("[{on: TIMEOUT, after: 3d, to: END}, {on: NOT_REPLIED, after: 3d, to: END}]", ["S211"]),
        ("[{on: TIMEOUT, after: 4d, to: END}, {on: NOT_REPLIED, after: 3d, to: END}]", []),
        ("[{on: REPLIED, to: END}, {after: 3d, to: END}]", []),
        ("[{on: REPLIED, to: END}, END]", []),
        ("[{on: END}, {to: END, after: 1d}]", ["S207"]),
    ],
)
def test_the_sooner_edge_wins_and_of_two_at_once_the_first(edges: str, expected: list[str]) -> None:
    assert codes(sequence(f"one: {{do: CHECK_FOR_REPLY, next: {edges}}}")) == expected


def test_a_signal_has_no_time_to_come_when_a_send_leads_on_at_once() -> None:
    text = sequence("one: {do: FOLLOW_ON_TWITTER, next: [{on: FOLLOWED_BACK, to: END}, END]}")
    assert codes(text) == ["S211"]


@pytest.mark.parametrize(
    ("action", "edge", "fits"),
    [
        ("FOLLOW_ON_TWITTER", "FOLLOWED_BACK", True),
        ("UNFOLLOW_ON_TWITTER", "FOLLOWED_BACK", True),
        ("SEND_CONNECTION_REQUEST", "FOLLOWED_BACK", False),
        ("SEND_CONNECTION_REQUEST", "CONNECTION_ACCEPTED", True),
        ("FOLLOW_ON_TWITTER", "CONNECTION_ACCEPTED", False),
        ("SEND_CONNECTION_REQUEST", "REPLIED_TO_NOTE", False),
        ("FOLLOW_ON_TWITTER", "BOUNCED", False),
        ("CHECK_FOR_REPLY", "FAILED", False),
        ("CHECK_FOR_REPLY", "REPLIED", True),
        ("FOLLOW_ON_TWITTER", "FAILED", True),
    ],
)
def test_an_edge_is_doubted_where_nothing_before_it_can_cause_it(action: str, edge: str, fits: bool) -> None:
    text = sequence(f"one: {{do: {action}, next: [{{on: {edge}, to: END}}, {{to: END, after: 1d}}]}}")
    assert codes(text) == ([] if fits else ["S208"])


# --- the graph -------------------------------------------------------------------------------------------------


def test_the_graph_says_what_the_file_says() -> None:
    found = compiled(
        """
sequence: full
on_reply: continue
exclude_already_contacted: true
window: {days: mon-tue, from: "08:30", until: "12:00", zone: Europe/Vienna}
caps: {SEND_EMAIL: " 8/hour ;40/date; "}
variables: {name: " there "}
opt_out: "Say STOP. "
start: mail
actions:
  rest: {do: WAIT, for: 2d}
  mail:
    do: SEND_EMAIL
    message:
      subject: For {{ name }}
      body: |

        Hello {{ name }}.
        {{ opt_out }}

      fallback: "{{ opt_out }}"
    next: {on: NOT_REPLIED, after: 1w, to: rest}
"""
    ).graph
    assert (found.sequence, found.start, found.on_reply, found.exclude_already_contacted) == (
        "full",
        "mail",
        "continue",
        True,
    )
    assert found.window == Window(days=(0, 1), start=time(8, 30), end=time(12), zone="Europe/Vienna")
    assert (found.caps, found.defaults) == ({"SEND_EMAIL": "8/hour;40/date"}, {"name": "there"})
    assert found.opt_out_line == "Say STOP."
    assert found.nodes["rest"].wait == timedelta(days=2)
    assert found.nodes["mail"].edges == (
        Edge(kind=TriggerKind.NOT_REPLIED, to="rest", after=timedelta(weeks=1)),
    )
    body = "Hello {{ name }}.\n{{ opt_out }}"
    variant = Variant(key="a", weight=1, body=body, subject="For {{ name }}")
    assert found.nodes["mail"].message == Message(variants=(variant,), fallback="{{ opt_out }}")


def test_compiling_a_parsed_definition_gives_the_same_as_compiling_its_text() -> None:
    text = ALL_KINDS.read_text("utf-8")
    definition = parse_definition(text, "a.yaml")
    assert isinstance(definition, Definition)
    again = compile_definition(definition, check_template=check_template, check_caps=check_caps)
    assert again == compiled(text)


@pytest.mark.parametrize(
    "same",
    [
        "sequence: a\ntitle: Other\nactions: {b: {do: WAIT, for: 24h, next: c}, c: {do: BRANCH}}",
        "# comment\nsequence: 'a'\nstart: b\nactions:\n  c: {do: BRANCH}\n  b: {next: {to: c, after: 0s}, for: 1d, do: WAIT}",
    ],
)
def test_the_hash_forgets_spelling_and_order(same: str) -> None:
    text = "sequence: a\nactions: {b: {do: WAIT, for: 1d, next: c}, c: {do: BRANCH}}"
    assert compiled(same).content_hash == compiled(text).content_hash


@pytest.mark.parametrize(
    "other",
    [
        "sequence: b\nactions: {b: {do: WAIT, for: 1d, next: c}, c: {do: BRANCH}}",
        "sequence: a\nactions: {b: {do: WAIT, for: 2d, next: c}, c: {do: BRANCH}}",
        "sequence: a\non_reply: continue\nactions: {b: {do: WAIT, for: 1d, next: c}, c: {do: BRANCH}}",
        "sequence: a\nactions: {b: {do: WAIT, for: 1d, next: c}, c: {do: CHECK_FOR_REPLY}}",
    ],
)
def test_the_hash_remembers_what_leads_go_through(other: str) -> None:
    text = "sequence: a\nactions: {b: {do: WAIT, for: 1d, next: c}, c: {do: BRANCH}}"
    assert compiled(other).content_hash != compiled(text).content_hash
