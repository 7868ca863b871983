"""What `ports.engine` promises, asked of every engine over the simulator: Baileys, and WAHA.

There WAHA is a second Holdfast that serves its WAHA-compatible API: real sockets, and the real sidecar behind them.
What the simulator's phones see is the same for both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.errors import BadRequest, NotConnected
from holdfast.domain.messages import interpret, merge
from holdfast.domain.rows import MessageRow
from holdfast.ports import engine as port
from tests.support.baileys_world import World
from tests.support.engine_worlds import WORLDS

ANA, BEA = "40711111111", "40722222222"
BEA_JID = f"{BEA}@s.whatsapp.net"


@pytest.fixture(params=list(WORLDS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with WORLDS[request.param](tmp_path) as world:
        yield world


async def link(world: World, name: str = "a", phone: str = ANA) -> int:
    """Pair by QR, and log in where the engine wants a second connection for that."""
    await world.session(name)
    await world.open(name, pair=True)
    await world.admin("mock-phone/scan-qr", (await world.take(port.QrShown, name)).qr, phone=phone)
    return await opened(world, name, phone)


async def opened(world: World, name: str, phone: str) -> int:
    """Wait until it is logged in with that phone; its connection."""
    while True:
        event = await world.events.get()
        if getattr(event, "session", name) != name:
            continue
        if isinstance(event, port.Closed):
            assert event.tag == "restart_required", event
            await world.open(name)
        elif isinstance(event, port.Paired | port.Opened):
            assert (event.phone, event.connection) == (phone, world.numbers[name]), event
            if isinstance(event, port.Opened):
                return event.connection


async def delivered(world: World, name: str, id: str) -> None:
    """Wait until the inbox tells that the other side's phone has a message of ours."""

    async def look() -> bool:
        rows = await world.store.inbox_pending(name, 1000)
        acks = [ack for row in rows for ack in interpret(row, {"phone": ANA}).acks]
        return any(known == id and level >= 2 for _, known, level in acks)

    await world.until(look)


async def told(world: World, name: str, id: str) -> MessageRow:
    """A received message as the session's conversations show it, once it is there."""
    me = {"phone": ANA}

    async def look() -> MessageRow | None:
        if rows := await world.store.inbox_pending(name, 1000):
            await world.store.apply_inbox(name, world.epochs[name], merge([interpret(row, me) for row in rows]))
        return await world.store.message(name, id)

    found: MessageRow = await world.until(look)
    return found


async def got(world: World, phone: str, text: str) -> list[dict[str, Any]]:
    """What a phone received with that text."""

    async def look() -> list[dict[str, Any]]:
        messages = (await world.admin(f"phones/{phone}/messages"))["messages"]
        return [message for message in messages if message["text"] == text]

    found: list[dict[str, Any]] = await world.until(look)
    return found


async def test_it_links_talks_and_comes_back(world: World) -> None:
    number = await link(world)
    await world.admin("phones", {"phone": BEA, "name": "Bea"})
    ack = await world.send("a", BEA_JID, "hello", "3EB0AA11223344556677")
    assert ack.error == 0
    assert [message["id"] for message in await got(world, BEA, "hello")] == ["3EB0AA11223344556677"]
    assert (await world.send("a", BEA_JID, "hello", "3EB0AA11223344556677")).error == 0  # tried again
    assert {message["id"] for message in await got(world, BEA, "hello")} == {"3EB0AA11223344556677"}
    await delivered(world, "a", "3EB0AA11223344556677")
    sent = (await world.admin("inject", {"from": BEA, "to": ANA, "text": "and you?"}))["id"]
    heard = await told(world, "a", sent)
    assert (heard.text, heard.chat, heard.from_me) == ("and you?", BEA_JID, False)
    assert await world.engine.probe("a", number, listed=False, timeout=5.0) is port.Probed.ALIVE
    assert await world.engine.probe("a", number, listed=True, timeout=5.0) is port.Probed.ALIVE
    await world.engine.close("a", number)
    with pytest.raises(NotConnected):
        await world.send("a", BEA_JID, "too late", "3EB0AA11223344556688")
    again = await world.open("a")
    assert await opened(world, "a", ANA) == again  # without a QR
    assert (await world.send("a", BEA_JID, "back", "3EB0AA11223344556699")).error == 0
    await got(world, BEA, "back")


async def test_live_calls(world: World) -> None:
    number = await link(world)
    await world.admin("phones", {"phone": BEA})
    call = world.engine.call
    known = await call("a", number, "check_number", {"phone": BEA})
    assert (known["exists"], known["jid"]) == (True, BEA_JID)
    assert (await call("a", number, "check_number", {"phone": "40799999999"}))["exists"] is False
    sent = (await world.admin("inject", {"from": BEA, "to": ANA, "text": "read me"}))["id"]
    await told(world, "a", sent)
    await call("a", number, "mark_read", {"chat": BEA_JID, "messages": [{"id": sent}]})

    async def read() -> bool:
        return any(entry["type"] == "read" for entry in await world.seen(kind="receipt", id=sent))

    await world.until(read)
    await call("a", number, "typing", {"chat": BEA_JID, "on": True})
    with pytest.raises(BadRequest):
        await call("a", number, "dance", {})


async def test_it_links_by_code(world: World) -> None:
    await world.session("a")
    number = await world.open("a", pair=True)
    await world.take(port.QrShown, "a")
    code = await world.engine.request_code("a", number, ANA)
    assert (len(code), (await world.take(port.CodeShown, "a")).code) == (8, code)
    await world.admin("mock-phone/enter-code", code, phone=ANA)
    await opened(world, "a", ANA)


async def test_a_logout_is_told_and_needs_a_new_pairing(world: World) -> None:
    await link(world)
    await world.admin("fault", {"kind": "logout", "jid": f"{ANA}@s.whatsapp.net"})
    closed = await world.take(port.Closed)
    assert closed.tag in ("device_removed", "logged_out"), closed


async def test_a_logout_of_ours_leaves_no_device(world: World) -> None:
    number = await link(world)
    await world.engine.close("a", number, logout=True)
    await world.store.save_state(
        "a", world.epochs["a"], {}, me=None, timeline=None, clear_credentials=True
    )  # as the actor does
    await world.open("a", pair=True)
    await world.admin("mock-phone/scan-qr", (await world.take(port.QrShown, "a")).qr, phone=ANA)
    await opened(world, "a", ANA)


async def test_a_grant_that_lapses_closes(world: World) -> None:
    await link(world)
    await world.engine.grant({"a": world.grant("a", 1.0)})
    assert (await world.take(port.Closed, within=10.0)).tag == "grant"
    with pytest.raises(NotConnected):
        await world.send("a", BEA_JID, "without a right", "3EB0AA11223344556611")


async def test_a_session_that_it_knows_not(world: World) -> None:
    engine = world.engine
    with pytest.raises(NotConnected):
        await engine.send("nobody", 1, port.OutgoingMessage("3EB0AA", BEA_JID, {"type": "text", "text": "x"}))
    with pytest.raises(NotConnected):
        await engine.call("nobody", 1, "check_number", {"phone": BEA})
    with pytest.raises(NotConnected):
        await engine.request_code("nobody", 1, ANA)
    assert await engine.probe("nobody", 1, listed=False, timeout=1.0) is port.Probed.SILENT
    await engine.close("nobody", 1)
    await engine.grant({"nobody": port.Grant(1, 1.0)})
    assert engine.facts()
