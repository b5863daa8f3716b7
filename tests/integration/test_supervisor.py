"""The supervisor of child processes, against real children."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outreach.embedded.supervisor import Command, Supervisor, interrupted_by_signals
from outreach.embedded.waiting import wait_until
from outreach.errors import NotFound, UsageError

LINUX_ONLY = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux ties a child to its parent's life"
)
REST = "import threading; threading.Event().wait()"
#: says `ready` when it can no longer be surprised
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); {REST}"
LEAVES_POLITELY = f"""
import signal, sys
def leave(*_):
    print("tidied up")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready")
{REST}
"""


def python(name: str, program: str, **wishes: object) -> Command:
    words = (sys.executable, "-I", "-S", "-u", "-c", textwrap.dedent(program))
    return Command(name=name, words=words, environ={}, **wishes)  # type: ignore[arg-type]


def is_gone(pid: int) -> bool:
    """No such process, or one that has ended and waits for a parent that will never ask."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text() if Path("/proc/self").exists() else "(?) S"
    except (ProcessLookupError, FileNotFoundError):
        return True
    return status.rsplit(")", 1)[1].split()[0] == "Z"


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def supervisor(lines: list[str]) -> Iterator[Supervisor]:
    with Supervisor(say=lines.append) as supervisor:
        yield supervisor


def within(seconds: float, happened: Callable[[], bool]) -> bool:
    return wait_until(happened, timeout=seconds, every=0.01)


def test_every_line_of_a_child_is_said_with_its_name_whichever_stream_it_chose(
    supervisor: Supervisor, lines: list[str]
) -> None:
    supervisor.start(python("web", "import sys; print('hello'); print('trouble', file=sys.stderr)"))
    assert within(5, lambda: sorted(lines) == ["web | hello", "web | trouble"])


def test_a_child_sees_the_environment_that_it_was_given_and_no_other(
    supervisor: Supervisor, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "1")
    program = "import os; print(os.environ.get('OURS'), os.environ.get('THEIRS'))"
    words = (sys.executable, "-I", "-S", "-u", "-c", program)
    supervisor.start(Command(name="web", words=words, environ={"THEIRS": "2"}))
    assert within(5, lambda: lines == ["web | None 2"])


def test_a_child_with_a_log_file_writes_to_its_end(
    supervisor: Supervisor, lines: list[str], tmp_path: Path
) -> None:
    log = tmp_path / "web.log"
    log.write_text("from before\n")
    supervisor.start(python("web", "print('hello')", log=log))
    supervisor.wait(5)
    assert log.read_text() == "from before\nhello\n"
    assert lines == []


def test_a_listener_that_goes_away_does_not_block_a_talkative_child() -> None:
    def broken(line: str) -> None:
        raise BrokenPipeError

    with Supervisor(say=broken) as supervisor:
        supervisor.start(python("web", "for _ in range(20_000): print('much more than a pipe holds')"))
        assert supervisor.wait(10) == "web"
        assert supervisor.exit_codes() == {"web": (0,)}


def test_a_killed_child_comes_back_as_another_process(supervisor: Supervisor, lines: list[str]) -> None:
    first = supervisor.start(python("worker-1", REST, restart=True))
    supervisor.kill("worker-1", signal.SIGKILL)
    assert within(5, lambda: supervisor.running().get("worker-1", first) != first)
    assert supervisor.exit_codes() == {"worker-1": (-9,)}
    assert lines == ["worker-1 | ended with -9; starting again in 0.25 s"]


def test_a_child_that_crashes_again_and_again_is_started_ever_more_slowly(
    supervisor: Supervisor, lines: list[str]
) -> None:
    supervisor.start(python("worker-1", "raise SystemExit(3)", restart=True))
    assert within(10, lambda: len(lines) >= 3)
    assert [line.rsplit("in ", 1)[1] for line in lines[:3]] == ["0.25 s", "0.5 s", "1 s"]


def test_a_child_that_ends_well_stays_ended(supervisor: Supervisor) -> None:
    supervisor.start(python("release", "pass", restart=True))
    assert supervisor.wait(5) == "release"
    assert supervisor.exit_codes() == {"release": (0,)}


def test_waiting_names_the_child_that_ended_and_leaves_the_others_running(supervisor: Supervisor) -> None:
    pid = supervisor.start(python("web", REST))
    assert supervisor.wait(0.2) is None
    supervisor.start(python("worker-1", "raise SystemExit(1)"))
    assert supervisor.wait(5) == "worker-1"
    assert supervisor.running() == {"web": pid}


def test_a_program_that_is_not_there_ends_at_once_and_says_so(
    supervisor: Supervisor, lines: list[str]
) -> None:
    supervisor.start(Command(name="web", words=["/no/such/program"], environ={}))
    assert supervisor.wait(5) == "web"
    assert supervisor.exit_codes() == {"web": (126,)}
    assert within(5, lambda: lines == ["web | launch: /no/such/program: No such file or directory"])


def test_a_child_that_cannot_be_started_raises_where_it_was_asked_for(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        supervisor.start(python("web", REST, log=tmp_path / "no-such-folder" / "web.log"))
    assert supervisor.running() == {}


def test_two_children_cannot_have_one_name_but_a_name_can_be_used_again(supervisor: Supervisor) -> None:
    supervisor.start(python("web", REST))
    with pytest.raises(UsageError, match="web"):
        supervisor.start(python("web", REST))
    supervisor.kill("web", signal.SIGTERM)
    supervisor.wait(5)
    supervisor.start(python("web", REST))


def test_killing_what_does_not_run_is_an_error(supervisor: Supervisor) -> None:
    with pytest.raises(NotFound, match="worker-9"):
        supervisor.kill("worker-9")
    with pytest.raises(NotFound, match="worker-9"):
        supervisor.restart("worker-9", signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_that_is_restarted_comes_back_whatever_it_ended_with_and_it_is_no_crash(
    supervisor: Supervisor, lines: list[str], number: signal.Signals
) -> None:
    for times in (1, 2, 3):
        supervisor.start(python("web", LEAVES_POLITELY)) if times == 1 else None
        assert within(5, lambda: lines.count("web | ready") == times)  # noqa: B023  asked at once
        supervisor.restart("web", number)
    assert within(5, lambda: lines.count("web | ready") == 4)
    assert supervisor.exit_codes() == {"web": (0 if number is signal.SIGTERM else -9,) * 3}
    assert not [line for line in lines if "starting again" in line]
    supervisor.kill("web", number)
    assert supervisor.wait(5) == "web", "it is not started again for ever"


def test_a_restart_takes_what_the_child_had_started_along(supervisor: Supervisor, lines: list[str]) -> None:
    program = f"""
    import subprocess, sys
    grandchild = subprocess.Popen([sys.executable, "-I", "-S", "-u", "-c", {IGNORES_SIGTERM!r}])
    print(grandchild.pid)
    {REST}
    """
    supervisor.start(python("worker-1", program))
    assert within(5, lambda: "worker-1 | ready" in lines)
    grandchild = next(int(word) for line in lines if (word := line.split("| ")[1]).isdigit())
    supervisor.restart("worker-1", signal.SIGKILL)
    assert within(5, lambda: is_gone(grandchild))
    assert within(5, lambda: lines.count("worker-1 | ready") == 2)


def test_stopping_lets_children_end_by_themselves_and_says_their_last_lines() -> None:
    lines: list[str] = []
    with Supervisor(say=lines.append) as supervisor:
        supervisor.start(python("worker-1", LEAVES_POLITELY, restart=True))
        assert within(5, lambda: "worker-1 | ready" in lines)
    assert supervisor.exit_codes() == {"worker-1": (0,)}
    assert lines == ["worker-1 | ready", "worker-1 | tidied up"]


def test_stopping_kills_a_child_that_does_not_listen_and_what_it_started() -> None:
    lines: list[str] = []
    program = f"""
    import subprocess, sys
    grandchild = subprocess.Popen([sys.executable, "-I", "-S", "-u", "-c", {IGNORES_SIGTERM!r}])
    print(grandchild.pid)
    {IGNORES_SIGTERM}
    """
    supervisor = Supervisor(say=lines.append)
    supervisor.start(python("worker-1", program))
    assert within(5, lambda: lines.count("worker-1 | ready") == 2)
    supervisor.stop(timeout=0.3)
    assert supervisor.exit_codes() == {"worker-1": (-9,)}
    grandchild = next(int(word) for line in lines if (word := line.split("| ")[1]).isdigit())
    assert within(5, lambda: is_gone(grandchild))


def test_stop_signals_are_sent_one_after_the_other() -> None:
    lines: list[str] = []
    supervisor = Supervisor(say=lines.append)
    supervisor.start(python("server", IGNORES_SIGTERM, stop_signals=(signal.SIGTERM, signal.SIGQUIT)))
    assert within(5, lambda: "server | ready" in lines)
    supervisor.stop(timeout=0.4)
    assert supervisor.exit_codes() == {"server": (-signal.SIGQUIT,)}


def test_a_stopped_supervisor_starts_nothing_more() -> None:
    supervisor = Supervisor()
    supervisor.stop()
    with pytest.raises(UsageError):
        supervisor.start(python("web", REST))


def test_the_terminals_interrupt_does_not_reach_children_before_us(supervisor: Supervisor) -> None:
    pid = supervisor.start(python("web", REST))
    assert os.getpgid(pid) != os.getpgid(0)


def test_a_child_obeys_signals_that_its_parent_ignores(supervisor: Supervisor, lines: list[str]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        supervisor.start(python("web", f"print('ready'); {REST}"))
        assert within(5, lambda: lines == ["web | ready"])
        supervisor.kill("web", signal.SIGINT)
        assert supervisor.wait(5) == "web"
    finally:
        signal.signal(signal.SIGINT, before)


@LINUX_ONLY
def test_a_child_outlives_the_thread_that_asked_for_it(supervisor: Supervisor) -> None:
    thread = threading.Thread(target=supervisor.start, args=(python("web", REST),))
    thread.start()
    thread.join()
    assert supervisor.wait(0.5) is None
    assert list(supervisor.running()) == ["web"]


@LINUX_ONLY
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_do_not_outlive_a_parent_that_had_no_time_to_stop_them(number: signal.Signals) -> None:
    program = f"""
    import sys, threading
    from outreach.embedded.supervisor import Command, Supervisor
    words = [sys.executable, "-I", "-S", "-u", "-c", {f"print('ready'); {REST}"!r}]
    print(Supervisor().start(Command(name="web", words=words, environ={{}})), flush=True)
    threading.Event().wait()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        said = {owner.stdout.readline().strip() for _ in range(2)}
        assert "web | ready" in said
        child = next(int(line) for line in said if line.isdigit())
        assert not is_gone(child)
        owner.send_signal(number)
    assert within(5, lambda: is_gone(child))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_interrupts_and_the_second_does_not_disturb_the_clean_up(
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    cleaned_up = False
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned_up = True
    assert cleaned_up
    assert signal.getsignal(number) is before
