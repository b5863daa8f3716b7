"""The broker's own rules, without a server."""

from dramatiq.common import dq_name

from outreach.broker import ENGINE, QUEUES, SOON, make_broker, message


def test_workers_ask_for_delayed_hints_on_one_queue_and_every_delayed_hint_goes_there() -> None:
    broker = make_broker("redis://127.0.0.1:1/0", "unit")
    assert broker.get_declared_queues() == set(QUEUES)
    assert broker.get_declared_delay_queues() == {dq_name(SOON)}
    delayed = [message(queue, "advance_lead", 1, delay_seconds=0.5).queue_name for queue in QUEUES]
    assert set(delayed) == broker.get_declared_delay_queues()
    assert message(ENGINE, "advance_lead", 1).queue_name == ENGINE
