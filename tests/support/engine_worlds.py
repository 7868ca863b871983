"""The engines behind the port, each over the simulator: what the contract suite runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from holdfast.runtime.clock import SystemClock
from holdfast.runtime.node import Node, NodeSettings
from holdfast.store import open_store
from tests.support.baileys_world import World, baileys, running
from tests.support.served import serving
from wasim.server import WasimServer


@asynccontextmanager
async def second_holdfast(folder: Path, wasim: WasimServer) -> AsyncIterator[str]:
    """A Holdfast on the simulator, with the real sidecar, for another one to take for a WAHA server; its URL."""
    clock = SystemClock()
    store = open_store(f"sqlite:///{folder}/second.sqlite3", clock)
    engines = {"baileys": baileys(wasim, store, clock)}
    node = Node(store, engines, clock, NodeSettings(version="test"), instance="second")
    async with node, serving(node) as url:
        yield url


WORLDS: dict[str, Callable[[Path], AbstractAsyncContextManager[World]]] = {"baileys": running}
