"""What can go wrong with the server behind RedisLimiter, and what it must hold to."""

import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from outreach.limits.limiter import Limiter, RedisLimiter, accept_self_signed
from outreach.limits.scope import Full, Scope, Unavailable, Unseeded
from tests.contract.limiter_support import (
    GRANTED,
    HOUR,
    MINUTE,
    MS,
    NOON,
    D,
    Valkey,
    account,
    acquire,
    app,
    fill,
    opened,
    record,
    running_valkey,
    seed,
)

pytestmark = pytest.mark.servers

#: Signed by itself for cache.example.test, valid until 2126; it guards nothing.
CERTIFICATE = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZpMLVW0MjBUC09WB
mj9nOxy73vpMERoqCLDeNy2p1NOhRANCAARqBkm42/fxd8xE58E+XRc6nPv/0hiN
76D22hC8d4bfcd+T2dfXtKhCQtfONxVnjlekBhlHvW8AEqSlQpZ8HqGe
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkTCCATegAwIBAgIUfvIHgN+MgaTFTcVLsWVUSDzfHXIwCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSY2FjaGUuZXhhbXBsZS50ZXN0MCAXDTI2MTEyNDA1NTExOFoY
DzIxMjYxMDMxMDU1MTE4WjAdMRswGQYDVQQDDBJjYWNoZS5leGFtcGxlLnRlc3Qw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARqBkm42/fxd8xE58E+XRc6nPv/0hiN
76D22hC8d4bfcd+T2dfXtKhCQtfONxVnjlekBhlHvW8AEqSlQpZ8HqGeo1MwUTAd
BgNVHQ4EFgQUMF883/MGmTDRuW6IP/rwrELK704wHwYDVR0jBBgwFoAUMF883/MG
mTDRuW6IP/rwrELK704wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBF
AiBjo8IfEFil6EeHcyeTQFRhOZd/aMw+6aGr5LBmMyfFdgIhAP8mlh2HJRugnbzv
OJ1aLyZe+WH9znZYRZOpPKmlQB1z
-----END CERTIFICATE-----
"""


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
def valkey(shared_valkey: Valkey) -> Valkey:
    with shared_valkey.client() as client:
        client.flushall()
    return shared_valkey


@pytest.fixture
def redis_limiter(valkey: Valkey) -> Iterator[RedisLimiter]:
    with opened(valkey.url) as limiter:
        yield limiter


@dataclass
class Proxy:
    """A TCP door to the server's socket. May speak TLS; may swallow the answer to a command and hang up."""

    target: str
    tls: ssl.SSLContext | None = None
    #: swallow the answer to the first command that contains this
    swallow: bytes | None = None
    swallowed: int = 0
    requests: list[bytes] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as server:
            server.connect(self.target)
            with self.tls.wrap_socket(client, server_side=True) if self.tls else client as near:
                while request := near.recv(65536):
                    self.requests.append(request)
                    server.sendall(request)
                    answer = server.recv(65536)
                    if self.swallow and self.swallow in request and not self.swallowed:
                        self.swallowed += 1
                        return
                    near.sendall(answer)


@contextmanager
def proxy(server: Valkey, **how: object) -> Iterator[Proxy]:
    door = Proxy(target=server.socket, **how)  # type: ignore[arg-type]
    threading.Thread(target=door.serve, daemon=True).start()
    try:
        yield door
    finally:
        door.listener.shutdown(socket.SHUT_RDWR)
        door.listener.close()


def test_after_flushall_every_scope_is_unseeded(valkey: Valkey, redis_limiter: RedisLimiter) -> None:
    scopes = [account(), app()]
    seed(redis_limiter, *scopes)
    assert acquire(redis_limiter, 1, scopes, NOON) == GRANTED
    with valkey.client() as client:
        client.flushall()
    assert acquire(redis_limiter, 1, scopes, NOON) == Unseeded(scopes=tuple(scopes))
    assert valkey.keys() == []


def test_one_lost_log_is_unseeded_and_the_others_are_not(valkey: Valkey, redis_limiter: RedisLimiter) -> None:
    scopes = [account(), app()]
    seed(redis_limiter, *scopes)
    assert acquire(redis_limiter, 1, scopes, NOON) == GRANTED
    with valkey.client() as client:
        client.delete("outreach:{test}:log:account:7:SEND_TWITTER_DM")
    assert acquire(redis_limiter, 2, scopes, NOON) == Unseeded(scopes=(account(),))


def test_a_log_is_one_key_that_carries_the_instance_and_not_the_amounts(
    valkey: Valkey, redis_limiter: RedisLimiter
) -> None:
    for caps in ("8/hour", "9/hour; 40/day"):
        seed(redis_limiter, account(caps, pace=60))
        acquire(redis_limiter, 1, account(caps, pace=60), NOON)
    assert valkey.keys() == ["outreach:{test}:log:account:7:SEND_TWITTER_DM"]


def test_two_instances_on_one_server_do_not_share_a_cap(valkey: Valkey) -> None:
    scope = account("1/hour")
    with opened(valkey.url, "red") as red, opened(valkey.url, "blue") as blue:
        for limiter in (red, blue):
            seed(limiter, scope)
            assert acquire(limiter, 1, scope, NOON) == GRANTED
            assert isinstance(acquire(limiter, 2, scope, NOON), Full)


def test_two_processes_of_one_instance_share_a_cap(valkey: Valkey) -> None:
    scope = account("8/hour")
    with opened(valkey.url) as one, opened(valkey.url) as other, ThreadPoolExecutor(16) as pool:
        seed(one, scope)
        answers = list(pool.map(lambda id_: acquire(one if id_ % 2 else other, id_, scope, NOON), range(400)))
    assert answers.count(GRANTED) == 8


@pytest.mark.parametrize(
    ("scope", "longest"),
    [
        (account("8/hour; 200/week"), 168 * HOUR),
        (account("40/date"), 25 * HOUR),
        (account("8/hour", pace=60), HOUR),
    ],
)
def test_a_log_outlives_its_longest_window_by_an_hour_and_each_acquire_renews_it(
    valkey: Valkey, redis_limiter: RedisLimiter, scope: Scope, longest: timedelta
) -> None:
    seed(redis_limiter, scope)
    (key,) = valkey.keys()
    with valkey.client() as client:
        least = (longest + HOUR) / MS
        assert client.pttl(key) >= least
        client.pexpire(key, 60_000)
        assert acquire(redis_limiter, 1, scope, NOON, hold=D) == GRANTED
        assert client.pttl(key) >= least
        client.pexpire(key, 60_000)
        assert record(redis_limiter, 1, [scope], NOON, NOON) is None
        assert client.pttl(key) >= least


def test_a_refused_acquire_renews_the_log_too(valkey: Valkey, redis_limiter: RedisLimiter) -> None:
    scope = account("1/hour")
    seed(redis_limiter, scope)
    fill(redis_limiter, scope, 1)
    (key,) = valkey.keys()
    with valkey.client() as client:
        client.pexpire(key, 60_000)
        assert isinstance(acquire(redis_limiter, 2, scope, NOON), Full)
        assert client.pttl(key) >= 2 * HOUR / MS


def test_a_log_keeps_only_what_a_cap_can_still_look_at(valkey: Valkey, redis_limiter: RedisLimiter) -> None:
    scope = account("2/minute")
    seed(redis_limiter, scope)
    for minute in range(200):
        assert acquire(redis_limiter, minute, scope, NOON + minute * MINUTE) == GRANTED
    (key,) = valkey.keys()
    with valkey.client() as client:
        # One an hour and a minute back: 61 entries, the start and the floor.
        assert client.zcard(key) == 63


def test_an_acquire_is_one_round_trip(valkey: Valkey) -> None:
    scopes = [account("8/hour; 40/day; 40/date", pace=60), app("1440/day"), account("200/week", id=9)]
    with proxy(valkey) as door, opened(f"redis://{door.address}") as limiter:
        seed(limiter, *scopes)
        acquire(limiter, 1, scopes, NOON)
        before = len(door.requests)
        acquire(limiter, 2, scopes, NOON)
        (request,) = door.requests[before:]
    assert b"EVALSHA" in request


def test_an_answer_lost_on_the_way_is_asked_for_again_and_pays_once(valkey: Valkey) -> None:
    scope = account("2/hour", pace=60)
    with proxy(valkey, swallow=b"EVALSHA") as door, opened(f"redis://{door.address}/0") as limiter:
        seed(limiter, scope)
        assert acquire(limiter, 1, scope, NOON, hold=D) == GRANTED
        assert door.swallowed == 1
        assert acquire(limiter, 2, scope, NOON + MINUTE, hold=D) == GRANTED
        assert isinstance(acquire(limiter, 3, scope, NOON + 2 * MINUTE, hold=D), Full)


def test_a_server_with_a_certificate_signed_by_itself_is_accepted_unless_the_url_says_verify(
    valkey: Valkey, tmp_path: Path
) -> None:
    pem = tmp_path / "server.pem"
    pem.write_text(CERTIFICATE)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    with proxy(valkey, tls=tls) as door:
        with opened(f"rediss://{door.address}/0") as limiter:
            seed(limiter, account())
            assert acquire(limiter, 1, account(), NOON) == GRANTED
        with opened(f"rediss://{door.address}/0?ssl_cert_reqs=required") as strict:
            refused = acquire(strict, 2, account(), NOON)
    assert isinstance(refused, Unavailable)
    assert "CERTIFICATE_VERIFY_FAILED" in refused.detail


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("rediss://:secret@host:6380", "rediss://:secret@host:6380?ssl_cert_reqs=none"),
        ("rediss://host:6380/1?protocol=2", "rediss://host:6380/1?protocol=2&ssl_cert_reqs=none"),
        ("rediss://host:6380?ssl_cert_reqs=required", "rediss://host:6380?ssl_cert_reqs=required"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
    ],
)
def test_only_a_tls_url_that_says_nothing_of_certificates_is_changed(url: str, used: str) -> None:
    assert accept_self_signed(url) == used


def every_method(limiter: Limiter) -> list[object]:
    return [
        acquire(limiter, 1, account(), NOON),
        record(limiter, 1, [account()], NOON, NOON),
        limiter.seed(account(), [(1, NOON)], NOON, NOON),
        limiter.forget([account()]),
    ]


def test_without_a_server_every_method_says_unavailable_and_after_a_restart_unseeded() -> None:
    with running_valkey() as server, opened(server.url) as limiter:
        seed(limiter, account())
        assert acquire(limiter, 1, account(), NOON) == GRANTED
        server.kill()
        answers = every_method(limiter)
        assert all(isinstance(answer, Unavailable) for answer in answers), answers
        server.start()
        assert acquire(limiter, 1, account(), NOON) == Unseeded(scopes=(account(),))


def test_a_port_where_nobody_listens_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with opened(f"redis://127.0.0.1:{port}") as limiter:
        assert isinstance(acquire(limiter, 1, account(), NOON), Unavailable)


def test_a_server_that_stands_still_is_unavailable_after_two_seconds() -> None:
    with running_valkey() as server, opened(server.url) as limiter:
        seed(limiter, account())
        server.send(signal.SIGSTOP)
        began = time.monotonic()
        try:
            answer = acquire(limiter, 1, account(), NOON)
        finally:
            server.send(signal.SIGCONT)
        assert isinstance(answer, Unavailable)
        assert "TimeoutError" in answer.detail
        assert time.monotonic() - began < 3.5


def test_a_server_without_memory_takes_no_seed_and_grants_only_what_it_wrote(
    valkey: Valkey, redis_limiter: RedisLimiter
) -> None:
    scope = account("1/hour")
    seed(redis_limiter, scope)
    with valkey.client() as client:
        client.config_set("maxmemory", 1)
        try:
            written = [
                redis_limiter.seed(scope, [(9, NOON)], NOON),
                record(redis_limiter, 9, [scope], NOON, NOON),
            ]
            answers = [acquire(redis_limiter, execution_id, scope, NOON) for execution_id in (1, 2, 3)]
        finally:
            client.config_set("maxmemory", 0)
    assert all(isinstance(answer, Unavailable) for answer in written), written
    answers.append(acquire(redis_limiter, 4, scope, NOON))
    assert answers.count(GRANTED) == 1


def test_a_key_that_is_no_log_is_unavailable(valkey: Valkey, redis_limiter: RedisLimiter) -> None:
    seed(redis_limiter, account())
    (key,) = valkey.keys()
    with valkey.client() as client:
        client.set(key, "something else lies here")
    assert isinstance(acquire(redis_limiter, 1, account(), NOON), Unavailable)
