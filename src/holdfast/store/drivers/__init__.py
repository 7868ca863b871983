"""How a transaction is run: the driver port and its three implementations.

Every transaction of the store is a plain synchronous function over an SQLAlchemy Core connection. Drivers decide on
which thread it runs, how many share a commit, and what a failure means; the SQL is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from holdfast.domain.rows import Hint

T = TypeVar("T")


class Driver(Protocol):
    """Runs transactions. All failures of the database leave as `domain.errors`; other exceptions of a transaction
    function pass through after its writes were undone.
    """

    async def open(self) -> None:
        """Connect and migrate."""
        ...

    async def close(self) -> None:
        """Finish what was asked, then let go."""
        ...

    async def write(self, fn: Callable[[Connection], T], *, brief: bool = False, urgent: bool = False) -> T:
        """Run `fn` in a transaction and return after its commit is durable. `fn` may run twice (the first time
        undone), so it must not touch anything but its connection. `brief`: a few rows by key, which may run on the
        caller's thread. `urgent`: it does not wait for a free connection behind others.
        """
        ...

    async def read(self, fn: Callable[[Connection], T], *, brief: bool = False) -> T:
        """Run `fn`, which only reads. `brief`: a look-up by key, which may run on the caller's thread."""
        ...

    def tell(self, hint: Hint) -> None:
        """Wake the other instances soon, or never: see `store.hints`."""
        ...

    async def listen(self, hear: Callable[[Hint], None]) -> None:
        """Call `hear` with every hint of others until cancelled. Returns where no hints can be had."""
        ...
