"""The register on a real Postgres: what it writes, that writing twice changes nothing, and when an opt-out is effective."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outreach.compliance import register
from outreach.compliance.facts import BasisKind
from outreach.compliance.register import Grant
from outreach.engine.kinds import Channel
from outreach.errors import ConflictError, UsageError
from outreach.models.base import Database, Row, Tx
from outreach.peppers import Peppers

pytestmark = pytest.mark.servers

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
SETTLE = timedelta(seconds=60)
STOP: dict[str, Any] = {"reason": "they said stop", "source": "reply", "evidence": {"inbound_id": 5}}


class World:
    """Rows to write about."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def person(self, *handles: str) -> int:
        def work(tx: Tx) -> int:
            person = tx.one("INSERT INTO person (created_at) VALUES (%s) RETURNING id", (NOW,))["id"]
            for handle in handles:
                self.identity(tx, person, handle)
            return int(person)

        return self.db.run(work)

    def identity(self, tx: Tx, person_id: int, handle: str) -> int:
        kind = "email" if "@" in handle else "twitter_handle"
        return int(
            tx.one(
                "INSERT INTO identity (kind, value, shown, hmac, person_id, created_at) VALUES (%s, %s, %s, %s, %s, %s)"
                " RETURNING id",
                (kind, handle, handle, _hmac(handle), person_id, NOW),
            )["id"]
        )

    def identity_of(self, handle: str) -> int:
        return int(self.one("SELECT id FROM identity WHERE value = %s", handle)["id"])

    def account(self, name: str = "acme") -> int:
        def work(tx: Tx) -> int:
            app = tx.one(
                "INSERT INTO app (name, channel, created_at) VALUES (%s, 'twitter', %s) RETURNING id",
                (name, NOW),
            )
            return int(
                tx.one(
                    "INSERT INTO account (app_id, name, channel, external_id, base_url, access_token, created_at)"
                    " VALUES (%s, %s, 'twitter', %s, 'http://127.0.0.1', 'v1:x:t', %s) RETURNING id",
                    (app["id"], name, name, NOW),
                )["id"]
            )

        return self.db.run(work)

    def execution(self, account_id: int, handle: str, state: str, deadline: datetime) -> int:
        """A call to this handle, seen by hand: no lead is needed for what the register looks at."""
        started = deadline - timedelta(seconds=15)
        row = self.one(
            "INSERT INTO execution (kind, channel, account_id, app_id, identity_id, state, cause, fence, started_at, call_deadline,"
            " effect_by, sent_at, created_at)"
            " SELECT 'SEND_TWITTER_DM', 'twitter', a.id, a.app_id, i.id, %s, 'by_hand', 1, %s, %s, %s, %s, %s"
            "   FROM account a, identity i WHERE a.id = %s AND i.value = %s RETURNING id",
            state, started, deadline, deadline, started if state == "sent" else None, NOW, account_id, handle,
        )  # fmt: skip
        return int(row["id"])

    def settle(self, execution_id: int, state: str) -> None:
        self.one(
            "UPDATE execution SET state = %s, sent_at = started_at WHERE id = %s RETURNING id",
            state,
            execution_id,
        )

    def suppress(self, person_id: int, now: datetime = NOW, **said: Any) -> register.Suppressed:
        return self.db.run(lambda tx: register.suppress_person(tx, person_id, now=now, **(STOP | said)))

    def effective(self, person_id: int, now: datetime = NOW) -> bool:
        return self.db.run(lambda tx: register.effective_now(tx, person_id, now=now, settle=SETTLE))

    def grant(self, handle: str, **changes: Any) -> bool:
        values: dict[str, Any] = {
            "identity_id": self.identity_of(handle), "channel": Channel.TWITTER, "basis": BasisKind.OPT_IN,
            "source": "form", "proof": "form 17", "obtained_at": NOW, **changes,
        }  # fmt: skip
        return self.db.run(lambda tx: register.record_consent(tx, Grant(**values), now=NOW))

    def wrote(self, handle: str, account_id: int, inbound_id: int, at: datetime) -> bool:
        message: dict[str, Any] = {
            "identity_id": self.identity_of(handle), "channel": Channel.TWITTER, "account_id": account_id,
            "inbound_id": inbound_id, "at": at, "now": at,
        }  # fmt: skip
        return self.db.run(lambda tx: register.record_inbound_basis(tx, **message))

    def withdraw(self, handle: str, now: datetime = NOW, basis: BasisKind | None = None) -> int:
        which: dict[str, Any] = {
            "identity_ids": [self.identity_of(handle)],
            "channel": Channel.TWITTER,
            "basis": basis,
            "reason": "asked by phone",
        }
        return len(self.db.run(lambda tx: register.withdraw_consent(tx, now=now, **which)))

    def suppress_identifier(self, handle: str, reason: str, channel: Channel | None = None) -> list[int]:
        said: dict[str, Any] = {"reason": reason, "source": "import", "evidence": {}, "channel": channel}
        return self.db.run(lambda tx: register.suppress_identifier(tx, _hmac(handle), now=NOW, **said))

    def standing(self, **of: Any) -> list[register.SuppressionRow]:
        return self.db.run(lambda tx: register.suppression_of(tx, **of))

    def consents(self) -> list[Row]:
        return self.db.read("SELECT * FROM consent ORDER BY id")

    def row(self, person_id: int) -> Row:
        return self.one("SELECT * FROM person WHERE id = %s", person_id)

    def one(self, sql: str, *params: Any) -> Row:
        return self.db.run(lambda tx: tx.one(sql, params))


def _hmac(handle: str) -> str:
    return Peppers.of("pepper").digest("email" if "@" in handle else "twitter_handle", handle)


@pytest.fixture
def world(db: Database) -> World:
    return World(db)


# --- suppressing ---------------------------------------------------------------------------------------------


def test_an_opt_out_suppresses_the_person_and_every_identifier(world: World) -> None:
    person = world.person("marion", "marion@example.test")
    done = world.suppress(person)
    assert (done.first, done.since, done.rows) == (True, NOW, 3)
    assert world.row(person)["suppressed_at"] == NOW
    assert world.row(person)["suppression_reason"] == "they said stop"
    rows = world.standing(person_id=person)
    assert {row.hmac for row in rows} == {None, _hmac("marion"), _hmac("marion@example.test")}
    assert all(row.channel is None and row.evidence == {"inbound_id": 5} for row in rows)


def test_suppressing_again_keeps_the_earliest_instant_and_the_first_reason_and_adds_no_rows(
    world: World,
) -> None:
    person = world.person("marion")
    world.suppress(person)
    again = world.suppress(person, NOW + timedelta(days=1), reason="again")
    assert (again.first, again.since, again.rows) == (False, NOW, 0)
    assert world.row(person)["suppression_reason"] == "they said stop"
    earlier = world.suppress(person, NOW - timedelta(days=1))
    assert earlier.since == world.row(person)["suppressed_at"] == NOW - timedelta(days=1)


def test_suppressing_again_covers_identifiers_that_came_later(world: World) -> None:
    person = world.person("marion")
    world.suppress(person)
    world.db.run(lambda tx: world.identity(tx, person, "marion@example.test"))
    assert world.suppress(person).rows == 1
    assert len(world.standing(hmac=_hmac("marion@example.test"))) == 1


def test_a_person_who_was_merged_away_is_not_suppressed_in_vain(world: World) -> None:
    kept, gone = world.person("marion"), world.person("m_teale")
    world.one("UPDATE person SET merged_into = %s WHERE id = %s RETURNING id", kept, gone)
    with pytest.raises(ConflictError, match=f"person {kept}"):
        world.suppress(gone)
    assert world.row(gone)["suppressed_at"] is None


def test_an_identifier_nobody_is_known_by_is_suppressed_by_its_digest_alone(world: World) -> None:
    for _ in range(2):
        assert world.suppress_identifier("stranger@example.test", "list") == []
    (row,) = world.standing(hmac=_hmac("stranger@example.test"))
    assert (row.person_id, row.channel, row.reason) == (None, None, "list")


def test_suppressing_an_identifier_tells_who_carries_it_and_one_channel_is_not_all(world: World) -> None:
    person = world.person("marion@example.test")
    for channel in (Channel.EMAIL, Channel.EMAIL, None):
        assert world.suppress_identifier("marion@example.test", "bounced", channel) == [person]
    assert [row.channel for row in world.standing(person_id=person)] == [Channel.EMAIL, None]
    assert world.row(person)["suppressed_at"] is None


def test_a_question_about_nobody_or_about_two_things_is_an_error(world: World) -> None:
    for of in ({}, {"person_id": 1, "hmac": "x"}):
        with pytest.raises(ValueError, match="person or for an identifier"):
            world.standing(**of)


# --- effective -----------------------------------------------------------------------------------------------


def test_an_opt_out_with_nothing_under_way_is_effective_at_once(world: World) -> None:
    person = world.person("marion")
    world.suppress(person)
    assert world.effective(person)
    assert world.row(person)["suppression_effective_at"] == NOW
    assert world.effective(person, NOW + timedelta(hours=1))
    assert world.row(person)["suppression_effective_at"] == NOW, "written once"


def test_who_is_not_suppressed_is_not_effective(world: World) -> None:
    assert not world.effective(world.person("marion"))


def test_an_open_call_holds_it_back_however_old_until_it_is_settled(world: World) -> None:
    person, account = world.person("marion", "m_teale"), world.account()
    call = world.execution(account, "m_teale", "calling", NOW - timedelta(days=1))
    world.suppress(person)
    assert not world.effective(person)
    assert world.db.run(lambda tx: register.still_draining(tx)) == [person]
    world.settle(call, "sent")
    assert world.effective(person)
    assert world.db.run(lambda tx: register.still_draining(tx)) == []


def test_a_call_in_doubt_holds_it_back_until_it_can_no_longer_surface(world: World) -> None:
    person, account = world.person("marion"), world.account()
    world.execution(account, "marion", "in_doubt", deadline=NOW)
    world.suppress(person)
    assert not world.effective(person, NOW + SETTLE - timedelta(microseconds=1))
    assert world.effective(person, NOW + SETTLE)


def test_a_call_that_is_settled_holds_nothing_back(world: World) -> None:
    person, account = world.person("marion"), world.account()
    world.execution(account, "marion", "sent", deadline=NOW)
    world.suppress(person)
    assert world.effective(person)


def test_somebody_elses_call_holds_nothing_back(world: World) -> None:
    person, account = world.person("marion"), world.account()
    world.person("rowan")
    world.execution(account, "rowan", "calling", deadline=NOW)
    world.suppress(person)
    assert world.effective(person)


# --- merging -------------------------------------------------------------------------------------------------


def _merge(world: World, kept: int, gone: int) -> bool:
    def work(tx: Tx) -> bool:
        tx.execute("UPDATE identity SET person_id = %s WHERE person_id = %s", (kept, gone))
        tx.execute("UPDATE person SET merged_into = %s WHERE id = %s", (kept, gone))
        return register.join(tx, kept_id=kept, gone_id=gone)

    return world.db.run(work)


def test_a_merge_takes_over_the_stricter_side_and_drains_again(world: World) -> None:
    kept, gone = world.person("marion"), world.person("m_teale")
    account = world.account()
    world.execution(account, "marion", "calling", deadline=NOW)
    world.suppress(gone)
    assert world.effective(gone)
    assert _merge(world, kept, gone)
    assert world.row(kept)["suppressed_at"] == NOW
    assert world.row(kept)["suppression_reason"] == "they said stop"
    assert world.standing(hmac=_hmac("marion")), "every identifier of the whole is suppressed"
    assert not world.effective(kept), "the survivor's own call is still under way"


def test_a_merge_into_a_suppressed_person_clears_what_was_effective(world: World) -> None:
    kept, gone = world.person("marion"), world.person("m_teale")
    world.suppress(kept)
    assert world.effective(kept)
    assert _merge(world, kept, gone)
    assert world.row(kept)["suppression_effective_at"] is None
    assert world.standing(hmac=_hmac("m_teale"))


def test_a_merge_of_two_suppressed_persons_keeps_the_earlier_instant(world: World) -> None:
    kept, gone = world.person("marion"), world.person("m_teale")
    world.suppress(kept, NOW)
    world.suppress(gone, NOW - timedelta(days=9), reason="older")
    assert _merge(world, kept, gone)
    assert world.row(kept)["suppressed_at"] == NOW - timedelta(days=9)


def test_a_merge_of_two_free_persons_suppresses_nobody(world: World) -> None:
    kept, gone = world.person("marion"), world.person("m_teale")
    assert not _merge(world, kept, gone)
    assert world.row(kept)["suppressed_at"] is None


def test_an_identifier_cut_off_again_stays_suppressed_with_its_new_person(world: World) -> None:
    person = world.person("marion", "m_teale")
    world.suppress(person)
    other = world.person()
    world.one("UPDATE identity SET person_id = %s WHERE value = 'm_teale' RETURNING id", other)
    assert [row.hmac for row in world.standing(person_id=other)] == [_hmac("m_teale")]


# --- lifting -------------------------------------------------------------------------------------------------


def test_lifting_opens_the_person_and_their_identifiers_and_keeps_the_history(world: World) -> None:
    person = world.person("marion")
    world.suppress(person)
    assert world.effective(person)
    lifted = world.db.run(lambda tx: register.lift(tx, person, reason="they asked on the phone", now=NOW))
    assert lifted == 2
    row = world.row(person)
    assert (row["suppressed_at"], row["suppression_reason"], row["suppression_effective_at"]) == (
        None,
        None,
        None,
    )
    assert world.standing(person_id=person) == []
    kept = world.db.read("SELECT lift_reason, lifted_at FROM suppression")
    assert [(r["lift_reason"], r["lifted_at"]) for r in kept] == [("they asked on the phone", NOW)] * 2


def test_a_second_opt_out_after_a_lift_stands_on_its_own(world: World) -> None:
    person = world.person("marion")
    world.suppress(person)
    world.db.run(lambda tx: register.lift(tx, person, reason="asked", now=NOW))
    again = world.suppress(person, NOW + timedelta(days=1))
    assert (again.first, again.since, again.rows) == (True, NOW + timedelta(days=1), 2)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_nothing_is_lifted_without_a_reason(world: World, reason: str) -> None:
    person = world.person("marion")
    world.suppress(person)
    with pytest.raises(UsageError, match="reason"):
        world.db.run(lambda tx: register.lift(tx, person, reason=reason, now=NOW))
    with pytest.raises(UsageError, match="reason"):
        world.db.run(lambda tx: register.lift_identifier(tx, _hmac("marion"), reason=reason, now=NOW))
    assert len(world.standing(person_id=person)) == 2


def test_an_erased_person_stays_suppressed(world: World) -> None:
    person = world.person("marion")
    world.suppress(person)
    world.one("UPDATE person SET erased_at = %s WHERE id = %s RETURNING id", NOW, person)
    with pytest.raises(UsageError, match="erased"):
        world.db.run(lambda tx: register.lift(tx, person, reason="asked", now=NOW))


def test_lifting_an_identifier_leaves_a_suppressed_person_suppressed(world: World) -> None:
    person = world.person("marion")
    world.suppress(person)
    assert world.db.run(lambda tx: register.lift_identifier(tx, _hmac("marion"), reason="typo", now=NOW)) == 1
    assert world.row(person)["suppressed_at"] == NOW
    assert [row.hmac for row in world.standing(person_id=person)] == [None]


# --- consent -------------------------------------------------------------------------------------------------


def test_the_same_proof_counts_once(world: World) -> None:
    world.person("marion")
    assert world.grant("marion")
    assert not world.grant("marion", obtained_at=NOW + timedelta(days=1))
    assert world.grant("marion", proof="form 18")
    assert world.grant("marion", basis=BasisKind.CONSENT)
    assert world.grant("marion", account_id=world.account())
    assert len(world.consents()) == 4


def test_many_are_recorded_at_once_each_proof_once(world: World) -> None:
    world.person("marion", "rowan")
    grants = [
        Grant(
            identity_id=world.identity_of(handle), channel=Channel.TWITTER, basis=BasisKind.OPT_IN, source="form",
            proof="sheet 3", obtained_at=NOW, expires_at=NOW + timedelta(days=365),
        )
        for handle in ("marion", "rowan", "marion")
    ]  # fmt: skip
    assert world.db.run(lambda tx: register.record_consents(tx, grants, now=NOW)) == 2
    assert world.db.run(lambda tx: register.record_consents(tx, grants, now=NOW)) == 0
    assert {row["expires_at"] for row in world.consents()} == {NOW + timedelta(days=365)}
    assert world.db.run(lambda tx: register.record_consents(tx, [], now=NOW)) == 0


@pytest.mark.parametrize("lacking", [{"proof": " "}, {"source": ""}])
def test_a_permission_without_source_or_proof_is_none(world: World, lacking: dict[str, str]) -> None:
    world.person("marion")
    with pytest.raises(UsageError, match="source and a proof"):
        world.grant("marion", **lacking)
    assert world.consents() == []


def test_what_was_withdrawn_is_not_revived_by_the_same_proof_or_an_older_one(world: World) -> None:
    world.person("marion")
    world.grant("marion")
    assert world.withdraw("marion", NOW + timedelta(days=1)) == 1
    assert world.withdraw("marion", NOW + timedelta(days=2)) == 0
    assert not world.grant("marion", obtained_at=NOW + timedelta(days=3)), "the same file again"
    assert not world.grant("marion", proof="form 18", obtained_at=NOW), "obtained before the withdrawal"
    assert world.grant("marion", proof="form 19", obtained_at=NOW + timedelta(days=3))


def test_one_basis_can_be_withdrawn_and_the_others_stand(world: World) -> None:
    world.person("marion")
    world.grant("marion")
    world.grant("marion", basis=BasisKind.LEGITIMATE_INTEREST)
    assert world.withdraw("marion", basis=BasisKind.OPT_IN) == 1
    standing = [row["basis"] for row in world.consents() if row["withdrawn_at"] is None]
    assert standing == ["legitimate_interest"]


def test_having_written_is_one_basis_per_account_with_the_newest_message_as_its_proof(world: World) -> None:
    world.person("marion")
    here, there = world.account("here"), world.account("there")
    assert world.wrote("marion", here, 1, NOW)
    assert not world.wrote("marion", here, 1, NOW), "the same message again"
    assert not world.wrote("marion", here, 2, NOW - timedelta(days=1)), "an older one, read late"
    assert world.wrote("marion", here, 3, NOW + timedelta(days=1))
    assert world.wrote("marion", there, 4, NOW)
    assert [(row["account_id"], row["proof"]) for row in world.consents()] == [
        (here, "inbound:3"),
        (there, "inbound:4"),
    ]


def test_writing_again_after_a_withdrawal_opens_and_an_older_message_does_not(world: World) -> None:
    world.person("marion")
    account = world.account()
    world.wrote("marion", account, 1, NOW)
    world.withdraw("marion", NOW + timedelta(days=2))
    world.wrote("marion", account, 2, NOW + timedelta(days=1))
    assert world.consents()[0]["withdrawn_at"] is not None
    world.wrote("marion", account, 3, NOW + timedelta(days=3))
    assert world.consents()[0]["withdrawn_at"] is None


# --- at the same time ----------------------------------------------------------------------------------------


def test_opt_outs_that_race_under_the_persons_lock_write_one_set_of_rows(world: World) -> None:
    person = world.person("marion", "m_teale")
    firsts: list[bool] = []

    def opt_out() -> None:
        def work(tx: Tx) -> bool:
            tx.one("SELECT id FROM person WHERE id = %s FOR NO KEY UPDATE", (person,))
            return register.suppress_person(tx, person, now=NOW, **STOP).first

        firsts.append(world.db.run(work))

    threads = [threading.Thread(target=opt_out) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(firsts) == [False] * 5 + [True]
    assert len(world.standing(person_id=person)) == 3
