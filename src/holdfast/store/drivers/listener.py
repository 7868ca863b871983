"""The one connection of an instance that listens: LISTEN needs a session, so it must lead past every pooler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from holdfast.domain.errors import HoldfastError
from holdfast.domain.rows import Hint
from holdfast.store import hints
from holdfast.store.drivers import failures
from holdfast.store.urls import Target

log = structlog.get_logger(__name__)

GATHER = 0.02
"""Seconds between two notices, in which what happens is gathered."""

PROBE = 30.0
"""Seconds of silence after which the connection is proved alive."""

RETRY_CAP = 30.0
MOST = 1000
"""Hints that may wait to be told; more are as good as none."""


class Listener:
    """`connect` opens the connection. `trusted`: the target was given for this purpose; else it is looked at first."""

    def __init__(
        self, target: Target, connect: Callable[[Target], Any], *, trusted: bool, probe: float = PROBE
    ) -> None:
        self._target = target
        self._connect = connect
        self._trusted = trusted
        self._probe = probe
        self._waiting: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._listens = False

    def tell(self, hint: Hint) -> None:
        """See `Driver.tell`."""
        if self._listens and len(self._waiting) < MOST:
            self._waiting[hints.written(hint)] = None
            self._woken.set()

    async def run(self, hear: Callable[[Hint], None]) -> None:
        """See `Driver.listen`."""
        failed = 0
        while True:
            try:
                connection = await self._connect(self._target)
                try:
                    own = await connection.fetchval("SELECT pg_backend_pid()")
                    if not self._may_listen(own == connection.get_server_pid()):
                        return
                    await connection.add_listener(hints.CHANNEL, _heard(own, hear))
                    failed = 0
                    log.info("hears other instances at once", action="listen")
                    await self._talk(connection)
                finally:
                    self._listens = False
                    connection.terminate()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, HoldfastError) as error:
                said = failures.of_postgres(error)
                log.warning("cannot listen, others are heard by polling", action="listen", error=said and said.sentence)
            failed += 1
            await asyncio.sleep(min(2.0 ** (failed - 1), RETRY_CAP))

    def _may_listen(self, direct: bool) -> bool:
        """A pooler gives its clients a process number of its own. What is listened to through it may never come."""
        if direct or self._trusted:
            return True
        log.info(
            "a pooler stands before the database, so other instances are heard by polling; "
            "set HOLDFAST_DATABASE_DIRECT_URL to hear them at once",
            action="listen",
        )
        return False

    async def _talk(self, connection: asyncpg.Connection) -> None:
        """Tell what is to be told, until the connection ends."""
        self._waiting.clear()
        self._listens = True
        connection.add_termination_listener(lambda _: self._woken.set())
        while not connection.is_closed():
            try:
                async with asyncio.timeout(self._probe):
                    await self._woken.wait()
            except TimeoutError:
                await connection.execute("SELECT 1")
            self._woken.clear()
            said = list(self._waiting)
            self._waiting.clear()
            if said and not connection.is_closed():
                await connection.execute("SELECT pg_notify($1, said) FROM unnest($2::text[]) said", hints.CHANNEL, said)
                await asyncio.sleep(GATHER)


def _heard(own: int, hear: Callable[[Hint], None]) -> Callable[[Any, int, str, object], None]:
    def heard(_connection: Any, sender: int, _channel: str, payload: object) -> None:
        if sender != own and (hint := hints.read(str(payload))) is not None:
            hear(hint)

    return heard
