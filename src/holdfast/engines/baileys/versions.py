"""The present version of WhatsApp Web, for when WhatsApp refuses ours with 405."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from holdfast.domain.proxies import InvalidProxy, Proxy, Routes
from holdfast.engines.proxies import ProxyFailed, client, resolve
from holdfast.ports.clock import Clock

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger(__name__)

PATIENCE = 5.0
FRESH = 60.0
"""Seconds for which one answer serves all sessions of an instance."""
LARGEST = 4 * 1024 * 1024

_REVISION = re.compile(r'\\?"client_revision\\?":\s*(\d+)')
"""As web.whatsapp.com/sw.js names it; seen in Baileys 7.0.0-rc14 lib/Utils/generics.js."""


class Versions:
    """Asks `url`: what was found serves all sessions for a minute, and each route asks at most once in that time."""

    def __init__(self, url: str, clock: Clock, ca_file: Path | None, routes: Routes) -> None:
        self._url = url
        self._clock = clock
        self._ca_file = ca_file
        self._routes = routes
        self._asking = asyncio.Lock()
        self._answers: dict[Proxy | None, tuple[float, str | None]] = {}
        """By route: when it was asked, and what came of it."""

    async def current(self, config: Mapping[str, Any]) -> str | None:
        """`2.3000.<revision>`, or None where it cannot be found; why is logged. `config`: of the session that asks."""
        try:
            proxy = self._routes.of(config)
        except InvalidProxy as error:
            log.error("WhatsApp's present version not found", action="version", error=error.code)
            return None
        async with self._asking:
            now = self._clock.boot()
            self._answers = {route: one for route, one in self._answers.items() if now - one[0] < FRESH}
            found = next((version for _, version in self._answers.values() if version is not None), None)
            if found is None and proxy not in self._answers:
                found = await self._ask(proxy)
                self._answers[proxy] = (self._clock.boot(), found)
            return found

    async def _client(self, proxy: Proxy | None) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415 - hardly ever needed, and slow to load

        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        if proxy is None:
            return aiohttp.ClientSession(timeout=timeout)
        return client(proxy, await resolve(proxy, self._routes), timeout=timeout)

    async def _ask(self, proxy: Proxy | None) -> str | None:
        import aiohttp  # noqa: PLC0415 - see above

        try:
            async with (
                await self._client(proxy) as http,
                http.get(self._url, ssl=self._tls(), headers={"sec-fetch-site": "none", "user-agent": AGENT}) as answer,
            ):
                answer.raise_for_status()
                text = (await answer.content.read(LARGEST)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError, ProxyFailed) as error:
            log.error("WhatsApp's present version not found", action="version", error=type(error).__name__)
            return None
        revision = _REVISION.search(text)
        if revision is None:
            log.error("WhatsApp's present version not found", action="version", error="no client_revision")
            return None
        version = f"2.3000.{revision.group(1)}"
        log.info("logging in with WhatsApp's present version from now on", action="version", version=version)
        return version

    def _tls(self) -> ssl.SSLContext | bool:
        if self._ca_file is None:
            return True
        context = ssl.create_default_context()
        context.load_verify_locations(self._ca_file)
        return context


AGENT = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36"
)
"""A browser's: the page is not given to others."""
