"""Asks one WAHA server for all of its sessions with one call: the health look, and what every connection goes by.

Nothing is remembered: each look's answer goes to the connections, which do what follows. Webhooks about a session's
status only make the next look come at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Protocol

import structlog

from holdfast.engines.waha.client import WahaClient
from holdfast.engines.waha.errors import WahaBusy, WahaRefused, WahaUnavailable, WahaUnsuitable
from holdfast.engines.waha.options import WahaOptions
from holdfast.ports.clock import Clock

log = structlog.get_logger(__name__)

OLDEST = (2024, 10)
"""The first version of WAHA whose sessions are made, started and stopped by name."""
IDS_SINCE = (2026, 4)
CHOOSES_IDS = frozenset({"NOWEB", "GOWS"})
"""WAHA's engines that take the message id of the caller, and since when."""
GAP = 0.2
"""Seconds from one look to the next, at least."""
FAILURES = 2
"""Looks in a row that fail before sessions that worked are given up."""

Json = Mapping[str, Any]


class Looked(Protocol):
    """A connection that goes by looks."""

    name: str

    @property
    def settled(self) -> bool:
        """Whether nothing is expected to change soon."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the session worked at the last look."""
        ...

    def seen(self, info: Json | None, at: float) -> None:
        """What WAHA says of the session; None: it has none. `at`: when it was asked, in seconds of the boot clock."""
        ...

    def lost(self, tag: str, detail: str) -> None:
        """The connection is over; `tag` as in `domain.disconnects`."""
        ...


class Looks:
    """The looks at one server; they rest while no session of it is wanted."""

    def __init__(self, client: WahaClient, options: WahaOptions, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        factor = options.time_factor
        self._every, self._soon, self._gap = options.look_every * factor, options.look_soon * factor, GAP * factor
        self._links: dict[str, Looked] = {}
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._log = log.bind(server=client.server.name)
        self.engine, self.version = "", ""
        """WAHA's own, as it told them; empty before it did."""

    @property
    def chooses_ids(self) -> bool:
        """Whether messages keep the id that we give them."""
        known = _numbers(self.version)
        return self.engine in CHOOSES_IDS and (not known or known >= IDS_SINCE)

    # --- life ---------------------------------------------------------------------------------------------------
    def add(self, link: Looked) -> None:
        """Look for that one as well, from now on, and at once."""
        self._links[link.name] = link
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        self.now()

    def remove(self, link: Looked) -> None:
        """No more."""
        if self._links.get(link.name) is link:
            del self._links[link.name]

    def now(self) -> None:
        """Something changed: look at once."""
        self._wake.set()

    async def next(self, timeout: float) -> bool:
        """Wait for the next answer; False if none came in time."""
        try:
            async with asyncio.timeout(timeout):
                await self._looked.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """No look any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._links:
                await self._look()
                await self._clock.sleep(self._gap)
            await self._rest()

    async def _rest(self) -> None:
        limit = self._soon if any(not link.settled for link in self._links.values()) else self._every
        waking = asyncio.create_task(self._wake.wait())
        resting = asyncio.create_task(self._clock.sleep(limit))
        try:
            await asyncio.wait({waking, resting} if self._links else {waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            resting.cancel()

    # --- one look -----------------------------------------------------------------------------------------------
    async def _look(self) -> None:
        began, asked = self._clock.boot(), dict(self._links)
        try:
            if not self.version:
                await self._meet()
            found = await self._client.get("/api/sessions", {"all": True}, look=True)
            if not isinstance(found, list):
                raise WahaUnavailable("The WAHA server lists its sessions in a form that is not known.")
        except WahaUnsuitable as error:
            self._lose_all(asked, "waha_unsuitable", error.sentence)
        except WahaRefused as error:
            self._lose_all(asked, "waha_key" if error.status in (401, 403) else "waha_unsuitable", error.sentence)
        except (WahaUnavailable, WahaBusy) as error:
            self._no_answer(asked, error.sentence)
        except Exception as error:  # whatever a server may answer, the next look comes
            self._log.error("a look failed unexpectedly", action="look", code="bug", exc_info=error)
            self._no_answer(asked, "its answer could not be read")
        else:
            self._failures = 0
            infos = {str(one.get("name")): one for one in found if isinstance(one, dict)}
            for name, link in asked.items():
                if self._links.get(name) is link:
                    link.seen(infos.get(name), began)
        self._looked.set()
        self._looked = asyncio.Event()

    def _no_answer(self, asked: dict[str, Looked], detail: str) -> None:
        """Whoever waits for its first answer is told now; what worked is given up when the next look fails as well."""
        self._failures += 1
        self.version = ""  # another may answer when one does again
        if self._failures == 1:
            self._log.warning("the WAHA server does not answer a look", action="look", code="waha_unavailable")
        for link in asked.values():
            if not link.is_open or self._failures >= FAILURES:
                link.lost("waha_unreachable", detail)

    def _lose_all(self, asked: dict[str, Looked], tag: str, detail: str) -> None:
        self._log.error(detail, action="look", code=tag)
        for link in asked.values():
            link.lost(tag, detail)

    async def _meet(self) -> None:
        """What answers there? Raises `WahaUnsuitable`."""
        try:
            told = await self._client.get("/api/server/version", look=True)
        except WahaRefused as error:
            if error.status in (401, 403):
                raise
            raise WahaUnsuitable(f"'{self._client.server.name}' is no WAHA: {error.sentence}") from error
        version = str(told.get("version") or "") if isinstance(told, dict) else ""
        if not version:
            raise WahaUnsuitable(f"What answers as '{self._client.server.name}' does not say that it is WAHA.")
        known = _numbers(version)
        if known and known < OLDEST:
            raise WahaUnsuitable(f"The WAHA server '{self._client.server.name}' is of version {version}, too old.")
        self.engine, self.version = str(told.get("engine") or ""), version
        self._log.info("WAHA server found", action="waha", version=version, waha_engine=self.engine)
        if not self.chooses_ids:
            self._log.warning(
                "this WAHA chooses message ids itself: a send in doubt is compared by its text before it is repeated",
                action="waha",
                code="no_message_ids",
            )


def _numbers(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d{4})\.(\d{1,2})", version)
    return (int(found.group(1)), int(found.group(2))) if found else None
