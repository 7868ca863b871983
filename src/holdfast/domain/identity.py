"""Stable names: the same phone or user has the same session on every instance and deploy.

Nothing of the environment enters a name, but the namespace, which is a setting: two deploys that disagree on it would
show one account's conversations as two.
"""

from __future__ import annotations

import hashlib
import re

from holdfast.domain.errors import InvalidName, InvalidPhone

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,53}")
_LEGACY = re.compile(r"account_(?:dev|development|production|prod)_([0-9a-zA-Z]+)")
RESERVED_NAMES = frozenset(
    {
        # under /api/sessions/
        "all", "logout", "start", "stop",
        # under /api/
        "contacts", "files", "holdfast", "sendFile", "sendImage", "sendSeen", "sendText", "sendVideo", "sendVoice",
        "server", "sessions", "startTyping", "status", "stopTyping", "v1", "version", "whatsapp",
    }
)  # fmt: skip
"""Names that stand in the API's paths where a session's name does: such a session could not be reached there."""

MIN_DIGITS = 7
MAX_DIGITS = 15
"""E.164: at most 15 digits, country code included."""


def canonical_phone(phone: str) -> str:
    """The digits of a phone number in international format.

    Accepts `+40 712 345 678`, `0040712345678`, `40712345678`, spaces, dashes, dots and brackets; a bracketed trunk
    zero (`+40 (0) 712 345 678`) is left out, as nobody dials it from abroad. Raises `InvalidPhone` for local format
    (a leading 0), letters, and what is too short or too long for E.164.
    """
    text = phone.strip().removesuffix("@c.us").removesuffix("@s.whatsapp.net")
    text = re.sub(r"[\s().\-/]", "", re.sub(r"(?<=\d)\s*\(0\)", "", text))
    if text.startswith("+"):
        text = text[1:]
    elif text.startswith("00"):
        text = text[2:]
    if not text.isascii() or not text.isdigit():
        raise InvalidPhone()
    if text.startswith("0"):
        raise InvalidPhone("The phone number is in local format: write it with its country code, like +40712345678.")
    if not MIN_DIGITS <= len(text) <= MAX_DIGITS:
        raise InvalidPhone(f"A phone number has {MIN_DIGITS} to {MAX_DIGITS} digits with its country code.")
    return text


def account_name(phone: str, namespace: str = "prod", digits: int = 12) -> str:
    """`account_{namespace}_{hash}`: the first hex `digits` of SHA-256 over the canonical phone's digits."""
    digest = hashlib.sha256(canonical_phone(phone).encode()).hexdigest()[:digits]
    return valid_session_name(f"account_{namespace}_{digest}")


def user_name(user_id: str) -> str:
    """`u_` and the first 12 characters of a user's id (S0.c). Raises `InvalidName`, for an empty id as well."""
    if not user_id:
        raise InvalidName("A user id is needed to name the user's session.")
    return valid_session_name(f"u_{user_id[:12]}")


def legacy_key(name: str) -> str | None:
    """The hash in a name of an older scheme (`account_dev_*`, `account_production_*` ...), or None."""
    found = _LEGACY.fullmatch(name)
    return found.group(1) if found else None


def valid_session_name(name: str) -> str:
    """The name itself, if it may be one. Raises `InvalidName`."""
    if not _NAME.fullmatch(name):
        raise InvalidName()
    if name in RESERVED_NAMES:
        raise InvalidName(
            f"A session cannot be named '{name}': the API has an address of that name. Use another, such as '{name}-1'."
        )
    return name
