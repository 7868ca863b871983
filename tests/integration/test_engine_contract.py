"""What `ports.engine` promises, asked of every engine over the simulator: Baileys, and WAHA.

There WAHA is a second Holdfast that serves its WAHA-compatible API: real sockets, and the real sidecar behind them.
What the simulator's phones see is the same for both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from holdfast.domain.errors import BadRequest, NotConnected
from holdfast.domain.messages import interpret, merge
from holdfast.domain.rows import MessageRow
from holdfast.ports import engine as port
from tests.support.baileys_world import World
from tests.support.engine_worlds import WORLDS

BEA = "40722222222"
BEA_JID = f"{BEA}@s.whatsapp.net"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(params=list(WORLDS), scope="module", loop_scope="module")
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with WORLDS[request.param](tmp_path_factory.mktemp("world")) as world:
        yield world


@dataclass
class Account:
    """One session of the world's, and the phone that it is linked to."""

    name: str
    phone: str


@pytest.fixture
def a(world: World) -> Account:
    """Of this test alone: a world has many."""
    number = len(world.epochs)
    return Account(f"a{number}", f"407111110{number:02}")


async def link(world: World, a: Account) -> int:
    """Pair by QR, and log in where the engine wants a second connection for that."""
    await world.session(a.name)
    await world.open(a.name, pair=True)
    await scan(world, a)
    return await opened(world, a)


async def scan(world: World, a: Account) -> None:
    """Its phone scans the next QR."""
    await world.admin("mock-phone/scan-qr", (await world.take(port.QrShown, a.name)).qr, phone=a.phone)


async def opened(world: World, a: Account) -> int:
    """Wait until it is logged in with its phone; its connection."""
    name, phone = a.name, a.phone
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


async def delivered(world: World, a: Account, id: str) -> None:
    """Wait until the inbox tells that the other side's phone has a message of ours."""

    async def look() -> bool:
        rows = await world.store.inbox_pending(a.name, 1000)
        acks = [ack for row in rows for ack in interpret(row, {"phone": a.phone}).acks]
        return any(known == id and level >= 2 for _, known, level in acks)

    await world.until(look)


async def told(world: World, a: Account, id: str) -> MessageRow:
    """A received message as the session's conversations show it, once it is there."""
    name, me = a.name, {"phone": a.phone}

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


async def test_it_links_talks_and_comes_back(world: World, a: Account) -> None:
    number = await link(world, a)
    await world.admin("phones", {"phone": BEA, "name": "Bea"})
    ack = await world.send(a.name, BEA_JID, "hello", "3EB0AA11223344556677")
    assert ack.error == 0
    assert [message["id"] for message in await got(world, BEA, "hello")] == ["3EB0AA11223344556677"]
    assert (await world.send(a.name, BEA_JID, "hello", "3EB0AA11223344556677")).error == 0  # tried again
    assert {message["id"] for message in await got(world, BEA, "hello")} == {"3EB0AA11223344556677"}
    await delivered(world, a, "3EB0AA11223344556677")
    sent = (await world.admin("inject", {"from": BEA, "to": a.phone, "text": "and you?"}))["id"]
    heard = await told(world, a, sent)
    assert (heard.text, heard.chat, heard.from_me) == ("and you?", BEA_JID, False)
    assert await world.engine.probe(a.name, number, listed=False, timeout=5.0) is port.Probed.ALIVE
    assert await world.engine.probe(a.name, number, listed=True, timeout=5.0) is port.Probed.ALIVE
    await world.engine.close(a.name, number)
    with pytest.raises(NotConnected):
        await world.send(a.name, BEA_JID, "too late", "3EB0AA11223344556688")
    again = await world.open(a.name)
    assert await opened(world, a) == again  # without a QR
    assert (await world.send(a.name, BEA_JID, "back", "3EB0AA11223344556699")).error == 0
    await got(world, BEA, "back")


async def test_live_calls(world: World, a: Account) -> None:
    number = await link(world, a)
    await world.admin("phones", {"phone": BEA})
    call = world.engine.call
    known = await call(a.name, number, "check_number", {"phone": BEA})
    assert (known["exists"], known["jid"]) == (True, BEA_JID)
    assert (await call(a.name, number, "check_number", {"phone": "40799999999"}))["exists"] is False
    sent = (await world.admin("inject", {"from": BEA, "to": a.phone, "text": "read me"}))["id"]
    await told(world, a, sent)
    await call(a.name, number, "mark_read", {"chat": BEA_JID, "messages": [{"id": sent}]})

    async def read() -> bool:
        return any(entry["type"] == "read" for entry in await world.seen(kind="receipt", id=sent))

    await world.until(read)
    await call(a.name, number, "typing", {"chat": BEA_JID, "on": True})
    with pytest.raises(BadRequest):
        await call(a.name, number, "dance", {})


async def test_it_links_by_code(world: World, a: Account) -> None:
    await world.session(a.name)
    number = await world.open(a.name, pair=True)
    await world.take(port.QrShown, a.name)
    code = await world.engine.request_code(a.name, number, a.phone)
    assert (len(code), (await world.take(port.CodeShown, a.name)).code) == (8, code)
    await world.admin("mock-phone/enter-code", code, phone=a.phone)
    await opened(world, a)


async def test_a_logout_is_told_and_needs_a_new_pairing(world: World, a: Account) -> None:
    await link(world, a)
    await world.admin("fault", {"kind": "logout", "jid": f"{a.phone}@s.whatsapp.net"})
    if (await world.take(port.Closed, a.name)).tag != "device_removed":
        await world.open(a.name)  # WAHA does not say why a session is FAILED: it is tried once more, and wants a QR
        await world.take(port.QrShown, a.name)


async def test_a_logout_of_ours_leaves_no_device(world: World, a: Account) -> None:
    number = await link(world, a)
    await world.engine.close(a.name, number, logout=True)
    await world.store.save_state(
        a.name, world.epochs[a.name], {}, me=None, timeline=None, clear_credentials=True
    )  # as the actor does
    await world.open(a.name, pair=True)
    await scan(world, a)
    await opened(world, a)


async def test_a_grant_that_lapses_closes(world: World, a: Account) -> None:
    await link(world, a)
    await world.engine.grant({a.name: world.grant(a.name, 1.0)})
    assert (await world.take(port.Closed, a.name, within=10.0)).tag == "grant"
    with pytest.raises(NotConnected):
        await world.send(a.name, BEA_JID, "without a right", "3EB0AA11223344556611")


async def test_a_session_that_it_knows_not(world: World) -> None:
    engine = world.engine
    with pytest.raises(NotConnected):
        await engine.send("nobody", 1, port.OutgoingMessage("3EB0AA", BEA_JID, {"type": "text", "text": "x"}))
    with pytest.raises(NotConnected):
        await engine.call("nobody", 1, "check_number", {"phone": BEA})
    with pytest.raises(NotConnected):
        await engine.request_code("nobody", 1, BEA)
    assert await engine.probe("nobody", 1, listed=False, timeout=1.0) is port.Probed.SILENT
    await engine.close("nobody", 1)
    await engine.grant({"nobody": port.Grant(1, 1.0)})
    assert engine.facts()
