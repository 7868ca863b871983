"""Every setting of the WAHA engine in one place."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.domain.breaker import BreakerTimes
from holdfast.domain.ignored_chats import NOTHING, IgnoredChats
from holdfast.domain.remote import RemoteTimes


@dataclass(frozen=True, slots=True)
class WahaServer:
    """One WAHA server. `url` has no slash at its end; `webhook_key` signs what it tells us."""

    name: str
    url: str
    api_key: str = ""
    webhook_key: str = ""

    @property
    def hook_key(self) -> str:
        """What signs its webhooks: the key of the settings, or one made from the API key; empty without either."""
        if self.webhook_key or not self.api_key:
            return self.webhook_key
        return hmac.new(self.api_key.encode(), b"holdfast webhook", hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class WahaOptions:
    """How WAHA servers are asked. Times are seconds, before `time_factor`."""

    servers: Mapping[str, WahaServer] = field(default_factory=dict)
    webhook_url: str = ""
    """Where WAHA servers reach this Holdfast, without a path; empty: they are asked only, and tell nothing."""
    at_once: int = 2
    waiting: int = 10
    """Requests to one server at a time, and how many more may wait."""
    timeout: float = 30.0
    breaker: BreakerTimes = field(default_factory=BreakerTimes)
    remote: RemoteTimes = field(default_factory=RemoteTimes)
    tries: int = 3
    """How often what may be repeated is asked for."""
    look_every: float = 15.0
    """Seconds between two looks at the sessions of a server, while all are settled."""
    look_soon: float = 1.0
    """The same while one of them is starting or shows a QR."""
    page_every: float = 60.0
    """Seconds between two readings of a session's newest messages, for those whose webhook was lost."""
    ack_wait: float = 20.0
    """How long WhatsApp's acknowledgement of a message may take."""
    recover_wait: float = 20.0
    """How long a call waits for a session that WAHA said not to work."""
    chats_page: int = 25
    messages_page: int = 50
    ignore: IgnoredChats = NOTHING
    """Chats that sessions ignore that do not say."""
    time_factor: float = 1.0
