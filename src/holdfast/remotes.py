"""The WAHA engine's options from settings."""

from __future__ import annotations

from holdfast.config import Settings
from holdfast.domain.remote import RemoteTimes
from holdfast.engines.waha.options import WahaOptions, WahaServer
from holdfast.setting_types import plain


def waha_options(settings: Settings, url: str) -> WahaOptions:
    """`url`: where others reach this instance. Without a server the engine has nothing to do, and says so."""
    servers = {
        name: WahaServer(name, one.url, plain(one.api_key), plain(one.webhook_key))
        for name, one in settings.waha_servers.items()
    }
    back = settings.waha_webhook_url or url
    look = min(settings.health_interval, settings.liveness_deadline) / 2
    return WahaOptions(
        servers=servers,
        webhook_url="" if back == "none" else back,
        timeout=settings.waha_timeout,
        remote=RemoteTimes(stuck=settings.waha_stuck_after, remake_after=settings.waha_remake_after),
        look_every=look,
        page_every=settings.waha_page_interval,
        ignore=settings.ignored_chats(),
        time_factor=settings.time_factor,
    )
