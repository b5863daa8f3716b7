"""Files that the user names: read up to a limit, and where that fails, said with what may have been meant."""

from pathlib import Path

from outreach.engine.suggest import nearest
from outreach.errors import UsageError

#: Names of a folder that are compared with one that is not there.
_COMPARED = 2000
#: How like they must be (1: equal): the ending alone, which all of them share, is no likeness.
_ALIKE = 0.75


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
