"""Whole instances in virtual time: the real runtime and the real SQL, a scripted WhatsApp."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from holdfast.ports.gateway import SessionView
from holdfast.ports.store import Store
from holdfast.runtime.node import Node, NodeSettings
from holdfast.store import open_store
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock

SETTINGS = NodeSettings(version="test")


class Shared:
    """A store that several instances use: opened once, closed by the test."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def open(self) -> None:
        """Open already."""

    async def close(self) -> None:
        """Others go on using it."""


@asynccontextmanager
async def memory_store(clock: VirtualClock) -> AsyncIterator[Store]:
    """The real store on memory, inline."""
    store = open_store("sqlite://", clock)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def instance(
    store: Store, clock: VirtualClock, engine: ScriptedEngine, name: str = "one", settings: NodeSettings = SETTINGS
) -> Node:
    """An instance, not yet started."""
    return Node(Shared(store), {"baileys": engine}, clock, replace(settings), instance=name)  # type: ignore[arg-type]


async def until(node: Node, session: str, holds: Callable[[SessionView], bool], timeout: float = 600.0) -> SessionView:
    """Wait, in virtual time, until the session's view satisfies `holds`."""
    clock = node._clock
    end = clock.boot() + timeout
    while not holds(view := await node.gateway.session(session)):
        assert clock.boot() < end, f"still {view.status} {view.reason}: {view.message}"
        await clock.sleep(0.05)
    return view


async def linked(node: Node, engine: ScriptedEngine, session: str = "shop") -> SessionView:
    """Create a session and link it by QR."""
    await node.gateway.create(session, {}, engine="baileys", start=True)
    await until(node, session, lambda v: v.status == "SCAN_QR_CODE")
    engine.scan(session)
    return await until(node, session, lambda v: v.status == "WORKING")
