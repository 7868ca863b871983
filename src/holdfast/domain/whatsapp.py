"""Which WhatsApp an instance connects to: WhatsApp itself, or a simulator.

Credentials belong to the WhatsApp that linked them. Another one answers 401 to them, and a 401 clears them. Two
WhatsApps are told apart by the Noise root key that their servers prove; the URL says nothing, since relays are legal.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

OFFICIAL_ROOT_KEY = "142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b"
"""WhatsApp's own, in hex. Source: Baileys 7.0.0-rc14, lib/Defaults/index.js, `WA_CERT_DETAILS`."""


@dataclass(frozen=True, slots=True)
class WhatsApp:
    """Make one with `of`, which normalizes. An empty `root_key` is WhatsApp's own. `url`: scheme, host and path."""

    root_key: str = ""
    url: str = ""

    @classmethod
    def of(cls, root_key: str, url: str) -> WhatsApp:
        """From settings."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return cls(normal_root_key(root_key), f"{parts.scheme}://{host}{parts.path}" if host else "")


def normal_root_key(root_key: str) -> str:
    """One spelling for each key: lower case, and empty for WhatsApp's own, however it was given."""
    key = root_key.strip().lower()
    return "" if key == OFFICIAL_ROOT_KEY else key


def shown_root_key(root_key: str) -> str:
    """For sentences; a root key is public, so that its beginning may be shown."""
    return f"{root_key[:12]}…" if root_key else "WhatsApp's own"
