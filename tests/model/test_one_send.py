"""The send protocol, and six ways to get it wrong: which promise each of them breaks."""

import pytest

from tests.model.one_send import Protocol, explore

OURS = Protocol()
VARIANTS = {
    "A looks, then calls": (Protocol(claims=False, effective="commit"), {"I1", "I4"}),
    "B job queue: a claim whose lease ends is tried again": (
        Protocol(unanswered="planned", effective="deadline"), {"I1", "I4"},
    ),
    "C sends again what it does not see, at once": (
        Protocol(absent="planned", settles=False, effective="deadline"), {"I1", "I4"},
    ),
    "D sends again what it does not see after settling": (Protocol(absent="planned"), set()),
    "D where the provider's pages lag": (Protocol(absent="planned", lagging=True), {"I1"}),
    "E an opt-out is effective at its commit": (Protocol(effective="commit"), {"I4"}),
    "F an opt-out waits for deadlines only": (Protocol(effective="deadline"), {"I4"}),
    "G ours: never again, settled, drained": (OURS, set()),
    "G where the provider's pages lag": (Protocol(lagging=True), set()),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_the_promises_that_a_variant_keeps(name: str) -> None:
    protocol, breaks = VARIANTS[name]
    found = explore(protocol)
    assert set(found.broken) & {"I1", "I4"} == breaks, found.broken


def test_what_was_accepted_is_never_planned_again() -> None:
    found = explore(OURS)
    assert "known" not in found.broken
    assert found.ends == {"sent 1", "held 0", "planned 0"}


def test_what_lagging_pages_hide_is_held() -> None:
    found = explore(Protocol(lagging=True))
    assert "known" not in found.broken
    assert found.ends == {"sent 1", "held 0", "held 1", "planned 0"}


def test_the_shortest_way_to_a_second_message_in_a_job_queue() -> None:
    job_queue, _ = VARIANTS["B job queue: a claim whose lease ends is tried again"]
    assert explore(job_queue).broken["I1"] == (
        "0: T1", "0: writes", "accepted", "0: T2 no answer", "0: T1", "0: writes", "accepted",
    )  # fmt: skip
