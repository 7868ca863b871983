"""The Baileys engine on the simulator: pairing, login, sending, receiving, and what is stored before what."""

from __future__ import annotations

from pathlib import Path

from holdfast.ports import engine as port
from tests.support.baileys_world import running, text_of

ANA, BEA = "40711111111", "40722222222"


async def test_pair_by_qr_then_log_in_again_from_what_is_stored(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.session("a")
        await world.open("a", pair=True)
        shown = await world.take(port.QrShown)
        assert shown.lifetime > 10
        await world.admin("mock-phone/scan-qr", shown.qr, phone=ANA)
        paired = await world.take(port.Paired)
        assert paired.phone == ANA
        assert paired.lid.endswith("@lid")
        closed = await world.take(port.Closed)
        assert (closed.code, closed.tag) == (515, "restart_required")
        for _ in range(2):
            number = await world.login("a")
            await world.engine.close("a", number)


async def test_two_numbers_talk(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.pair("a", ANA)
        await world.pair("b", BEA)
        ack = await world.send("a", f"{BEA}@s.whatsapp.net", "hello", "3EB0AA")
        assert ack.error == 0
        [row] = await world.inbox("b", 1)
        assert text_of(row) == "hello"
        assert row.attrs["id"] == "3EB0AA"
        assert (await world.send("b", f"{ANA}@s.whatsapp.net", "hello yourself", "3EB0BB")).error == 0
        assert [text_of(row) for row in await world.inbox("a", 1)] == ["hello yourself"]
        assert any(row.body["ids"] == ["3EB0AA"] for row in await world.inbox("a", 1, "receipt"))


async def test_pair_by_code_and_hear_from_the_phone(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.session("a")
        await world.open("a", pair=True, phone=ANA)
        shown = await world.take(port.CodeShown)
        assert len(shown.code) == 8
        assert await world.store.read_keys("a", [("creds", "")]) == {}  # half-made credentials are never stored
        await world.admin("mock-phone/enter-code", shown.code, phone=ANA)
        assert (await world.take(port.Paired)).phone == ANA
        assert (await world.take(port.Closed)).tag == "restart_required"
        await world.login("a")
        await world.admin("inject", {"from": BEA, "to": ANA, "text": "from a phone"})
        assert [text_of(row) for row in await world.inbox("a", 1)] == ["from a phone"]
        assert (await world.send("a", f"{BEA}@s.whatsapp.net", "to a phone", "3EB0CC")).error == 0

        async def arrived() -> bool:
            return "to a phone" in str((await world.admin(f"phones/{BEA}/messages"))["messages"])

        await world.until(arrived)


async def test_a_code_can_be_asked_for_while_a_qr_is_on_show(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.session("a")
        number = await world.open("a", pair=True)
        await world.take(port.QrShown)
        code = await world.engine.request_code("a", number, ANA)
        assert (await world.take(port.CodeShown)).code == code
        await world.admin("mock-phone/enter-code", code, phone=ANA)
        await world.take(port.Paired)


async def test_the_qr_is_renewed_when_the_refs_are_used_up(tmp_path: Path) -> None:
    """Twenty times faster: a ref lives one second. Here three of them make a socket, WhatsApp gives six."""
    options = {"time_factor": 0.05, "query_timeout": 200.0, "connect_timeout": 200.0}
    async with running(tmp_path, wasim={"ref_seconds": (1.0,) * 3}, **options) as world:
        await world.session("a")
        await world.open("a", pair=True)
        shown = [await world.take(port.QrShown) for _ in range(5)]
        assert len({event.qr for event in shown}) == 5
        await world.admin("mock-phone/scan-qr", shown[-1].qr, phone=ANA)
        await world.take(port.Paired)


async def test_live_calls(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        number = await world.pair("a", ANA)
        await world.admin("phones", {"phone": BEA, "name": "Bea"})
        call = world.engine.call
        known = await call("a", number, "check_number", {"phone": BEA})
        assert known["exists"] is True
        assert known["jid"] == f"{BEA}@s.whatsapp.net"
        assert (await call("a", number, "check_number", {"phone": "40799999999"}))["exists"] is False
        await world.admin("inject", {"from": BEA, "to": ANA, "text": "read me"})
        [row] = await world.inbox("a", 1)
        await call("a", number, "mark_read", {"chat": row.attrs["from"], "messages": [{"id": row.attrs["id"]}]})

        async def read() -> bool:
            return any(entry["type"] == "read" for entry in await world.seen(kind="receipt", id=row.attrs["id"]))

        await world.until(read)
        await call("a", number, "typing", {"chat": f"{BEA}@s.whatsapp.net", "on": True})
        assert await call("a", number, "profile_picture", {"chat": f"{BEA}@s.whatsapp.net"}) is None
