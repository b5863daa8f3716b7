"""The off-box journal at each kind of place: everything arrives in order exactly as written, whatever fails on the way."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from outreach.compliance import register
from outreach.models import journal
from outreach.models.base import Database
from outreach.offbox import Bucket, BucketPlace, FilePlace, Line, NotTaken, OtherLines, Taken, UrlPlace
from outreach.outbound import Outbound
from outreach.runtime.erase import erase
from outreach.runtime.optout import opt_out, opt_out_identifier
from tests.integration.law_support import friends, open_house, roomy_account
from tests.integration.restore_support import deliver, with_journal
from tests.stage import House

pytestmark = pytest.mark.servers
LINES = [Line(n, f'{{"instance":"test","kind":"x","n":{n}}}') for n in range(1, 8)]
OUTBOUND = Outbound(simulated=lambda: True)


class Receiver(BaseHTTPRequestHandler):
    """What somebody would put behind the URL: keeps lines under their numbers, refuses another one of the same number."""

    kept: dict[int, str]
    status: int

    def do_POST(self) -> None:
        lines = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["lines"]
        numbered = {json.loads(line)["n"]: line for line in lines}
        status = self.server.status  # type: ignore[attr-defined]
        kept = self.server.kept  # type: ignore[attr-defined]
        if status == 200 and any(kept.get(n, line) != line for n, line in numbered.items()):
            status = 409
        if status == 200:
            kept.update(numbered)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        text = "".join(f"{line}\n" for _, line in sorted(self.server.kept.items())).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.kept, server.status = {}, 200  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """A real S3 server of this machine, and a bucket in it."""
    from minio import Minio
    from moto.server import ThreadedMotoServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    Minio(f"127.0.0.1:{port}", access_key="k", secret_key="s", secure=False, region="us-east-1").make_bucket(
        "drawer"
    )
    yield Bucket(endpoint=f"http://127.0.0.1:{port}", access_key="k", secret_key="s")
    server.stop()


@pytest.fixture(params=["file", "url", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "file":
        return FilePlace(tmp_path / "journal.jsonl")
    if request.param == "url":
        server = request.getfixturevalue("receiver")
        return UrlPlace(f"http://127.0.0.1:{server.server_port}/journal", OUTBOUND)
    return BucketPlace("drawer", f"of/{request.node.name}", OUTBOUND, request.getfixturevalue("bucket"))


def test_what_is_appended_is_read_back_in_order_exactly(place: Any) -> None:
    assert place.append(LINES[:3]) == Taken()
    assert place.append(LINES[3:]) == Taken()
    assert list(place.read()) == LINES


def test_a_batch_that_comes_twice_harms_nothing(place: Any) -> None:
    place.append(LINES[:3])
    assert place.append(LINES[:5]) == Taken()
    assert sorted(set(place.read())) == LINES[:5]


def test_the_last_line_can_be_asked_for(tmp_path: Path, bucket: Bucket) -> None:
    for place in (FilePlace(tmp_path / "j"), BucketPlace("drawer", "last", OUTBOUND, bucket)):
        assert place.last(1) is None
        place.append(LINES[:2])
        place.append(LINES[2:5])
        assert place.last(1) == place.last(5) == LINES[4]


def test_a_receiver_that_has_another_line_says_so(receiver: HTTPServer) -> None:
    place = UrlPlace(f"http://127.0.0.1:{receiver.server_port}/", OUTBOUND)
    place.append(LINES[:3])
    assert isinstance(place.append([Line(3, '{"n":3,"other":1}')]), OtherLines)


def test_a_line_that_was_cut_short_stays_and_the_next_stands_on_its_own(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "j")
    place.append(LINES[:2])
    with place.path.open("a") as file:
        file.write(LINES[2].text[:9])
    assert place.last(1) == LINES[1]
    place.append(LINES[2:])
    assert list(place.read()) == LINES
    assert place.path.stat().st_mode & 0o077 == 0


def test_a_place_that_is_away_says_why_and_not_where(tmp_path: Path) -> None:
    nowhere = Bucket(endpoint="http://127.0.0.1:9", access_key="k", secret_key="s3cr3t")
    for place in (
        FilePlace(tmp_path / "no" / "such" / "folder"),
        UrlPlace("http://127.0.0.1:9/t0ken", OUTBOUND),
        BucketPlace("drawer", "x", OUTBOUND, nowhere),
        BucketPlace("drawer", "x", Outbound(simulated=lambda: False), nowhere),
    ):
        found = place.append(LINES)
        assert isinstance(found, NotTaken)
        assert "t0ken" not in found.reason and "s3cr3t" not in found.reason


# --- out of the database ---------------------------------------------------------------------------------------------


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, ("ann", "ben", "cy"))
    roomy_account(found)
    return found


def urls(tmp_path: Path, receiver: HTTPServer, bucket: Bucket) -> dict[str, str]:
    return {
        "file": f"file://{tmp_path}/journal.jsonl",
        "url": f"http://127.0.0.1:{receiver.server_port}/j",
        "bucket": f"s3://drawer/{tmp_path.name}",
    }


@pytest.mark.parametrize("kind", ["file", "url", "bucket"])
def test_every_suppression_lift_and_erasure_stands_outside_in_order(
    house: House, tmp_path: Path, receiver: HTTPServer, bucket: Bucket, kind: str
) -> None:
    with_journal(house, urls(tmp_path, receiver, bucket)[kind])
    settings = replace(
        house.ctx.settings, journal_endpoint=bucket.endpoint, aws_access_key_id="k", aws_secret_access_key="s"
    )
    house.ctx = replace(house.ctx, settings=settings)
    ann, ben = friends(house, "ann", "ben")
    say_no(house, ann)
    lift(house, ann)
    deliver(house)
    opt_out_identifier(house.ctx, "d" * 64, reason="called us", source="operator", evidence={}, actor="t")
    house.db.run(lambda tx: register.lift_identifier(tx, "d" * 64, reason="a mistake", now=house.clock.now()))
    assert erase(house.ctx, ben, by="t")
    deliver(house)
    from outreach.runtime.journaling import journal_place

    place = journal_place(house.ctx.settings, house.ctx)
    assert place is not None
    found = [json.loads(line.text) for line in place.read()]
    assert [(one["n"], one["kind"], one["person"]) for one in found] == [
        (1, "suppressed", True), (2, "lifted", True), (3, "suppressed", False), (4, "lifted", False),
        (5, "suppressed", True), (6, "erased", True),
    ]  # fmt: skip
    assert found[0]["hmacs"] == found[1]["hmacs"] and found[4]["hmacs"] == found[5]["hmacs"]
    assert {one["instance"] for one in found} == {"test"}
    text = "".join(line.text for line in place.read())
    assert "asked by mail" not in text and "ann" not in text.replace("channel", "")
    assert house.db.run(journal.standing)["waiting"] == 0


def test_a_place_that_is_down_loses_nothing_and_is_tried_again(
    house: House, receiver: HTTPServer, tmp_path: Path
) -> None:
    with_journal(house, f"http://127.0.0.1:{receiver.server_port}/j")
    people = friends(house, "ann", "ben", "cy")
    receiver.status = 503  # type: ignore[attr-defined]
    for person in people:
        say_no(house, person)
        house.tick()
    standing = house.db.run(journal.standing)
    assert (standing["waiting"] >= 3, standing["reason"]) == (True, "it answered 503")
    receiver.status = 200  # type: ignore[attr-defined]
    house.pass_time(timedelta(minutes=2))
    kept: dict[int, str] = receiver.kept  # type: ignore[attr-defined]
    assert list(kept) == list(range(1, len(kept) + 1))
    # the head of the sealed log may stand between them
    assert [json.loads(line)["kind"] for line in kept.values()].count("suppressed") == 3
    assert house.db.run(journal.standing)["waiting"] == 0


def test_an_answer_that_was_lost_doubles_no_line(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_journal(house, f"file://{tmp_path}/journal.jsonl")
    ann, ben = friends(house, "ann", "ben")
    say_no(house, ann)
    whole: Callable[..., Any] = FilePlace.append
    monkeypatch.setattr(
        FilePlace, "append", lambda self, lines: whole(self, lines) and NotTaken("the answer was lost")
    )
    deliver(house)
    assert house.db.run(journal.standing)["waiting"] == 1
    monkeypatch.setattr(FilePlace, "append", whole)
    say_no(house, ben)
    house.pass_time(timedelta(minutes=2))
    numbers = [line.number for line in FilePlace(tmp_path / "journal.jsonl").read()]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 2


def test_what_is_rolled_back_is_no_line(house: House, tmp_path: Path) -> None:
    """In one transaction with what it tells of: neither without the other."""
    with_journal(house, f"file://{tmp_path}/journal.jsonl")
    (ann,) = friends(house, "ann")

    def work(tx: Any) -> None:
        register.suppress_person(tx, ann, reason="x", source="operator", evidence={}, now=house.clock.now())
        tx.rows("SELECT 1 AS sent")  # what was written is with the server
        raise RuntimeError("the machine is gone")

    with pytest.raises(RuntimeError):
        house.db.run(work)
    deliver(house)
    assert house.db.read("SELECT * FROM journal") == []
    assert not (tmp_path / "journal.jsonl").exists()


def say_no(house: House, person_id: int) -> None:
    opt_out(house.ctx, person_id, reason="asked by mail", source="operator", evidence={}, actor="t")


def lift(house: House, person_id: int) -> None:
    house.db.run(lambda tx: register.lift(tx, person_id, reason="asked by mail", now=house.clock.now()))
