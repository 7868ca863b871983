"""Where a command finds what it works on: at a running server, else in the store itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from holdfast.client import Client
from holdfast.config import Settings
from holdfast.domain import cluster
from holdfast.domain.errors import WrongWhatsApp
from holdfast.ports.store import Store

ALIVE = 20.0
"""Seconds since its last heartbeat for which an instance counts as running: two beats."""


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
    from holdfast.store.database_file import check_not_lost  # noqa: PLC0415

    check_not_lost(settings.url, settings.data_dir)
    store = open_store(settings.url, SystemClock(), whatsapp=settings.whatsapp)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def check_root_key(settings: Settings, store: Store) -> None:
    """Before credentials are stored. Raises `WrongWhatsApp` if those in the database, or a running instance, belong to
    a different WhatsApp than these settings.
    """
    alive = max(settings.lease().ttl, ALIVE * settings.time_factor)
    for other in await store.instances():
        said = cluster.refusal(settings.facts(), other["facts"])
        if said and other["seen_ago"] <= alive:
            raise WrongWhatsApp(said)
    await store.settle_root_key()
