"""Where a command finds what it works on: at a running server, else in the store itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from holdfast.client import Client
from holdfast.config import Settings
from holdfast.ports.store import Store


@contextmanager
def server_if_any(settings: Settings, url: str | None, key: str | None) -> Iterator[Client | None]:
    """A client of the server, or None if none runs here. One that was named with --url must be there: then the client
    is given in any case, and its first request raises `ServerUnreachable`.
    """
    with Client.of(settings, url, key) as client:
        yield client if url is not None or client.is_there() else None


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Store]:
    """The store of these settings, open. Raises what `Store.open` does."""
    from holdfast.runtime.clock import SystemClock  # noqa: PLC0415 - `--help` stays fast
    from holdfast.store import open_store  # noqa: PLC0415

    store = open_store(settings.url, SystemClock())
    await store.open()
    try:
        yield store
    finally:
        await store.close()
