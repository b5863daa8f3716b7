"""Credentials at rest: sealed with AES-256-GCM under a ring of keys, each bound to the one place where it is stored. Pure.

A sealed text is `v1:<key id>:<base64 of nonce and ciphertext>`. The place is authenticated with it: a text that was moved to
another row, column or table does not open. The first key of the ring seals, every key of it opens.
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NewType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from outreach.errors import ConfigurationError, OutreachError
from outreach.ids import new_bytes, new_token

#: What may be stored: text that the vault has sealed.
Sealed = NewType("Sealed", str)
#: The key of an installation that was given none. Everybody knows it: it hides nothing from anybody.
DEVELOPMENT = "development"
#: Random characters that a key has at least: 32 bytes, however they are written.
LEAST_CHARACTERS = 43
_VERSION, _NONCE_BYTES = "v1", 12


class CannotOpen(OutreachError):
    """A stored credential cannot be opened."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a credential is stored. `row` never changes as long as the row lives, and no other row has it."""

    table: str
    column: str
    row: str

    @property
    def authenticated(self) -> bytes:
        return "\x1f".join((self.table, self.column, self.row)).encode()

    def __str__(self) -> str:
        return f"{self.column} of {self.table} {self.row}"


@dataclass(frozen=True, slots=True)
class _Key:
    #: tells which key it is, and nothing of it
    id: str
    cipher: AESGCM = field(repr=False)

    @classmethod
    def of(cls, text: str) -> "_Key":
        root = hmac.digest(b"outreach vault v1", text.encode(), "sha256")
        return cls(hmac.digest(root, b"id", "sha256").hex()[:8], AESGCM(hmac.digest(root, b"seal", "sha256")))


@dataclass(frozen=True, slots=True)
class Vault:
    """A ring of keys. Make it with `Vault.of`."""

    _ring: tuple[_Key, ...]

    @classmethod
    def of(cls, text: str) -> "Vault":
        """`text`: keys with commas or line ends between them, the current one first. Raises ConfigurationError."""
        words = ring_of(text)
        if not words:
            raise ConfigurationError("OUTREACH_KEYS holds no key", hint="outreach keys new prints one")
        for number, word in enumerate(words, 1):
            if word != DEVELOPMENT and len(word) < LEAST_CHARACTERS:
                # Never the key itself in a message.
                raise ConfigurationError(
                    f"key {number} of OUTREACH_KEYS has {len(word)} characters, and {LEAST_CHARACTERS} are wanted at least",
                    hint="outreach keys new prints one: 32 random bytes",
                )
        return cls(tuple(_Key.of(word) for word in words))

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the ring's keys, the current one first."""
        return tuple(key.id for key in self._ring)

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return self._ring[0].id

    def seal(self, plain: str, place: Place) -> Sealed:
        """What may be stored in that place."""
        key, nonce = self._ring[0], new_bytes(_NONCE_BYTES)
        box = nonce + key.cipher.encrypt(nonce, plain.encode(), place.authenticated)
        return Sealed(f"{_VERSION}:{key.id}:{b64encode(box).decode()}")

    def open(self, sealed: str, place: Place) -> str:
        """The credential that was sealed for that place. Raises CannotOpen, saying why, never with a word of it."""
        version, key_id, box = _parts(sealed, place)
        if version != _VERSION:
            raise CannotOpen(f"the {place} was sealed by a newer release")
        key = next((key for key in self._ring if key.id == key_id), None)
        if key is None:
            raise CannotOpen(f"the {place} is sealed under key {key_id}, which is not in OUTREACH_KEYS")
        try:
            raw = _unpacked(box)
            return key.cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.authenticated).decode()
        except (InvalidTag, ValueError):
            raise CannotOpen(
                f"the {place} is not what was stored there: it was changed, or moved there"
            ) from None


def _unpacked(box: str) -> bytes:
    """Raises ValueError, also for a text that is only another spelling of the same bytes."""
    raw = b64decode(box, validate=True)
    if b64encode(raw).decode() != box:
        raise ValueError("not as it was written")
    return raw


def _parts(sealed: str, place: Place) -> list[str]:
    parts = sealed.split(":", 2)
    if len(parts) != 3 or not parts[0].startswith("v") or not parts[0][1:].isdecimal():
        raise CannotOpen(f"the {place} is not sealed: it was not written by this engine")
    return parts


def new_key() -> str:
    """A fresh key: 32 random bytes, as text."""
    return new_token(32)


def ring_of(text: str) -> Sequence[str]:
    """The secrets of a ring, the current one first."""
    words = (word.strip() for line in text.splitlines() for word in line.split(","))
    return list(dict.fromkeys(word for word in words if word))
