"""Keys and what is stored in their place."""

from __future__ import annotations

import hashlib
import hmac
import re

_SESSION_ID = re.compile(rb"[A-Za-z0-9_-]{43}")


def key_hash(key: str | bytes) -> str:
    """SHA-256 in hex. Only generated keys are stored so: 24 random bytes need no slow hash. A key from the environment
    may be weaker, and is not stored at all.
    """
    return hashlib.sha256(key.encode(errors="replace") if isinstance(key, str) else key).hexdigest()


def fits(key: str | bytes, expected: str) -> bool:
    """Whether `expected` is the key's hash, in constant time. An empty key never fits."""
    return bool(key) and hmac.compare_digest(key_hash(key), expected)


def is_session_id(value: bytes) -> bool:
    """Whether it has the form of a dashboard session's id: 32 bytes in URL-safe base64."""
    return _SESSION_ID.fullmatch(value) is not None


def session_hash(session_id: bytes, api_key_hash: str) -> str:
    """What is stored of a dashboard session's id. It depends on the API key: a changed key ends all sessions, also
    where the key comes from the environment. From the hash neither the id nor the key can be guessed.
    """
    return hmac.new(api_key_hash.encode(), session_id, hashlib.sha256).hexdigest()
