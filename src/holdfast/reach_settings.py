"""The settings of where sessions may make this server connect to: webhooks, files, and through which proxies."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, Field, PrivateAttr, field_validator

from holdfast.domain.proxies import Routes, of_url
from holdfast.domain.receivers import Exposure, Reach, is_local_host
from holdfast.setting_sources import PREFIX
from holdfast.setting_types import Secret

AUTO = ("webhook_allow_private", "media_allow_private", "proxy_allow_private")
"""Settings that `auto` leaves to who reaches the API."""


class ReachSettings(BaseModel):
    """Part of `config.Settings`."""

    _exposure: Exposure | None = PrivateAttr(None)

    webhook_allow_private: str = Field(
        "auto",
        description="Whether webhooks of sessions may call this machine and private networks: `yes`, `no`, hosts and "
        "networks separated by commas (`n8n,10.0.0.0/8`), or `auto`: only while nothing but this machine is known to "
        "reach the API (docs/webhooks.md). The global webhook always may.",
    )
    media_allow_private: str = Field(
        "auto",
        description="Whether the URLs of files to send may lead to this machine and private networks; as "
        "`HOLDFAST_WEBHOOK_ALLOW_PRIVATE`.",
    )
    proxy: Secret = Field(
        None,
        description="Proxy of sessions that name none of their own (docs/proxies.md): `http://`, `https://` or "
        "`socks5://`, with user and password where it asks for them. Empty: none.",
    )
    proxy_allow_private: str = Field(
        "auto",
        description="Whether the proxies that sessions name may be on this machine and in private networks; as "
        "`HOLDFAST_WEBHOOK_ALLOW_PRIVATE`. `HOLDFAST_PROXY` always may.",
    )

    @field_validator(*AUTO)
    @classmethod
    def _is_reach(cls, value: str) -> str:
        Reach.parse(value)
        return value

    @field_validator("proxy")
    @classmethod
    def _is_proxy(cls, value: Secret) -> Secret:
        if value is not None:
            of_url(value.get_secret_value())
        return value

    def reach(self) -> Reach:
        """Which addresses webhooks of sessions may call."""
        return Reach.parse(self.webhook_allow_private, self.exposure)

    def media_reach(self) -> Reach:
        """Which addresses the URLs of files may lead to."""
        return Reach.parse(self.media_allow_private, self.exposure)

    def routes(self) -> Routes:
        """Which proxy each session's connections take."""
        default = of_url(self.proxy.get_secret_value(), trusted=True) if self.proxy else None
        return Routes(default, Reach.parse(self.proxy_allow_private, self.exposure))

    def proxy_shown(self) -> str:
        """The default proxy without user and password; empty without one."""
        default = self.routes().default
        return f"{default.scheme}://{default.name}" if default else ""

    def reaching(self) -> list[str]:
        """The settings that leave it to `exposure` whether private addresses may be called."""
        return [f"{PREFIX}{name.upper()}" for name in AUTO if str(getattr(self, name)).strip().lower() == "auto"]

    @property
    def exposure(self) -> Exposure:
        """What is known of who reaches the API; one for all that ask."""
        if self._exposure is None:
            self._exposure = Exposure(self._reached_by())
        return self._exposure

    def _reached_by(self) -> str:
        host = str(getattr(self, "host", ""))
        if not host or not is_local_host(f"[{host}]" if ":" in host else host):
            return f"HOLDFAST_HOST is {host or 'empty, which means all addresses'}"
        for name in ("public_url", "advertise_url", "waha_webhook_url"):
            url = str(getattr(self, name, ""))
            if url not in ("", "none") and not is_local_host(urlsplit(url).netloc.rpartition("@")[2]):
                return f"{PREFIX}{name.upper()} is set"
        return ""
