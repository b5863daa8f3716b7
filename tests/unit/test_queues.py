"""By which queue a hint goes, and which queues a worker asks for."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from outreach.app import App
from outreach.broker import CHANNEL_QUEUES, ENGINE, INBOUND, SOON, queues_in_use
from outreach.cli.processes import run_process
from outreach.runtime.hints import Hint
from outreach.settings import Settings


@dataclass
class Listening:
    """A broker that keeps what it is given."""

    messages: list[Any] = field(default_factory=list)

    def enqueue(self, message: Any) -> None:
        self.messages.append(message)


def queues_of(actors: list[str], settings: Settings) -> list[str]:
    broker = Listening()
    app = App(settings=settings, context=Any, broker=broker, instance=Any)  # type: ignore[arg-type]  # what hint() asks for
    app.hint([Hint(actor, 1) for actor in actors])
    return [message.queue_name for message in broker.messages]


def test_three_queues_serve_everything_by_default() -> None:
    assert set(queues_in_use(Settings().channel_workers)) == {ENGINE, INBOUND, SOON}
    hinted = queues_of(["advance_lead", "digest_inbound", "send_twitter_dm", "send_email"], Settings())
    assert hinted == [ENGINE, INBOUND, INBOUND, INBOUND]


def test_a_channel_with_workers_of_its_own_has_a_queue_of_its_own() -> None:
    settings = Settings(channel_workers=("twitter",))
    assert queues_of(["send_twitter_dm", "send_email", "advance_lead"], settings) == [
        "twitter",
        INBOUND,
        ENGINE,
    ]
    assert set(queues_in_use(settings.channel_workers)) == {ENGINE, INBOUND, SOON, "twitter"}


@pytest.mark.parametrize("workers", [(), ("twitter",), CHANNEL_QUEUES])
def test_whatever_is_hinted_goes_by_a_queue_that_a_plain_worker_asks_for(workers: tuple[str, ...]) -> None:
    actors = ["advance_lead", "digest_inbound", "check_for_reply", "send_twitter_dm", "follow_on_twitter", "send_linkedin_dm",
              "send_connection_request", "send_xmtp_dm", "send_email"]  # fmt: skip
    assert set(queues_of(actors, Settings(channel_workers=workers))) <= set(queues_in_use(workers))


def test_a_worker_that_would_wait_for_ever_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("outreach.cli.processes.process_settings", lambda settings: settings)
    monkeypatch.setattr("outreach.cli.processes.require_redis", lambda _: None)
    monkeypatch.delenv("OUTREACH_CHANNEL_WORKERS", raising=False)
    assert run_process(["worker", "--queues", "twitter"]) == 2
    assert "OUTREACH_CHANNEL_WORKERS=twitter" in capsys.readouterr().err


def test_a_channel_that_nobody_knows_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OUTREACH_CHANNEL_WORKERS", "twiter")
    assert run_process(["worker"]) == 2
    assert "OUTREACH_CHANNEL_WORKERS names 'twiter'" in capsys.readouterr().err
