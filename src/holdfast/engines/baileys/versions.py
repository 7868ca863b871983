"""The present version of WhatsApp Web, for when WhatsApp refuses ours with 405."""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path

import structlog

from holdfast.ports.clock import Clock

log = structlog.get_logger(__name__)

PATIENCE = 5.0
FRESH = 60.0
"""Seconds for which one answer serves all sessions of an instance."""
LARGEST = 4 * 1024 * 1024

_REVISION = re.compile(r'\\?"client_revision\\?":\s*(\d+)')
"""As web.whatsapp.com/sw.js names it; seen in Baileys 7.0.0-rc14 lib/Utils/generics.js."""


class Versions:
    """Asks `url`, at most once in a minute."""

    def __init__(self, url: str, clock: Clock, ca_file: Path | None) -> None:
        self._url = url
        self._clock = clock
        self._ca_file = ca_file
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._found: str | None = None

    async def current(self) -> str | None:
        """`2.3000.<revision>`, or None where it cannot be found; why is logged."""
        async with self._asking:
            if self._clock.boot() - self._asked_at >= FRESH:
                self._found = await self._ask()
                self._asked_at = self._clock.boot()
            return self._found

    async def _ask(self) -> str | None:
        import aiohttp  # noqa: PLC0415 - hardly ever needed, and slow to load

        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as http,
                http.get(self._url, ssl=self._tls(), headers={"sec-fetch-site": "none", "user-agent": AGENT}) as answer,
            ):
                answer.raise_for_status()
                text = (await answer.content.read(LARGEST)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
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
