"""What the graph alone says of who may come where."""

from decimal import Decimal

import pytest

from outreach.engine.graph import Graph
from outreach.engine.kinds import Channel
from outreach.engine.paths import after_a_message, after_an_answer, most_on_one_way, reached
from outreach.runtime.publish import check

BRANCHED = """
sequence: branched
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{to: hello}, {on: FAILED, to: letter}]}
  hello: {do: SEND_TWITTER_DM, message: "Hi. {{ opt_out }}", next: [{to: check}, {on: FAILED, to: letter}]}
  letter: {do: SEND_EMAIL, message: {subject: A, body: "Hi. {{ opt_out }}"}}
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: NOT_REPLIED, after: 2d, to: again}
  thanks: {do: SEND_TWITTER_DM, message: "Thanks. {{ opt_out }}", next: last}
  again: {do: SEND_TWITTER_DM, message: "Again? {{ opt_out }}"}
  last: {do: SEND_TWITTER_DM, message: "Bye. {{ opt_out }}"}
"""


@pytest.fixture
def graph() -> Graph:
    answer = check(BRANCHED.encode(), "branched.yaml")
    assert not isinstance(answer, list), answer
    return answer.graph


def test_only_an_answer_leads_to_what_answers_it(graph: Graph) -> None:
    assert after_an_answer(graph) == {"thanks", "last"}


def test_a_failed_message_opens_nothing(graph: Graph) -> None:
    assert after_a_message(graph, Channel.TWITTER) == {"check", "thanks", "again", "last"}
    assert after_a_message(graph, Channel.EMAIL) == frozenset()


def test_who_fails_goes_where_failing_leads_and_who_waits_goes_nowhere(graph: Graph) -> None:
    assert reached(graph, set()) == set(graph.nodes)
    assert reached(graph, {"hello"}) == {"follow", "hello", "letter"}
    assert reached(graph, {"again"}) == set(graph.nodes)
    assert reached(graph, set(), {"hello"}) == {"follow", "hello", "letter"} - set()
    assert reached(graph, set(), {"follow"}) == {"follow"}


def test_one_lead_goes_one_way(graph: Graph) -> None:
    messages = {key: int(key in ("hello", "thanks", "again", "last")) for key in graph.nodes}
    assert most_on_one_way(graph, graph.nodes, messages) == 3, "hello, thanks, last; never again beside them"
    assert most_on_one_way(graph, set(graph.nodes) - {"thanks"}, messages) == 2
    assert most_on_one_way(graph, {"follow"}, {"follow": Decimal("0.5")}) == Decimal("0.5")
