"""FILE is a path, - or an https URL: each read up to a limit, each refused in words."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest

from outreach.cli import run
from outreach.cli.files import local, read_all
from outreach.download import NotPublic
from outreach.errors import UsageError

GOOD = b'sequence: hello\nactions:\n  say: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}"}\n'


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], list[str]]:
    """Every URL answers with these bytes; the URLs that were asked for."""

    def answer(body: bytes) -> list[str]:
        asked: list[str] = []

        def fetch(url: str, *, most_bytes: int, deadline: float) -> bytes:
            assert deadline > 0
            asked.append(url)
            return body[: most_bytes + 1]

        def fetch_into(file: BinaryIO, url: str, *, most_bytes: int, deadline: float) -> None:
            file.write(fetch(url, most_bytes=most_bytes, deadline=deadline))

        monkeypatch.setattr("outreach.download.fetch", fetch)
        monkeypatch.setattr("outreach.download.fetch_into", fetch_into)
        return asked

    return answer


def test_a_sequence_is_checked_wherever_it_is(
    web: Callable[[bytes], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = web(GOOD)
    (tmp_path / "hello.yaml").write_bytes(GOOD)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(GOOD)))
    assert (
        run(
            ["sequence", "check", str(tmp_path / "hello.yaml"), "-", "https://example.test/a//hello.yaml?s=1"]
        )
        == 0
    )
    assert capsys.readouterr().out.count("hello is fine, 1 actions") == 3
    assert asked == ["https://example.test/a//hello.yaml?s=1"], "as it was typed, both slashes too"


def test_what_is_too_large_is_seen_to_be(web: Callable[[bytes], list[str]]) -> None:
    web(b"x" * 100)
    assert len(read_all("https://example.test/x", 10)) == 11


def test_a_list_behind_a_url_is_a_file_of_its_name_for_as_long_as_it_is_needed(
    web: Callable[[bytes], list[str]],
) -> None:
    web(b"name,email\n")
    with local("https://example.test/lists/crm%202026.csv?signature=s", 100) as path:
        assert Path(path).name == "crm 2026.csv" and Path(path).read_bytes() == b"name,email\n"
    assert not Path(path).exists()
    with local("https://example.test/%2e%2e%2fpasswd", 100) as path:
        assert Path(path).name == "passwd"


def test_standard_input_stays_what_it_is_and_a_file_must_be_there(tmp_path: Path) -> None:
    with local("-", 10) as path:
        assert path == "-"
    with pytest.raises(UsageError, match="cannot be read"), local(str(tmp_path / "none.csv"), 10):
        raise AssertionError("it was opened")


@pytest.mark.parametrize(
    "url", ["http://example.test/a.yaml", "https://127.0.0.1/a.yaml", "HTTPS://localhost/a.yaml"]
)
def test_an_inner_or_plain_address_is_refused_with_exit_2(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotPublic):
        read_all(url, 10)
    assert run(["sequence", "check", url]) == 2
    assert "error: " in capsys.readouterr().err
