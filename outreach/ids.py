"""Identifiers, digests and the only source of randomness. Row ids are Postgres identities, not made here."""

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Mapping
from typing import Any


def new_token(nbytes: int = 24) -> str:
    """A fresh URL-safe secret of `nbytes` random bytes."""
    return secrets.token_urlsafe(nbytes)


def new_bytes(count: int) -> bytes:
    """Fresh random bytes."""
    return secrets.token_bytes(count)


def new_key() -> str:
    """A fresh unique key (UUID 4, as text)."""
    return str(uuid.uuid4())


def digest(text: str) -> str:
    """SHA-256 of the text's UTF-8 bytes, in hex: what we keep of a body."""
    return hashlib.sha256(text.encode()).hexdigest()


def content_hash(value: Mapping[str, Any]) -> str:
    """SHA-256 of the value's canonical JSON, in hex: equal content has an equal hash, whatever its key order."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest(canonical)


def keyed_digest(secret: str, *parts: str) -> str:
    """HMAC-SHA256 of the parts under a secret, in hex."""
    return hmac.new(secret.encode(), "\x1f".join(parts).encode(), hashlib.sha256).hexdigest()


def bucket(*parts: str | int) -> float:
    """A stable number in [0, 1) made of the parts: the same lead always falls on the same variant."""
    seed = "\x1f".join(str(p) for p in parts).encode()
    return int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") / 2**64
