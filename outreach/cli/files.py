"""Files that the user names: a path, - for standard input, or an https URL; read up to a limit, and where that fails, said with
what may have been meant. A one-off dyno has no file of anybody's, but a pipe and the network it has.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from outreach.engine.suggest import nearest
from outreach.errors import UsageError

#: Names of a folder that are compared with one that is not there.
_COMPARED = 2000
#: How like they must be (1: equal): the ending alone, which all of them share, is no likeness.
_ALIKE = 0.75
#: Real seconds for a whole download.
_DEADLINE = 300.0


def read_all(name: str, most: int) -> bytes:
    """What stands under the name (path, - or https URL), or so much of it that a limit of `most` bytes sees it is too large.

    Raises UsageError, or OutreachError where the other side does not answer.
    """
    if name == "-":
        return sys.stdin.buffer.read(most + 1)
    if is_url(name):
        from outreach.download import fetch

        return fetch(name, most_bytes=most, deadline=_DEADLINE)
    return bytes_of(Path(name), most)


def is_url(name: str) -> bool:
    """Is it an address of the network? Plain http too, which is then refused with a reason."""
    return name.lower().startswith(("https://", "http://"))


@contextmanager
def local(name: str, most: int) -> Iterator[str]:
    """The name of a file on this machine with the same contents: a URL is downloaded for as long as it is needed; - stays -.

    Raises as `read_all` does, and UsageError for a download of more than `most` bytes.
    """
    if not is_url(name):
        if name != "-":
            require_file(Path(name))
        yield name
        return
    from outreach.download import fetch_into

    with tempfile.TemporaryDirectory() as folder:
        # Its own last part: reports name the file, and its ending says what it is.
        path = Path(folder) / (Path(unquote(urlsplit(name).path)).name or "download")
        with path.open("wb") as file:
            fetch_into(file, name, most_bytes=most, deadline=_DEADLINE)
        yield str(path)


def bytes_of(path: Path, most: int) -> bytes:
    """The file, or so much of it that a limit of `most` bytes sees it is too large. Raises UsageError."""
    require_file(path)
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {_reason(error)}", hint=_mend(path, error)) from error


def require_file(path: Path) -> None:
    """Raises UsageError where there is no such file, or where it is a folder."""
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        # A pipe is opened once, by whoever reads it.
        if path.is_file() or not path.exists():
            path.open("rb").close()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {_reason(error)}", hint=_mend(path, error)) from error


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown").lower()


def _mend(path: Path, error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return "name a file in it"
    if isinstance(error, PermissionError):
        return "let this user read it (chmod), or hand it over by standard input: - in place of its name"
    if isinstance(error, FileNotFoundError):
        guess = nearest(path.name, _names_in(path.parent), cutoff=_ALIKE)
        return f"Did you mean {path.with_name(guess)}?" if guess else f"looked in {path.absolute().parent}"
    return "copy it to a local disk, or name another file"


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())[:_COMPARED]
    except OSError:
        # Without a folder there is nothing to suggest: the message says where it was looked for.
        return []
