"""Types of settings: secrets, of which a blank one is unset, keys that are presented to this server, lists of names."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr

from holdfast.domain.ignored_chats import IgnoredChats
from holdfast.domain.session_options import EVENTS, unknown_events

MIN_KEY_LENGTH = 12
"""Characters of the shortest key that this server accepts from its clients."""


def _blank_is_unset(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if isinstance(text, str) and not text.strip() else value


def _check_key(value: SecretStr | None) -> SecretStr | None:
    """A key travels in a header, so it is stripped and limited to what a header can hold everywhere."""
    if value is None:
        return None
    key = value.get_secret_value().strip()
    if len(key) < MIN_KEY_LENGTH:
        raise ValueError(
            f"has {len(key)} characters, and a key that short can be guessed. Use at least {MIN_KEY_LENGTH}, "
            "for example from `openssl rand -hex 24`"
        )
    if not (key.isascii() and key.isprintable()):
        raise ValueError("must consist of printable ASCII characters, because it is sent in a header")
    return SecretStr(key)


Secret = Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)]
"""A secret. Empty or blank is unset, so that nothing is ever signed with, or compared to, an empty secret."""

Key = Annotated[Secret, AfterValidator(_check_key)]
"""A secret that clients present to this server, or sign requests to it with: it must not be guessable."""


def _check_events(value: str) -> str:
    if unknown := unknown_events([part.strip() for part in value.split(",") if part.strip()]):
        raise ValueError(f"there is no event {', '.join(unknown)}. Known are {', '.join(EVENTS)} and *")
    return value


def _check_chats(value: str) -> str:
    IgnoredChats.parse(value)
    return value


EventNames = Annotated[str, AfterValidator(_check_events)]
"""Names of events, separated by commas."""

ChatKinds = Annotated[str, AfterValidator(_check_chats)]
"""Kinds of chats, separated by commas."""


def plain(secret: SecretStr | None) -> str:
    """The secret's text, empty where it is unset."""
    return secret.get_secret_value() if secret else ""
