"""What differs between a published graph and a file: words alone, or more; and for whom words come in time."""

import pytest

from outreach.engine.compiler import Compiled
from outreach.engine.rewording import Rewording, more_than_words, reworded_nodes, rewordings, still_ahead
from outreach.runtime.publish import check

BASE = """
sequence: hello
variables: {city: your town}
max_lateness: 3d
requires: [name]
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{to: say, after: 1d}]}
  say:
    do: SEND_TWITTER_DM
    message:
      variants:
        a: {weight: 1, body: "Hello from {{ city }}. {{ opt_out }}"}
        b: {weight: 2, body: "Good day. {{ opt_out }}"}
    next: [{to: listen}]
  listen:
    do: CHECK_FOR_REPLY
    next:
      - {on: REPLIED, to: END}
      - {on: NOT_REPLIED, after: 2d, to: again}
  again: {do: SEND_TWITTER_DM, message: {body: "And {{ name }}? {{ opt_out }}", fallback: "And you? {{ opt_out }}"}}
"""


def compiled(text: str) -> Compiled:
    found = check(text.encode(), "hello.yaml")
    assert isinstance(found, Compiled), found
    return found


def edited(old: str, new: str) -> Compiled:
    assert old in BASE
    return compiled(BASE.replace(old, new))


OLD = compiled(BASE).graph


@pytest.mark.parametrize(
    ("old", "new", "node", "part"),
    [
        ("Good day.", "Good evening.", "say", "b"),
        ("Hello from", "Hi from", "say", "a"),
        ("And you?", "And what of you?", "again", "fallback"),
        ("your town", "your city", None, "city"),
    ],
)
def test_words_are_words(old: str, new: str, node: str | None, part: str) -> None:
    file = edited(old, new)
    assert more_than_words(OLD, file) == []
    (one,) = rewordings(OLD, file.graph)
    assert (one.node, one.part) == (node, part)


def test_the_opt_out_line_is_words_of_every_text_that_has_it() -> None:
    file = edited("sequence: hello", "sequence: hello\nopt_out: Write STOP and you hear no more of me.")
    assert more_than_words(OLD, file) == []
    changes = rewordings(OLD, file.graph)
    assert [one.part for one in changes] == ["opt_out"]
    assert reworded_nodes(changes, file.graph) == {"say", "again"}


def test_a_default_is_words_of_the_texts_that_use_it() -> None:
    change = Rewording(node=None, part="city", old="a", new="b")
    assert reworded_nodes([change], OLD) == {"say"}


@pytest.mark.parametrize(
    ("old", "new", "line", "path"),
    [
        ("weight: 2", "weight: 3", 8, "actions.say"),
        ("        b: {w", "        c: {w", 8, "actions.say"),
        ("after: 1d", "after: 2d", 7, "actions.follow"),
        ("{on: REPLIED, to: END}", "{on: REPLIED, to: again}", 15, "actions.listen"),
        (', fallback: "And you? {{ opt_out }}"', "", 20, "actions.again"),
        ("max_lateness: 3d", "max_lateness: 4d", 7, "actions.follow"),
        ("variables: {city: your town}", "variables: {city: your town, name: you}", 1, "variables"),
        ("max_lateness: 3d", "max_lateness: 3d\non_reply: continue", 1, "on_reply"),
        ("max_lateness: 3d", "max_lateness: 3d\nreview_first: 5", 1, "review_first"),
        ("max_lateness: 3d", "max_lateness: 3d\ncaps: {SEND_TWITTER_DM: 3/day}", 5, "caps"),
    ],
)
def test_anything_else_is_refused_where_it_stands(old: str, new: str, line: int, path: str) -> None:
    problems = more_than_words(OLD, edited(old, new))
    assert (problems[0].code, problems[0].line, problems[0].path) == ("S501", line, path)


def test_an_action_that_is_new_or_gone_is_refused() -> None:
    gone = compiled(BASE[: BASE.index("      - {on: NOT_REPLIED")])
    assert "The action again is gone." in [p.message for p in more_than_words(OLD, gone)]
    assert "The action again is new." in [p.message for p in more_than_words(gone.graph, compiled(BASE))]


def test_an_action_of_another_kind_is_refused() -> None:
    other = edited("do: FOLLOW_ON_TWITTER", "do: UNFOLLOW_ON_TWITTER")
    assert [p.message for p in more_than_words(OLD, other)] == ["follow: it is another kind of action."]


@pytest.mark.parametrize(
    ("cursor", "begun", "ahead"),
    [
        ("follow", False, {"follow", "say", "listen", "again"}),
        ("say", False, {"say", "listen", "again"}),
        ("say", True, {"listen", "again"}),
        ("again", True, set()),
    ],
)
def test_what_is_ahead_of_a_lead(cursor: str, begun: bool, ahead: set[str]) -> None:
    assert still_ahead(OLD, cursor, begun=begun) == ahead


def test_in_a_circle_what_is_done_is_ahead_again() -> None:
    circle = compiled(
        "sequence: circle\nactions:\n"
        "  say: {do: SEND_TWITTER_DM, message: 'Hi. {{ opt_out }}', next: [{to: rest}]}\n"
        "  rest: {do: WAIT, for: 7d, next: [{on: NORMAL_EDGE, to: say}, {on: REPLIED, to: END}]}\n"
    )
    assert still_ahead(circle.graph, "say", begun=True) == {"rest", "say"}
