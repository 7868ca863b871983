"""What the instances of one store must have in common, and what it means where they differ.

Each tells the others its facts: names of settings, with their values. A setting that one of two does not tell is not
compared: it runs another version.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.domain.whatsapp import normal_root_key

LEASE_TTL = "HOLDFAST_LEASE_TTL"
LEASE_MODE = "HOLDFAST_LEASE_MODE"
NAMESPACE = "HOLDFAST_ACCOUNT_NAMESPACE"
WHATSAPP_URL = "HOLDFAST_WHATSAPP_URL"
ROOT_KEY = "HOLDFAST_WHATSAPP_ROOT_KEY"
PRESENTED_ENGINE = "HOLDFAST_PRESENTED_ENGINE"
IGNORE = "HOLDFAST_IGNORE"
PROXY = "HOLDFAST_PROXY"

_MEANS = {
    LEASE_TTL: "failover takes as long as the longer one",
    LEASE_MODE: "while the database is away a lenient one keeps connections that others may open as well",
    NAMESPACE: "one phone number gets another account id from each",
    WHATSAPP_URL: "a session connects to the one where it runs",
    ROOT_KEY: "a session of one WhatsApp is logged out by the other",
    PROXY: "a session that names no proxy goes another way there",
    IGNORE: "a session that does not say ignores other chats there",
    PRESENTED_ENGINE: "`_data` of the same session has two shapes",
}
"""What comes of a difference."""


def differences(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    """One sentence for each setting in which another instance differs from this one."""
    return [
        f"{name} is {_shown(theirs[name])} there and {_shown(ours[name])} here: {means}."
        for name, means in _MEANS.items()
        if name in ours and name in theirs and ours[name] != theirs[name]
    ]


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def refusal(ours: Mapping[str, object], theirs: Mapping[str, object]) -> str:
    """Why both cannot work on one store; empty if they can. Credentials of one WhatsApp are worth nothing to another:
    it would log the session out, and they would be cleared.
    """
    if ROOT_KEY not in ours or ROOT_KEY not in theirs:
        return ""
    if normal_root_key(str(ours[ROOT_KEY])) == normal_root_key(str(theirs[ROOT_KEY])):
        return ""
    return (
        f"{ROOT_KEY} differs from that of a running instance on this database, so they lead to two different "
        "WhatsApps, and sessions would be logged out. Give all instances the same, or this one a database of its own."
    )
