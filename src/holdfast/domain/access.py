"""What is kept of an API key."""

from __future__ import annotations

import hashlib


def key_hash(key: str) -> str:
    """SHA-256 in hex: a key has 24 random bytes, so it needs no slow hash."""
    return hashlib.sha256(key.encode()).hexdigest()
