"""What `outreach doctor` says of what was set aside because it failed: parked leads, dead messages."""

from collections.abc import Iterator

from outreach.cli.findings import Check, Health
from outreach.cli.session import connected
from outreach.errors import OutreachError
from outreach.settings import Settings


def checks_of_letters(settings: Settings) -> Iterator[Check]:
    """One. The database is there; Redis may be away."""
    from outreach.broker import make_broker
    from outreach.letters import dead_letters
    from outreach.models import instance, suspects
    from outreach.runtime.parking import STRIKES

    assert settings.redis_url is not None
    with connected(settings) as db:
        key = db.run(instance.read).key
        parked = len(db.run(lambda tx: suspects.parked(tx, strikes=STRIKES, limit=10_000)))
    broker = make_broker(settings.redis_url, key)
    try:
        letters: int | None = len(dead_letters(broker))
    except OutreachError:
        letters = None
    finally:
        broker.close()
    messages = "messages unknown, Redis does not answer" if letters is None else f"{letters} messages"
    yield Check(
        id="O033", title="dead letters", health=Health.WARN if parked or letters else Health.OK,
        detail=f"{parked} leads parked because our own code failed on them, {messages}",
        mend="outreach dead-letters list says why; requeue or drop them",
    )  # fmt: skip
