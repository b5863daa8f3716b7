"""`task: {expires: …}`: what may be written, where it is wrong, and that it changes no graph that says nothing of it."""

from datetime import timedelta

import pytest

from outreach.content.templates import check_template
from outreach.engine.codec import graph_from_json, graph_hash, graph_to_json
from outreach.engine.compiler import Compiled, compile_text
from outreach.engine.graph import TASK_EXPIRES, Graph
from outreach.engine.problems import Problem

DAY = timedelta(days=1)


def compiled(action: str) -> Compiled | list[Problem]:
    text = f"sequence: a\nactions:\n  first: {{{action}}}\n"
    return compile_text(text, "a.yaml", check_template=check_template, check_caps=lambda _: None)


def graph(action: str) -> Graph:
    found = compiled(action)
    assert isinstance(found, Compiled), found
    return found.graph


@pytest.mark.parametrize(
    ("written", "expires"),
    [
        ("", TASK_EXPIRES),
        (", task: {}", TASK_EXPIRES),
        (", task: {expires: 3d}", 3 * DAY),
        (", task: {expires: 1d12h}", 1.5 * DAY),
        (", task: {expires: never}", None),
    ],
)
def test_what_is_written_is_what_holds_and_survives_being_stored(
    written: str, expires: timedelta | None
) -> None:
    made = graph(f"do: FOLLOW_ON_TWITTER{written}")
    assert made.node("first").task_expires == expires
    assert graph_from_json(graph_to_json(made)) == made
    assert made.format == 1


def test_who_says_nothing_of_it_keeps_the_hash_they_had() -> None:
    plain = graph("do: FOLLOW_ON_TWITTER")
    assert "task" not in graph_to_json(plain)["nodes"][0]
    assert graph_hash(plain) == graph_hash(graph("do: FOLLOW_ON_TWITTER, task: {expires: 2w}"))
    assert graph_hash(plain) != graph_hash(graph("do: FOLLOW_ON_TWITTER, task: {expires: never}"))


@pytest.mark.parametrize(
    ("action", "code", "path"),
    [
        ("do: WAIT, for: 1d, task: {expires: 1d}", "S111", "actions.first.task"),
        ("do: CHECK_FOR_REPLY, task: {expires: 1d}", "S111", "actions.first.task"),
        ("do: FOLLOW_ON_TWITTER, task: {expires: 0s}", "S107", "actions.first.task.expires"),
        ("do: FOLLOW_ON_TWITTER, task: {expires: soon}", "S107", "actions.first.task.expires"),
        ("do: FOLLOW_ON_TWITTER, task: {expire: 1d}", "S101", "actions.first.task.expire"),
        ("do: FOLLOW_ON_TWITTER, task: 3d", "S103", "actions.first.task"),
    ],
)
def test_what_is_wrong_is_found_where_it_stands(action: str, code: str, path: str) -> None:
    found = compiled(action)
    assert isinstance(found, list)
    assert [(p.code, p.path, p.line) for p in found if p.code == code] == [(code, path, 3)]
