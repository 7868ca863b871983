"""Instances over real HTTP: an address at which nobody, or somebody else, answers is found and told on both sides."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from structlog.testing import capture_logs

from holdfast.runtime.clock import SystemClock
from holdfast.runtime.node import Node, NodeSettings
from holdfast.store import open_store
from tests.support.processes import free_port
from tests.support.scripted_engine import ScriptedEngine
from tests.support.served import serving


async def _reachable(node: Node) -> dict[str, bool | None]:
    return {row["id"]: row["reachable"] for row in await node.gateway.instances()}


async def _until(nodes: list[Node], *wanted: dict[str, bool | None]) -> None:
    end = asyncio.get_running_loop().time() + 20
    while (found := [await _reachable(node) for node in nodes]) != list(wanted):
        assert asyncio.get_running_loop().time() < end, (found, wanted)
        await asyncio.sleep(0)


async def test_an_address_that_leads_nowhere_or_elsewhere_is_told_by_both(tmp_path: Path) -> None:
    clock, ports = SystemClock(), [free_port(), free_port()]
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    nodes = []
    async with AsyncExitStack() as stack:
        for name, port, url in zip(("one", "two"), ports, addresses, strict=True):
            settings = NodeSettings(version="test", url=url, sweep_every=0.05, greet_every=0.05, verified_every=0.05)
            store = open_store(f"sqlite:///{tmp_path}/test.sqlite3", clock)
            node = Node(store, {"baileys": ScriptedEngine()}, clock, settings, instance=name)
            nodes.append(await stack.enter_async_context(node))
            await stack.enter_async_context(serving(node, port))
        await _until(nodes, *[{"one": True, "two": True}] * 2)

        for wrong in (f"http://127.0.0.1:{free_port()}", addresses[0]):  # nobody there; and the other one itself
            with capture_logs() as logs:
                object.__setattr__(nodes[1]._settings, "url", wrong)
                await _until(nodes, {"one": None, "two": False}, {"one": True, "two": False})
            told = {
                line["event"].partition(":")[0] for line in logs if line.get("code") == "unreachable" and "url" in line
            }
            assert {
                "another instance cannot be reached at its address",
                "other instances cannot reach this one",
            } <= told
            object.__setattr__(nodes[1]._settings, "url", addresses[1])
            await _until(nodes, *[{"one": True, "two": True}] * 2)
