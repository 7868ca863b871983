"""What the API accepts as a session's configuration: every option has its type, and nothing else is taken.

What each option does is said by `holdfast.domain.session_options`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from holdfast.domain import caps
from holdfast.domain.errors import BadRequest
from holdfast.domain.session_options import EVENTS, unknown_events
from holdfast.domain.terms import YEAR


class Part(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A part of a configuration. Unknown fields are refused with their path."""


class Hmac(Part):
    """Key that signs webhook bodies."""

    key: str | None = None


class Header(Part):
    """A header sent with a webhook."""

    name: str
    value: str


class RetryConfig(Part):
    """How refused events are tried again."""

    policy: str | None = None
    delaySeconds: float | None = None  # noqa: N815 - WAHA's names
    attempts: float | None = None


class WebhookConfig(Part):
    """A receiver of events."""

    url: str
    events: list[str]
    hmac: Hmac | None = None
    retries: RetryConfig | None = None
    customHeaders: list[Header] | None = None  # noqa: N815 - WAHA's name


class ProxyConfig(Part):
    """Proxy of the session's connections: `host:port`, or a URL with http, https or socks5; `direct`: no proxy."""

    server: str
    username: str | None = None
    password: str | None = None


class IgnoreConfig(Part):
    """Kinds of chats that are neither stored nor reported; null means the default of the fleet."""

    status: bool | None = None
    groups: bool | None = None
    channels: bool | None = None
    broadcast: bool | None = None


ShownName = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class ClientConfig(Part):
    """How the phone shows the linked device."""

    browserName: ShownName | None = None  # noqa: N815 - WAHA's names
    deviceName: ShownName | None = None  # noqa: N815


class NowebStore(Part):
    """Store of WAHA's NOWEB engine."""

    enabled: bool | None = None
    fullSync: bool | None = None  # noqa: N815 - WAHA's name


class NowebConfig(Part):
    """Settings of WAHA's NOWEB engine."""

    markOnline: bool | None = None  # noqa: N815 - WAHA's name
    store: NowebStore | None = None


class GowsStorage(Part):
    """Storage of WAHA's GOWS engine."""

    messages: bool | None = None
    groups: bool | None = None
    chats: bool | None = None
    labels: bool | None = None
    contacts: bool | None = None
    messageSecrets: bool | None = None  # noqa: N815 - WAHA's name


class GowsConfig(Part):
    """Settings of WAHA's GOWS engine."""

    storage: GowsStorage | None = None


class WebjsConfig(Part):
    """Settings of WAHA's WEBJS engine."""

    tagsEventsOn: bool | None = None  # noqa: N815 - WAHA's name


Count = Annotated[int, msgspec.Meta(ge=1, le=caps.MOST)]


class Pacing(Part):
    """Limits on sending that protect the number. `jitter`: a pause of up to so many seconds after each message."""

    messages_per_minute: Count | None = None
    new_chats_per_day: Count | None = None
    jitter: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None = None


class OwnConfig(Part):
    """What is configured beyond WAHA. `labels`: the session runs only on instances that offer all of them.

    `pacing`: how fast it sends. `expires_in`: how many seconds a message may wait that says nothing of it. `queue`:
    accept messages even while the session needs a QR code or is stopped.
    """

    labels: dict[str, str] | None = None
    pacing: Pacing | None = None
    expires_in: Annotated[float, msgspec.Meta(gt=0, le=YEAR)] | None = None
    queue: bool | None = None
    engine: str | None = None
    server: str | None = None


class SessionConfig(Part):
    """Configuration of a session."""

    metadata: dict[str, str] | None = None
    proxy: ProxyConfig | None = None
    debug: bool | None = None
    ignore: IgnoreConfig | None = None
    client: ClientConfig | None = None
    noweb: NowebConfig | None = None
    gows: GowsConfig | None = None
    webjs: WebjsConfig | None = None
    webhooks: list[WebhookConfig] | None = None
    holdfast: OwnConfig | None = None


class App(Part):
    """One of WAHA's apps. None runs here."""

    id: str
    session: str
    app: Literal[
        "argentine-phone-numbers",
        "brazilian-phone-numbers",
        "calls",
        "chatwoot",
        "mcp",
        "mexican-phone-numbers",
        "phone-numbers",
    ]
    config: dict[str, Any]
    enabled: bool = True


def config_of(config: SessionConfig | None) -> dict[str, Any]:
    """The configuration to store. Raises `BadRequest` for events that there are not."""
    if config is None:
        return {}
    for number, hook in enumerate(config.webhooks or []):
        if unknown := unknown_events(hook.events):
            raise BadRequest(
                f"config.webhooks[{number}].events: there is no event {', '.join(unknown)}. "
                f"Known are {', '.join(EVENTS)} and *."
            )
    stored: dict[str, Any] = msgspec.to_builtins(config)
    return stored
