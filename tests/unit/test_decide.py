"""decide(): every rule of the heart by example. What holds for all graphs and histories is in test_decide_properties."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from outreach.engine.decide import contradicted, decide
from outreach.engine.decisions import Exit, Finish, Move, Perform, Wait, Want
from outreach.engine.graph import Node
from outreach.engine.kinds import (
    ActionKind,
    Channel,
    ExecutionState,
    ReplyClass,
    SignalKind,
    TriggerKind,
    WaitingOn,
)
from outreach.engine.state import LeadView
from tests.unit.decide_support import (
    DAY,
    NOW,
    A,
    S,
    T,
    X,
    check,
    dm,
    edge,
    follow,
    graph,
    lead,
    only_move,
    sent,
    signal,
    wait,
)

# --- the node's own action -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [None, X.PLANNED])
def test_an_action_that_is_not_done_is_performed(state: ExecutionState | None) -> None:
    assert decide(graph(dm()), lead("dm", state=state), NOW).then == Perform(key="dm")


def test_an_action_without_an_identity_on_its_channel_fails() -> None:
    nowhere = lead("dm", channels=frozenset())
    assert decide(graph(dm()), nowhere, NOW).then == Exit(reason="no_identity")


def test_an_open_call_is_waited_for() -> None:
    then = decide(graph(dm()), lead("dm", state=X.CALLING), NOW).then
    assert then == Wait(until=NOW, on=WaitingOn.CALL)


@pytest.mark.parametrize("state", [X.IN_DOUBT, X.HELD])
def test_a_doubt_is_waited_for_under_its_own_name(state: ExecutionState) -> None:
    then = decide(graph(dm()), lead("dm", state=state), NOW).then
    assert then == Wait(until=NOW, on=WaitingOn.DOUBT, detail=state.value)


@pytest.mark.parametrize("state", [X.REFUSED, X.BLOCKED, X.SKIPPED, X.CANCELLED, X.ABSENT])
def test_a_failed_action_takes_its_failed_edge(state: ExecutionState) -> None:
    found = decide(
        graph(dm(edge(T.NORMAL_EDGE), edge(T.FAILED, "check")), check(edge(T.TIMEOUT, None, DAY))),
        lead("dm", state=state, reason="blocked by them"),
        NOW,
    )
    assert only_move(found) == Move(
        trigger=T.FAILED, source="dm", to="check", due=NOW, reason="blocked by them"
    )


def test_an_action_that_was_passed_over_counts_as_done_since_then() -> None:
    after_a_day = graph(
        dm(edge(T.NORMAL_EDGE, "check", DAY), edge(T.FAILED)), check(edge(T.TIMEOUT, None, DAY))
    )
    passed = lead("dm", entered=NOW - 9 * DAY, state=X.SKIPPED, reason="late", passed_at=NOW - DAY / 2)
    assert decide(after_a_day, passed, NOW).then == Wait(until=NOW + DAY / 2, on=WaitingOn.TIME)
    assert only_move(decide(after_a_day, passed, NOW + DAY / 2)).trigger is T.NORMAL_EDGE
    assert decide(graph(dm(edge(T.FAILED, "dm"))), passed, NOW).then == Finish()


def test_what_a_move_leads_to_is_due_since_the_edge_could_be_taken_first() -> None:
    after_a_day = graph(dm(edge(T.NORMAL_EDGE, "check", DAY)), check(edge(T.TIMEOUT, None, DAY)))
    assert only_move(decide(after_a_day, sent("dm", at=NOW - 5 * DAY), NOW)).due == NOW - 4 * DAY
    asked = graph(check(edge(T.REPLIED, "dm"), edge(T.TIMEOUT, None, 9 * DAY)), dm())
    early, late = (replace(signal(S.REPLIED), at=NOW - days * DAY) for days in (7, 3))
    assert only_move(decide(asked, lead("check", early, entered=NOW - 5 * DAY), NOW)).due == NOW - 5 * DAY
    assert only_move(decide(asked, lead("check", late, entered=NOW - 5 * DAY), NOW)).due == NOW - 3 * DAY


def test_over_nodes_that_take_no_time_a_move_stays_due_since_the_first_of_them() -> None:
    branch = Node(key="branch", kind=ActionKind.BRANCH, edges=(edge(T.NORMAL_EDGE, "follow"),))
    chain = graph(dm(edge(T.NORMAL_EDGE, "branch", DAY)), branch, follow())
    assert [m.due for m in decide(chain, sent("dm", at=NOW - 5 * DAY), NOW).moves] == [NOW - 4 * DAY] * 2
    gone = lead("dm", state=X.SENT, sent_at=NOW - 5 * DAY, channels=frozenset())
    failing = graph(dm(edge(T.NORMAL_EDGE, "follow", DAY)), follow(edge(T.FAILED, None)))
    assert [m.due for m in decide(failing, gone, NOW).moves] == [NOW - 4 * DAY] * 2


def test_a_failed_action_without_such_an_edge_ends_the_lead_with_its_reason() -> None:
    failed = lead("dm", state=X.REFUSED, reason="no_such_user")
    assert decide(graph(dm(edge(T.NORMAL_EDGE))), failed, NOW).then == Exit(reason="no_such_user")


def test_a_failure_without_a_reason_is_named_after_its_state() -> None:
    assert decide(graph(dm()), lead("dm", state=X.ABSENT), NOW).then == Exit(reason="absent")


def test_a_sent_action_without_edges_finishes_the_lead() -> None:
    assert decide(graph(dm()), sent("dm"), NOW).then == Finish()


def test_an_edge_that_is_only_for_failures_leaves_nothing_to_wait_for() -> None:
    assert decide(graph(dm(edge(T.FAILED))), sent("dm"), NOW).then == Finish()


# --- time ----------------------------------------------------------------------------------------------------


def test_the_clock_of_an_edge_starts_when_the_provider_took_it() -> None:
    late = graph(dm(edge(T.NORMAL_EDGE, "again", DAY)), dm(key="again"))
    assert decide(late, sent("dm", at=NOW - DAY / 2), NOW).then == Wait(
        until=NOW + DAY / 2, on=WaitingOn.TIME
    )
    assert decide(late, sent("dm", at=NOW - DAY), NOW).then == Perform(key="again")


def test_an_action_that_was_never_stamped_counts_from_when_the_lead_came() -> None:
    late = graph(dm(edge(T.NORMAL_EDGE, None, DAY)))
    stamped = lead("dm", state=X.SENT, entered=NOW - DAY)
    assert decide(late, stamped, NOW).then == Finish()


def test_a_wait_lasts_as_long_as_it_says_and_then_goes_on() -> None:
    waiting = graph(wait(DAY, edge(T.NORMAL_EDGE, "dm")), dm())
    assert decide(waiting, lead("wait"), NOW).then == Wait(until=NOW + DAY, on=WaitingOn.TIME)
    assert decide(waiting, lead("wait", entered=NOW - DAY), NOW).then == Perform(key="dm")


def test_a_wait_without_edges_is_sat_out_before_the_lead_finishes() -> None:
    waiting = graph(wait(DAY))
    assert decide(waiting, lead("wait"), NOW).then == Wait(until=NOW + DAY, on=WaitingOn.TIME)
    assert decide(waiting, lead("wait", entered=NOW - DAY), NOW).then == Finish()


def test_an_edge_to_end_finishes_the_lead_and_says_by_which_edge() -> None:
    found = decide(graph(dm(edge(T.END))), sent("dm"), NOW)
    assert found.then == Finish()
    assert only_move(found) == Move(trigger=T.END, source="dm", to=None, due=NOW)
    assert found.cursor == "dm"


def test_the_sooner_of_two_timed_edges_wins_whatever_their_order() -> None:
    both = graph(
        check(edge(T.TIMEOUT, None, 3 * DAY), edge(T.NORMAL_EDGE, "dm", DAY)),
        dm(),
    )
    assert decide(both, lead("check", entered=NOW - 4 * DAY), NOW).then == Perform(key="dm")


def test_a_node_that_waits_for_signals_only_is_looked_at_now_and_then() -> None:
    found = decide(graph(check(edge(T.REPLIED))), lead("check"), NOW).then
    assert found == Wait(until=NOW + 30 * DAY, on=WaitingOn.SIGNAL)


def test_moves_count_visits_and_note_when_the_lead_came() -> None:
    loop = graph(wait(DAY, edge(T.NORMAL_EDGE, "dm")), dm(edge(T.NORMAL_EDGE, "wait")))
    found = decide(loop, lead("dm", state=X.SENT, sent_at=NOW - DAY, entered=NOW - DAY), NOW)
    assert (found.cursor, found.entered_at, found.visits) == ("wait", NOW, {"dm": 1, "wait": 1})
    again = decide(loop, LeadView(cursor="wait", entered_at=NOW - DAY, visits={"dm": 1, "wait": 1}, channels=frozenset({Channel.TWITTER})), NOW)  # fmt: skip
    assert (again.visits, again.then) == ({"dm": 2, "wait": 1}, Perform(key="dm"))


def test_several_nodes_are_passed_in_one_look() -> None:
    chain = graph(
        Node(key="a", kind=A.BRANCH, edges=(edge(T.NORMAL_EDGE, "b"),)),
        Node(key="b", kind=A.BRANCH, edges=(edge(T.NORMAL_EDGE, "dm"),)),
        dm(),
    )
    found = decide(chain, lead("a"), NOW)
    assert ([m.to for m in found.moves], found.then) == (["b", "dm"], Perform(key="dm"))


def test_a_cycle_without_a_wait_is_refused_instead_of_run_for_ever() -> None:
    endless = graph(
        Node(key="a", kind=A.BRANCH, edges=(edge(T.NORMAL_EDGE, "b"),)),
        Node(key="b", kind=A.BRANCH, edges=(edge(T.NORMAL_EDGE, "a"),)),
    )
    with pytest.raises(ValueError, match="a cycle without a wait"):
        decide(endless, lead("a"), NOW)


# --- proven silence ------------------------------------------------------------------------------------------

SILENT = graph(check(edge(T.REPLIED), edge(T.NOT_REPLIED, "dm", DAY)), dm())
UNFOLLOWED = graph(follow(edge(T.FOLLOWED_BACK), edge(T.NOT_FOLLOWED_BACK, "dm", DAY)), dm())


def test_before_its_deadline_a_negative_edge_waits_for_a_signal() -> None:
    found = decide(SILENT, lead("check", read=NOW), NOW).then
    assert found == Wait(until=NOW + DAY, on=WaitingOn.SIGNAL, silence=True)


@pytest.mark.parametrize("read", [None, NOW - timedelta(microseconds=1)])
def test_an_inbox_that_is_not_read_up_to_the_deadline_proves_nothing(read: datetime | None) -> None:
    found = decide(SILENT, lead("check", entered=NOW - DAY, read=read), NOW)
    assert not found.moves
    assert found.then == Wait(until=NOW, on=WaitingOn.EVIDENCE, detail="NOT_REPLIED", wants=Want.INBOX)


def test_an_inbox_that_is_read_up_to_the_deadline_proves_silence() -> None:
    found = decide(SILENT, lead("check", entered=NOW - DAY, read=NOW), NOW)
    assert only_move(found) == Move(trigger=T.NOT_REPLIED, source="check", to="dm", due=NOW, deadline=NOW)


def test_a_relationship_needs_a_look_up_of_its_own_after_the_deadline() -> None:
    inbox_read = lead("follow", state=X.SENT, sent_at=NOW - DAY, read=NOW, looked=NOW - DAY)
    found = decide(UNFOLLOWED, inbox_read, NOW).then
    assert found == Wait(
        until=NOW, on=WaitingOn.EVIDENCE, detail="NOT_FOLLOWED_BACK", wants=Want.RELATIONSHIP
    )
    looked = lead("follow", state=X.SENT, sent_at=NOW - DAY, looked=NOW)
    assert only_move(decide(UNFOLLOWED, looked, NOW)).trigger is T.NOT_FOLLOWED_BACK


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [
        (T.NOT_REPLIED, S.REPLIED),
        (T.NOT_REPLIED, S.REPLIED_TO_NOTE),
        (T.NOT_FOLLOWED_BACK, S.FOLLOWED_BACK),
        (T.CONNECTION_NOT_ACCEPTED, S.CONNECTION_ACCEPTED),
    ],
)
def test_no_negative_edge_is_taken_against_a_signal_that_nobody_asked_for(
    trigger: TriggerKind, kind: SignalKind
) -> None:
    lone = graph(follow(edge(trigger, "dm", DAY), edge(T.TIMEOUT, None, 3 * DAY)), dm(), on_reply="continue")
    proven = lead("follow", state=X.SENT, sent_at=NOW - DAY, read=NOW, looked=NOW)
    assert only_move(decide(lone, proven, NOW)).trigger is trigger
    denied = replace(proven, signals=(signal(kind),))
    assert decide(lone, denied, NOW).then == Wait(until=NOW + 2 * DAY, on=WaitingOn.TIME)
    unrelated = replace(proven, signals=(signal(S.READ), signal(S.OUT_OF_OFFICE, 2)))
    assert only_move(decide(lone, unrelated, NOW)).trigger is trigger


@pytest.mark.parametrize(
    ("by", "kind", "state", "expected"),
    [
        (T.NOT_REPLIED, S.REPLIED, X.PLANNED, True),
        (T.NOT_FOLLOWED_BACK, S.FOLLOWED_BACK, X.PLANNED, True),
        (T.CONNECTION_NOT_ACCEPTED, S.CONNECTION_ACCEPTED, X.PLANNED, True),
        (T.NOT_FOLLOWED_BACK, S.REPLIED, X.PLANNED, False),
        (T.NOT_REPLIED, S.OUT_OF_OFFICE, X.PLANNED, False),
        (T.NOT_REPLIED, S.REPLIED, X.CALLING, False),
        (T.NOT_REPLIED, S.REPLIED, None, False),
        (T.NORMAL_EDGE, S.REPLIED, X.PLANNED, False),
        (None, S.REPLIED, X.PLANNED, False),
    ],
)
def test_a_plan_is_contradicted_by_what_denies_its_own_silence_and_only_before_its_call(
    by: TriggerKind | None, kind: SignalKind, state: ExecutionState | None, expected: bool
) -> None:
    assert contradicted(lead("dm", signal(kind), state=state, by=by)) is expected


def test_where_nothing_but_a_denied_edge_is_left_the_graph_has_ended() -> None:
    lone = graph(follow(edge(T.NOT_FOLLOWED_BACK, "dm", DAY)), dm())
    denied = lead("follow", signal(S.FOLLOWED_BACK), state=X.SENT, sent_at=NOW)
    assert decide(lone, denied, NOW).then == Finish()


def test_an_edge_that_needs_no_evidence_is_not_held_up_by_one_that_does() -> None:
    both = graph(check(edge(T.NOT_REPLIED, "dm", DAY), edge(T.TIMEOUT, None, 2 * DAY)), dm())
    assert decide(both, lead("check", entered=NOW - 2 * DAY), NOW).then == Finish()


def test_of_two_lacking_edges_the_first_says_what_is_wanted() -> None:
    both = graph(
        follow(edge(T.NOT_REPLIED, None, 2 * DAY), edge(T.NOT_FOLLOWED_BACK, None, DAY)),
    )
    found = decide(both, sent("follow", at=NOW - 3 * DAY), NOW).then
    assert isinstance(found, Wait)
    assert (found.wants, found.until) == (Want.RELATIONSHIP, NOW - 2 * DAY)


# --- signals -------------------------------------------------------------------------------------------------


def test_a_signal_takes_its_edge_and_is_used_up() -> None:
    found = decide(UNFOLLOWED, sent("follow", signal(S.FOLLOWED_BACK, 7)), NOW)
    assert only_move(found) == Move(trigger=T.FOLLOWED_BACK, source="follow", to=None, due=NOW, signal_id=7)


def test_one_reply_answers_one_question() -> None:
    second = Node(
        key="second", kind=A.CHECK_FOR_REPLY, edges=(edge(T.REPLIED, "dm"), edge(T.TIMEOUT, None, DAY))
    )
    found = decide(
        graph(check(edge(T.REPLIED, "second")), second, dm()), lead("check", signal(S.REPLIED)), NOW
    )
    assert (found.cursor, found.then) == ("second", Wait(until=NOW + DAY, on=WaitingOn.SIGNAL))


@pytest.mark.parametrize(
    ("kind", "trigger"),
    [
        (S.OUT_OF_OFFICE, T.OUT_OF_OFFICE),
        (S.BOUNCED, T.BOUNCED),
        (S.CONNECTION_ACCEPTED, T.CONNECTION_ACCEPTED),
        (S.UNSUBSCRIBED, T.UNSUBSCRIBED),
    ],
)
def test_each_signal_has_its_edge(kind: SignalKind, trigger: TriggerKind) -> None:
    found = decide(graph(dm(edge(trigger))), sent("dm", signal(kind)), NOW)
    assert only_move(found).trigger is trigger


@pytest.mark.parametrize("kind", [S.READ, S.UNFOLLOWED, S.OUT_OF_OFFICE])
def test_a_signal_that_no_edge_asks_for_changes_nothing(kind: SignalKind) -> None:
    found = decide(SILENT, lead("check", signal(kind)), NOW)
    assert (found.moves, found.then) == ((), Wait(until=NOW + DAY, on=WaitingOn.SIGNAL, silence=True))


@pytest.mark.parametrize(
    ("reply", "trigger"),
    [
        (ReplyClass.POSITIVE, T.POSITIVE_REPLY),
        (ReplyClass.NEGATIVE, T.NEGATIVE_REPLY),
        (ReplyClass.NEUTRAL, T.REPLIED),
        (None, T.REPLIED),
    ],
)
def test_a_reply_takes_the_most_specific_edge(reply: ReplyClass | None, trigger: TriggerKind) -> None:
    branches = graph(check(edge(T.REPLIED), edge(T.NEGATIVE_REPLY), edge(T.POSITIVE_REPLY)))
    assert only_move(decide(branches, lead("check", signal(S.REPLIED, reply=reply)), NOW)).trigger is trigger


def test_an_answer_to_the_note_prefers_its_own_edge() -> None:
    branches = graph(check(edge(T.REPLIED), edge(T.REPLIED_TO_NOTE)))
    assert (
        only_move(decide(branches, lead("check", signal(S.REPLIED_TO_NOTE)), NOW)).trigger
        is T.REPLIED_TO_NOTE
    )


def test_the_oldest_signal_that_has_an_edge_here_goes_first() -> None:
    both = graph(follow(edge(T.FOLLOWED_BACK), edge(T.OUT_OF_OFFICE)))
    signals = (signal(S.READ, 1), signal(S.OUT_OF_OFFICE, 2), signal(S.FOLLOWED_BACK, 3))
    assert only_move(decide(both, sent("follow", *signals), NOW)).signal_id == 2


def test_a_signal_beats_an_edge_whose_time_has_come() -> None:
    found = decide(SILENT, lead("check", signal(S.REPLIED), entered=NOW - DAY, read=NOW), NOW)
    assert only_move(found).trigger is T.REPLIED


def test_a_reply_skips_what_lies_between_it_and_the_node_that_asks_for_it() -> None:
    asking = graph(
        dm(edge(T.NORMAL_EDGE, "wait")),
        wait(DAY, edge(T.NORMAL_EDGE, "check")),
        check(edge(T.REPLIED, "thanks"), edge(T.NOT_REPLIED, None, DAY)),
        dm(key="thanks"),
    )
    found = decide(asking, sent("dm", signal(S.REPLIED)), NOW)
    assert [(m.trigger, m.to, m.reason) for m in found.moves] == [
        (T.NORMAL_EDGE, "wait", "answered"),
        (T.NORMAL_EDGE, "check", "answered"),
        (T.REPLIED, "thanks", None),
    ]
    assert found.then == Perform(key="thanks")


def test_a_reply_does_not_skip_over_a_further_contact() -> None:
    pushing = graph(
        dm(edge(T.NORMAL_EDGE, "more", DAY)),
        dm(edge(T.NORMAL_EDGE, "check"), key="more"),
        check(edge(T.REPLIED)),
    )
    assert decide(pushing, sent("dm", signal(S.REPLIED, 4)), NOW).then == Exit(reason="replied", signal_id=4)


def test_a_loop_of_waits_that_never_asks_for_answers_is_seen_through() -> None:
    looping = graph(
        wait(DAY, edge(T.NORMAL_EDGE, "idle")),
        Node(key="idle", kind=A.WAIT, wait=DAY, edges=(edge(T.NORMAL_EDGE, "wait"),)),
    )
    assert decide(looping, lead("wait", signal(S.REPLIED)), NOW).then == Exit(reason="replied", signal_id=1)


def test_a_reply_beyond_an_edge_to_end_is_not_asked_for() -> None:
    ending = graph(wait(DAY, edge(T.NORMAL_EDGE)))
    assert decide(ending, lead("wait", signal(S.REPLIED)), NOW).then == Exit(reason="replied", signal_id=1)


# --- the stop rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [S.REPLIED, S.REPLIED_TO_NOTE])
@pytest.mark.parametrize("state", [None, X.PLANNED, X.CALLING, X.IN_DOUBT, X.HELD, X.SENT])
def test_a_reply_that_nobody_asked_for_stops_the_lead_whatever_is_open(
    kind: SignalKind, state: ExecutionState | None
) -> None:
    found = decide(graph(dm(edge(T.NORMAL_EDGE, "dm", DAY))), lead("dm", signal(kind, 9), state=state), NOW)
    assert (found.moves, found.then) == ((), Exit(reason="replied", signal_id=9))


def test_a_reply_stops_nothing_where_the_author_said_to_continue() -> None:
    going_on = graph(dm(edge(T.NORMAL_EDGE, None, DAY)), on_reply="continue")
    assert decide(going_on, sent("dm", signal(S.REPLIED)), NOW).then == Wait(
        until=NOW + DAY, on=WaitingOn.TIME
    )


@pytest.mark.parametrize("cause", [T.REPLIED, T.POSITIVE_REPLY, T.NEGATIVE_REPLY, T.REPLIED_TO_NOTE])
def test_a_second_message_does_not_take_back_the_answer_to_the_first(cause: TriggerKind) -> None:
    answering = lead("dm", signal(S.REPLIED), by=cause)
    assert decide(graph(dm()), answering, NOW).then == Perform(key="dm")


def test_an_answer_that_is_sent_is_no_shield_any_more() -> None:
    answered = lead("dm", signal(S.REPLIED), state=X.SENT, sent_at=NOW, by=T.REPLIED)
    assert decide(graph(dm()), answered, NOW).then == Exit(reason="replied", signal_id=1)


def test_a_wait_that_a_reply_led_to_is_no_answer() -> None:
    resting = lead("wait", signal(S.REPLIED), by=T.REPLIED)
    assert decide(graph(wait(DAY)), resting, NOW).then == Exit(reason="replied", signal_id=1)


@pytest.mark.parametrize("state", [None, X.PLANNED, X.CALLING, X.IN_DOUBT, X.HELD, X.SENT])
@pytest.mark.parametrize(("kind", "reason"), [(S.UNSUBSCRIBED, "unsubscribed"), (S.BLOCKED, "blocked_us")])
def test_an_objection_stops_the_lead_even_where_replies_do_not(
    kind: SignalKind, reason: str, state: ExecutionState | None
) -> None:
    found = decide(graph(dm(), on_reply="continue"), lead("dm", signal(kind, 3), state=state), NOW)
    assert (found.moves, found.then) == ((), Exit(reason=reason, signal_id=3))


def test_an_objection_behind_a_reply_is_still_found() -> None:
    answering = lead("dm", signal(S.REPLIED, 1), signal(S.BLOCKED, 2), by=T.REPLIED)
    assert decide(graph(dm()), answering, NOW).then == Exit(reason="blocked_us", signal_id=2)


@pytest.mark.parametrize("state", [X.CALLING, X.IN_DOUBT, X.HELD])
def test_while_a_call_is_open_no_edge_is_taken(state: ExecutionState) -> None:
    asked = graph(dm(edge(T.REPLIED), edge(T.NOT_REPLIED, None, DAY)))
    open_call = lead("dm", signal(S.REPLIED), state=state, entered=NOW - 9 * DAY, read=NOW)
    found = decide(asked, open_call, NOW)
    assert found.moves == ()
    assert isinstance(found.then, Wait)


def test_a_cursor_that_the_graph_lacks_is_an_error() -> None:
    with pytest.raises(KeyError):
        decide(graph(dm()), lead("gone"), NOW)
