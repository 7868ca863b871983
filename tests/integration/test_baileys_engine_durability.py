"""What survives a kill -9 at the worst moments: between store and receipt, and between store and send."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from holdfast.domain.errors import SendInDoubt
from holdfast.engines.baileys import BaileysEngine
from holdfast.ports import engine as port
from tests.support.baileys_world import CACHE, World, running, text_of

ANA, BEA = "40711111111", "40722222222"


async def crashing_at(world: World, folder: Path, point: str) -> BaileysEngine:
    """A further engine on the world's store, whose sidecar dies at the point."""
    armed = folder / "crash"
    armed.write_text(point)
    options = replace(world.engine._options, crash_file=str(armed))
    engine = BaileysEngine(options, world.store, world.engine._clock)
    await engine.start(world.events.put_nowait)
    return engine


@pytest.mark.parametrize("point", ["message.decrypted", "message.stored"])
async def test_a_message_survives_a_crash_around_its_commit_and_is_stored_once(tmp_path: Path, point: str) -> None:
    async with running(tmp_path) as world:
        await world.pair("a", ANA)
        await world.pair("b", BEA)
        await world.engine.close("b", world.numbers["b"])
        for number in range(3):
            ack = await world.send("a", f"{BEA}@s.whatsapp.net", f"words {number}", f"3EB00{number}")
            assert ack.error == 0
        crashing = await crashing_at(world, tmp_path, point)
        try:
            number = world.numbers["b"] = world.numbers["b"] + 1
            await crashing.open(port.OpenRequest("b", number, world.grant("b"), pair=False))
            died = await world.take(port.EngineDied)
            assert died.sessions == {"b": number}
        finally:
            await crashing.stop()
        assert await _receipts(world, "3EB00") == set()
        await world.login("b")
        rows = await world.inbox("b", 3)
        assert [text_of(row) for row in rows] == ["words 0", "words 1", "words 2"]
        assert [row.attrs["id"] for row in rows] == ["3EB000", "3EB001", "3EB002"]

        async def receipted() -> bool:
            return len(await _receipts(world, "3EB00")) >= 3

        await world.until(receipted)
        refused = [e for e in await world.seen(kind="client-ack") if str(e["id"]).startswith("3EB00") and "error" in e]
        assert refused == []


async def test_a_receipt_survives_a_crash_between_its_commit_and_its_ack(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.pair("a", ANA)
        await world.pair("b", BEA)
        await world.engine.close("b", world.numbers["b"])
        await world.send("a", f"{BEA}@s.whatsapp.net", "hi", "3EB0R0")
        await world.engine.close("a", world.numbers["a"])
        before = len(await world.store.inbox_pending("a", 1000))
        await world.login("b")  # its receipt now waits for a
        await world.inbox("b", 1)
        crashing = await crashing_at(world, tmp_path, "receipt.stored")
        try:
            number = world.numbers["a"] = world.numbers["a"] + 1
            await crashing.open(port.OpenRequest("a", number, world.grant("a"), pair=False))
            await world.take(port.EngineDied)
        finally:
            await crashing.stop()
        stored = await world.inbox("a", 1, "receipt")
        assert len(await world.store.inbox_pending("a", 1000)) > before
        await world.login("a")

        async def acknowledged() -> bool:
            acks = await world.seen(kind="client-ack", id="3EB0R0", of="receipt")
            return bool(acks)

        await world.until(acknowledged)
        keys = [row.key for row in await world.inbox("a", len(stored), "receipt")]
        assert len(keys) == len(set(keys))


@pytest.mark.parametrize("point", ["notification.received", "notification.stored", "message.stored"])
async def test_a_group_and_its_first_message_survive_a_crash(tmp_path: Path, point: str) -> None:
    """`message.stored`: the sender's key is in the inbox, and not yet where it opens the message that came with it."""
    async with running(tmp_path) as world:
        await world.pair("b", BEA)
        await world.engine.close("b", world.numbers["b"])
        await world.admin("phones", {"phone": ANA})
        made = await world.admin(f"phones/{ANA}/group", {"subject": "Team", "members": [f"{BEA}@s.whatsapp.net"]})
        await world.admin("inject", {"from": ANA, "to": made["result"], "text": "to all"})
        crashing = await crashing_at(world, tmp_path, point)
        try:
            number = world.numbers["b"] = world.numbers["b"] + 1
            await crashing.open(port.OpenRequest("b", number, world.grant("b"), pair=False))
            await world.take(port.EngineDied)
        finally:
            await crashing.stop()
        await world.login("b")
        [row] = await world.inbox("b", 1)
        assert (text_of(row), row.attrs["from"]) == ("to all", made["result"])
        [told] = await world.inbox("b", 1, "group")
        assert told.body["children"][0]["tag"] == "create"
        assert [one for one in await world.store.inbox_pending("b", 1000) if one.kind == "waiting"] == []


async def _receipts(world: World, prefix: str) -> set[str]:
    """Ids of messages for which the simulator saw a linked device's delivery receipt."""
    entries = await world.seen(kind="receipt")
    told = [e for e in entries if ":" in str(e["jid"]) and e["type"] in ("delivery", "inactive")]
    return {str(e["id"]) for e in told if str(e["id"]).startswith(prefix)}


async def test_a_ratchet_is_stored_before_the_stanza_leaves(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.pair("a", ANA)
        await world.pair("b", BEA)
        await world.send("a", f"{BEA}@s.whatsapp.net", "before", "3EB0A0")
        await world.engine.close("a", world.numbers["a"])
        crashing = await crashing_at(world, tmp_path, "send.encrypted")
        try:
            number = world.numbers["a"] = world.numbers["a"] + 1
            await crashing.open(port.OpenRequest("a", number, world.grant("a"), pair=False))
            await world.take(port.Opened, "a")
            lost = port.OutgoingMessage("3EB0A1", f"{BEA}@s.whatsapp.net", {"type": "text", "text": "lost"})
            with pytest.raises(SendInDoubt):
                await crashing.send("a", number, lost)
        finally:
            await crashing.stop()
        await world.take(port.EngineDied)
        await world.login("a")
        assert (await world.send("a", f"{BEA}@s.whatsapp.net", "lost", "3EB0A1")).error == 0
        assert [text_of(row) for row in await world.inbox("b", 2)] == ["before", "lost"]


async def test_the_sidecar_dies_with_a_killed_parent(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
from pathlib import Path
from holdfast.engines.baileys import BaileysEngine, BaileysOptions
from holdfast.runtime.clock import SystemClock
from holdfast.store import open_store
async def main():
    clock = SystemClock()
    engine = BaileysEngine(BaileysOptions(data_dir=Path({str(CACHE)!r})), open_store("sqlite://", clock), clock)
    await engine.start(lambda event: None)
    print(engine.facts()["processes"][0]["pid"], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as parent:
        assert parent.stdout is not None
        lines = (line for line in parent.stdout if line.strip().isdigit())
        sidecar = psutil.Process(int(next(lines)))
        parent.send_signal(signal.SIGKILL)
        sidecar.wait(timeout=10)
    assert not sidecar.is_running()


async def test_a_contact_is_given_its_privacy_token_once(tmp_path: Path) -> None:
    """Baileys asks for one beside the send; what it then records must outlive the send."""
    async with running(tmp_path) as world:
        await world.pair("a", ANA)
        await world.pair("b", BEA)
        for number in range(3):
            await world.send("a", f"{BEA}@s.whatsapp.net", f"words {number}", f"3EB0T{number}")

            async def recorded() -> bool:
                issued = await world.seen(kind="token")
                keys = [("tctoken", str(entry["to"])) for entry in issued]
                return any(b"senderTimestamp" in value for value in (await world.store.read_keys("a", keys)).values())

            await world.until(recorded)
        assert len(await world.seen(kind="token")) == 1
