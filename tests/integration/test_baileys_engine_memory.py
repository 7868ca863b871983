"""A real sidecar that takes too much memory: it is replaced, and its sessions are back at once."""

from __future__ import annotations

from pathlib import Path

from holdfast.ports import engine as port
from tests.support.baileys_world import running

ANA, BEA = "40711111111", "40722222222"
LIMIT_MB = 250


async def test_a_sidecar_over_its_limit_is_replaced_and_its_sessions_come_back(tmp_path: Path) -> None:
    async with running(tmp_path, memory_limit_mb=LIMIT_MB, hang_timeout=60.0, time_factor=0.2) as world:
        await world.pair("a", ANA)
        await world.pair("b", BEA)
        [before] = world.engine.facts()["processes"]
        assert before["memory"] < LIMIT_MB * 1_000_000, "the limit would end a healthy sidecar"
        world.leak()
        died = await world.take(port.EngineDied)
        assert died.tag == "memory", died
        assert died.sessions == {"a": world.numbers["a"], "b": world.numbers["b"]}
        assert f"may use {LIMIT_MB} MB" in died.detail
        await world.login("a")
        await world.login("b")
        [after] = world.engine.facts()["processes"]
        assert after["pid"] != before["pid"]
        assert after["sessions"] == 2
        assert (await world.send("a", f"{BEA}@s.whatsapp.net", "still here", "3EB0AA")).error == 0
