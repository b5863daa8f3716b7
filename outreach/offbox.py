"""Where the off-box journal stands: a file, a URL or a bucket. Append-only, in order; a line may stand there twice, never changed.

Each place can say what its last line is, except a URL, which refuses (409) a number that it has another line under. By that a
restored database is told: the outside knows lines that it never wrote.
"""

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from outreach.errors import ConfigurationError
from outreach.outbound import Failed, Outbound

#: Real seconds of one exchange; bytes of a file's end that hold its last line; bytes that are read back at most.
_DEADLINE, _TAIL, _MOST = 15.0, 1024 * 1024, 256 * 1024**2
_CONFLICT = 409


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """A running number, and exactly what is written."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The place could not be read or written: why, without its URL."""

    reason: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Everything stands there now."""


@dataclass(frozen=True, slots=True)
class OtherLines:
    """Another line stands there under such a number: somebody else has written after us."""

    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """This place cannot be asked what its last line is."""


class Place(Protocol):
    """Where lines are kept outside the database."""

    def last(self, near: int) -> Line | Unknown | NotTaken | None:
        """The last line that stands there, as far as it is not before `near`; None: there is none."""
        ...

    def append(self, lines: Sequence[Line]) -> Taken | NotTaken | OtherLines:
        """Write them, in their order, after what is there."""
        ...

    def read(self) -> Iterator[Line]:
        """Everything, in order. Raises ConfigurationError where it cannot be read."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """How an S3 service is reached. `endpoint`: its URL; None: Amazon's own."""

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None


def place_of(url: str, outbound: Outbound, bucket: Bucket) -> Place:
    """The place that a URL names. Raises ConfigurationError."""
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            return FilePlace(Path(unquote(parts.path)))
        case "s3":
            return BucketPlace(parts.netloc, parts.path.strip("/"), outbound, bucket)
        case "https" | "http":
            return UrlPlace(url, outbound)
    raise ConfigurationError(
        f"a journal cannot be kept at {parts.scheme or 'that'}",
        hint="file:///PATH, https://…, or s3://BUCKET/PREFIX",
    )


def parse(text: str) -> Line | None:
    """A line that was read; None: it is not whole (a machine died while it was written), or no line of a journal."""
    try:
        number = json.loads(text)["n"]
    except (ValueError, KeyError, TypeError):
        return None
    return Line(number, text) if isinstance(number, int) else None


def _lines(text: str) -> list[Line]:
    return [line for raw in text.splitlines() if (line := parse(raw)) is not None]


# --- a file ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A file on another disk: appended to, and on the disk before it counts as taken."""

    path: Path

    def last(self, near: int) -> Line | NotTaken | None:  # noqa: ARG002  a file's end is near enough
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                found = _lines(file.read().decode(errors="replace"))
        except FileNotFoundError:
            return None
        except OSError as error:
            return NotTaken(f"the file cannot be read: {error.strerror}")
        return max(found, default=None)

    def append(self, lines: Sequence[Line]) -> Taken | NotTaken:
        text = "".join(f"{line.text}\n" for line in lines).encode()
        try:
            new = not self.path.exists()
            with open(self.path, "ab+", opener=_private) as file:
                if not _ends_whole(file):
                    text = b"\n" + text
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if new:
                _sync_folder(self.path.parent)
        except OSError as error:
            return NotTaken(f"the file cannot be written: {error.strerror}")
        return Taken()

    def read(self) -> Iterator[Line]:
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                yield from (line for raw in file if (line := parse(raw.rstrip("\n"))) is not None)
        except OSError as error:
            raise ConfigurationError(f"the journal {self.path} cannot be read: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _ends_whole(file: Any) -> bool:
    """Does its last line end? One that was cut short stays as it is; ours begins on a line of its own."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return True
    file.seek(end - 1)
    return bool(file.read(1) == b"\n")


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- a URL -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UrlPlace:
    """A receiver: POST {"lines": [...]} appends (2xx: they are kept for good; 409: another line has that number); GET gives all lines."""

    url: str
    outbound: Outbound

    def last(self, near: int) -> Unknown:  # noqa: ARG002  it is not asked: a 409 tells
        return Unknown()

    def append(self, lines: Sequence[Line]) -> Taken | NotTaken | OtherLines:
        body = {"lines": [line.text for line in lines]}
        answer = self.outbound.call("POST", self.url, body=body, deadline_seconds=_DEADLINE)
        if isinstance(answer, Failed):
            return NotTaken(answer.reason)
        if answer.status == _CONFLICT:
            return OtherLines(f"it has other lines than ours from {lines[0].number} on")
        return Taken() if answer.ok else NotTaken(f"it answered {answer.status}")

    def read(self) -> Iterator[Line]:
        answer = self.outbound.call("GET", self.url, deadline_seconds=_DEADLINE * 20, most_bytes=_MOST)
        if isinstance(answer, Failed) or not answer.ok:
            why = answer.reason if isinstance(answer, Failed) else f"it answered {answer.status}"
            raise ConfigurationError(
                f"the journal cannot be read by its URL: {why}",
                hint="fetch it by other means, and adopt with --journal FILE",
            )
        yield from _lines(answer.body.decode(errors="replace"))


# --- a bucket --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """An S3 bucket: one object per batch, called by its last number, never overwritten."""

    name: str
    prefix: str
    outbound: Outbound
    bucket: Bucket

    def last(self, near: int) -> Line | NotTaken | None:
        try:
            client = self._client()
            names = [
                str(one.object_name)
                for one in client.list_objects(
                    self.name,
                    prefix=self._key(),
                    recursive=True,
                    start_after=f"{self._key()}{near - 1:015d}.jsonl",
                )
            ]
            return max(_lines(self._text(client, max(names))), default=None) if names else None
        except _bucket_errors() as error:
            return NotTaken(_said(error))

    def append(self, lines: Sequence[Line]) -> Taken | NotTaken:
        text = "".join(f"{line.text}\n" for line in lines).encode()
        name = f"{self._key()}{lines[-1].number:015d}.jsonl"
        try:
            self._client().put_object(
                self.name, name, io.BytesIO(text), len(text), content_type="application/x-ndjson"
            )
        except _bucket_errors() as error:
            return NotTaken(_said(error))
        return Taken()

    def read(self) -> Iterator[Line]:
        try:
            client = self._client()
            names = sorted(
                str(one.object_name)
                for one in client.list_objects(self.name, prefix=self._key(), recursive=True)
            )
            for name in names:
                yield from _lines(self._text(client, name))
        except _bucket_errors() as error:
            raise ConfigurationError(f"the journal's bucket cannot be read: {_said(error)}") from error

    def _key(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _text(self, client: Any, name: str) -> str:
        answer = client.get_object(self.name, name)
        try:
            return bytes(answer.read()).decode(errors="replace")
        finally:
            answer.close()
            answer.release_conn()

    def _client(self) -> Any:
        from urllib3 import PoolManager, Retry, Timeout

        endpoint = self.bucket.endpoint or "https://s3.amazonaws.com"
        # Judged by its looks like every address that an operator names; the client connects by itself.
        self.outbound.require_allowed(endpoint)
        parts = urlsplit(endpoint)
        return _minio()(
            parts.netloc,
            access_key=self.bucket.access_key,
            secret_key=self.bucket.secret_key,
            session_token=self.bucket.session_token,
            region=self.bucket.region or "us-east-1",
            secure=parts.scheme == "https",
            http_client=PoolManager(timeout=Timeout(total=_DEADLINE), retries=Retry(0)),
        )


def _minio() -> Any:
    try:
        from minio import Minio
    except ImportError:
        raise ConfigurationError(
            "a bucket needs a library that is not installed", hint="pip install 'outreach-engine[bucket]'"
        ) from None
    return Minio


def _bucket_errors() -> tuple[type[Exception], ...]:
    _minio()
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    return (MinioException, HTTPError, ConfigurationError)


def _said(error: Exception) -> str:
    code = getattr(error, "code", None)
    return f"{type(error).__name__}{f' ({code})' if code else ''}"
