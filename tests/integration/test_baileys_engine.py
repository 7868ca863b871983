"""The Baileys engine on the simulator: pairing, login, sending, receiving, and what is stored before what."""

from __future__ import annotations

from pathlib import Path

from tests.support.baileys_world import running, text_of

from holdfast.ports import engine as port

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
