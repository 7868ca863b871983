"""Every setting of the Baileys engine in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.domain.errors import InvalidSettings
from holdfast.domain.proxies import Routes


@dataclass(frozen=True, slots=True)
class BaileysOptions:
    """How sidecars are started and what they are told. Times are seconds, before `time_factor`."""

    data_dir: Path
    """Where an installed Holdfast keeps the sidecar's packages and Node's compile cache."""
    node: str = ""
    """Path of the Node program; empty: the one that came along, else the PATH's."""
    whatsapp_url: str = "wss://web.whatsapp.com/ws/chat"
    root_key: str | None = None
    """The Noise root key to trust in place of WhatsApp's, as 64 hex digits."""
    ca_file: Path | None = None
    """PEM file of further certificate authorities, for media over TLS."""
    wa_version: str | None = None
    """WhatsApp Web's version, such as `2.3000.1043857760`; None uses the one that Baileys carries."""
    version_url: str = "https://web.whatsapp.com/sw.js"
    """Where the present version is found when WhatsApp refuses ours (405)."""
    browser: str = "Holdfast"
    """The name under which the phone lists the linked device."""
    keepalive: float = 10.0
    """A connection that was silent so long is pinged."""
    liveness: float = 30.0
    """A connection that was silent so long is terminated."""
    connect_timeout: float = 20.0
    query_timeout: float = 20.0
    send_timeout: float = 20.0
    close_timeout: float = 2.0
    """How long WhatsApp may take to answer a close before the raw socket is terminated."""
    proved_every: float = 10.0
    hang_timeout: float = 8.0
    """A sidecar that did not answer a ping on its pipe for so long is killed."""
    start_timeout: float = 30.0
    store_patience: float = 10.0
    """How long a write is tried again while the store cannot be reached; the connection waits meanwhile."""
    memory_limit_mb: int = 2048
    """A sidecar whose resident memory exceeds it is replaced; also Node's heap limit (`--max-old-space-size`)."""
    semi_space_mb: int = 32
    """Node's limit for each half of the heap's young part (`--max-semi-space-size`). With its own, 64, a sidecar is 60
    MB larger and no faster; with 16 it takes about 5 % more CPU time for a message.
    """
    sessions_per_sidecar: int = 200
    credits: int = 256
    """Bulk events of one session that may be under way before its socket is no longer read."""
    cache_bytes: int = 8 * 1024 * 1024
    """Key values that one sidecar may keep, over all its sessions."""
    crash_file: str = ""
    """Test-only: the file in which tests arm crash points; see `holdfast.crash`."""
    inherit_fds: Sequence[int] = ()
    """Open files that sidecars inherit, such as the instance's lock."""
    routes: Routes = field(default_factory=Routes)
    """Which proxy each session's connections take."""
    time_factor: float = 1.0
    """Test-only: scales every time here and in the sidecar, except the start of a process."""

    def version_parts(self) -> list[int] | None:
        """`wa_version` as three numbers. Raises `InvalidSettings`."""
        if not self.wa_version:
            return None
        parts = self.wa_version.split(".")
        if len(parts) != 3 or not all(part.isdigit() for part in parts):
            raise InvalidSettings(f"WHATSAPP_VERSION must be three numbers such as 2.3000.1, not {self.wa_version!r}.")
        return [int(part) for part in parts]

    def for_sidecar(self) -> dict[str, Any]:
        """The first request to a sidecar (sidecar/src/settings.ts). Raises `InvalidSettings`."""
        try:
            root_key = bytes.fromhex(self.root_key) if self.root_key else None
        except ValueError:
            raise InvalidSettings("WHATSAPP_ROOT_KEY must be 64 hex digits.") from None
        if root_key is not None and len(root_key) != 32:
            raise InvalidSettings("WHATSAPP_ROOT_KEY must be 64 hex digits.")
        factor = self.time_factor
        # Baileys shows the first ref for 60 s and each further one for 20 s; scaled, it takes one time for all.
        first, further = (60.0, 20.0) if factor == 1.0 else (20.0 * factor, 20.0 * factor)
        return {
            "whatsapp_url": self.whatsapp_url,
            "root_key": root_key,
            "wa_version": self.version_parts(),
            "browser": self.browser,
            "keepalive": self.keepalive * factor,
            "liveness": self.liveness * factor,
            "connect_timeout": self.connect_timeout * factor,
            "query_timeout": self.query_timeout * factor,
            "send_timeout": self.send_timeout * factor,
            "close_timeout": self.close_timeout * factor,
            "proved_every": self.proved_every * factor,
            "first_qr": first,
            "next_qr": further,
            "cache_bytes": self.cache_bytes,
            "credits": self.credits,
        }
