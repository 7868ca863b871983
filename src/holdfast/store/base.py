"""What the parts of `SqlStore` share: the driver that runs their transactions, and how others are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.rows import Hint
from holdfast.ports.clock import Clock
from holdfast.store.drivers import Driver

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Part:
    """Some of the store's methods, each one transaction function handed to the driver."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver = driver
        self.trouble: StoreUnavailable | None = None
        self._read = driver.read
        self._clock = clock

    async def _write(self, fn: Callable[[Connection], T], *, brief: bool = False, urgent: bool = False) -> T:
        """See `Driver.write`; what came of it is remembered in `trouble`."""
        try:
            value = await self._driver.write(fn, brief=brief, urgent=urgent)
        except StoreUnavailable as error:
            if self.trouble is None:
                log.error("the database takes no writes", action="store", code=error.code, error=error.in_full)
            self.trouble = error
            raise
        self.trouble = None
        return value

    def _new_id(self) -> str:
        return f"evt_{self._clock.token(12).hex()}"

    def _tell(self, kind: str, session: str, *ids: str) -> None:
        """After the commit: see `store.hints`."""
        for id_ in ids or ("",):
            self._driver.tell(Hint(kind, session, id_))
