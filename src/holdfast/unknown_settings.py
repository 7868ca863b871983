"""Environment variables that look like settings and are none: they have no effect, and the log says so at start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from holdfast.config import Settings
from holdfast.setting_sources import ENV_FILE, PREFIX

OF_WAHA: Mapping[str, str] = {
    "WAHA_API_KEY": "HOLDFAST_API_KEY",
    "WHATSAPP_API_KEY": "HOLDFAST_API_KEY",
    "WHATSAPP_API_HOSTNAME": "HOLDFAST_HOST",
    "WHATSAPP_API_PORT": "HOLDFAST_PORT",
    "WAHA_BASE_URL": "HOLDFAST_PUBLIC_URL",
    "WAHA_LOG_FORMAT": "HOLDFAST_LOG_FORMAT",
    "WAHA_LOG_LEVEL": "HOLDFAST_LOG_LEVEL",
    "WHATSAPP_HOOK_URL": "HOLDFAST_WEBHOOK_URL",
    "WHATSAPP_HOOK_EVENTS": "HOLDFAST_WEBHOOK_EVENTS",
    "WHATSAPP_HOOK_HMAC_KEY": "HOLDFAST_WEBHOOK_HMAC_KEY",
    "WHATSAPP_DEFAULT_ENGINE": "HOLDFAST_PRESENTED_ENGINE",
    "WHATSAPP_PROXY_SERVER": "HOLDFAST_PROXY",
    "WHATSAPP_SESSIONS_POSTGRESQL_URL": "HOLDFAST_DATABASE_URL",
    "WHATSAPP_FILES_FOLDER": "HOLDFAST_MEDIA_DIR",
    "WHATSAPP_FILES_LIFETIME": "HOLDFAST_MEDIA_RETENTION",
    "WAHA_CLIENT_DEVICE_NAME": "HOLDFAST_BROWSER_NAME",
    "WAHA_SESSION_CONFIG_IGNORE_STATUS": "HOLDFAST_IGNORE",
    "WAHA_SESSION_CONFIG_IGNORE_GROUPS": "HOLDFAST_IGNORE",
    "WAHA_SESSION_CONFIG_IGNORE_CHANNELS": "HOLDFAST_IGNORE",
    "WAHA_SESSION_CONFIG_IGNORE_BROADCAST": "HOLDFAST_IGNORE",
}
"""WAHA's settings, and those that do the same here."""


def without_effect(names: Iterable[str]) -> Iterator[str]:
    """A sentence for each variable among these that is no setting. Values are never shown."""
    known = {name.upper() for name in Settings.model_fields}
    for name in sorted(set(names)):
        if name in OF_WAHA:
            yield f"{name} is WAHA's setting and has no effect here: use {OF_WAHA[name]}."
            continue
        short = name.upper().removeprefix(PREFIX)
        if short != name.upper() and short not in known and name.upper() != ENV_FILE:
            near = [f"Did you mean {PREFIX}{one}?" for one in get_close_matches(short, known, n=1)]
            yield " ".join([f"{name} is no setting and has no effect.", *near])


def table() -> Iterator[str]:
    """The lines of the documentation."""
    yield "| WAHA's variable | here |"
    yield "|---|---|"
    for theirs, ours in OF_WAHA.items():
        yield f"| `{theirs}` | `{ours}` |"
