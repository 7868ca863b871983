"""Files through the real sidecar and the simulator: uploaded, sent, fetched, and asked for again of the phone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.errors import CallFailed, MediaGone, MediaTooLarge, NotConnected
from holdfast.ports import engine as port
from tests.support.baileys_world import World, running
from wasim.phone import Phone

ANA, BEA = "40711111111", "40722222222"
CHAT = f"{BEA}@s.whatsapp.net"
JPEG = b"\xff\xd8\xff\xe0" + hashlib.sha256(b"picture").digest() * 9000
OPUS = b"OggS\x00\x02" + bytes(22) + b"OpusHead\x01" + bytes(3000)


async def person(world: World, number: str) -> Phone:
    phone: Phone = await world.wasim.phones.of(world.wasim.hub.accounts.create(number))
    return phone


async def send(world: World, folder: Path, id_: str, content: bytes, **more: Any) -> port.ServerAck:
    path = folder / f"{id_}.file"
    path.write_bytes(content)
    message = port.OutgoingMessage(id_, CHAT, {**more, "path": str(path)})
    return await world.engine.send("a", world.numbers["a"], message)


async def fetch(world: World, path: Path, id_: str, limit: int = 10_000_000, *, from_me: bool = False) -> Any:
    """The file of a message between Ana and Bea."""

    async def stored() -> bytes | None:
        rows = await world.store.inbox_pending("a", 100)
        return next((row.plaintext for row in rows if row.attrs.get("id") == id_ and row.plaintext), None)

    args = {
        "message": await world.until(stored), "path": str(path), "chat": CHAT, "id": id_, "from_me": from_me,
        "participant": None, "limit": limit,
    }  # fmt: skip
    return await world.engine.call("a", world.numbers["a"], "download_media", args)


async def test_files_are_sent_and_come_whole_and_named(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.pair("a", ANA)
        bea = await person(world, BEA)
        ack = await send(world, tmp_path, "3EB0AA01", JPEG, type="image", caption="look", mimetype="image/jpeg")
        assert ack.error == 0
        assert b"look" in ack.message
        assert (await bea.until_message(id="3EB0AA01")).text == "look"
        assert await bea.download("3EB0AA01") == JPEG
        assert (await send(world, tmp_path, "3EB0AA02", OPUS, type="voice")).error == 0
        await bea.until_message(id="3EB0AA02")
        assert await bea.download("3EB0AA02") == OPUS
        sent = await send(world, tmp_path, "3EB0AA03", b"a;b", type="file", filename="x.csv", mimetype="text/csv")
        assert sent.error == 0
        assert (await bea.until_message(id="3EB0AA03")).text == "x.csv"
        own = await (await person(world, ANA)).send_image(CHAT, JPEG, "from the phone itself")
        assert (await fetch(world, tmp_path / "own", own, from_me=True))["size"] == len(JPEG)
        assert (tmp_path / "own").read_bytes() == JPEG
        await world.admin("fault", {"kind": "media_error", "status": 503})
        with pytest.raises(NotConnected, match="uploaded"):
            await send(world, tmp_path, "3EB0AA04", JPEG, type="image")


async def test_received_file_is_fetched_and_asked_for_again_where_it_expired(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.pair("a", ANA)
        ana, bea = await person(world, ANA), await person(world, BEA)
        ids = [await bea.send_image(f"{ANA}@s.whatsapp.net", JPEG + bytes([n])) for n in range(3)]
        for id_ in ids:
            await ana.until_message(id=id_)
        assert (await fetch(world, tmp_path / "one", ids[0]))["size"] == len(JPEG) + 1
        assert (tmp_path / "one").read_bytes() == JPEG + b"\x00"
        with pytest.raises(MediaTooLarge):
            await fetch(world, tmp_path / "large", ids[0], limit=1000)
        await world.admin("fault", {"kind": "media_error", "status": 500, "count": 1})
        with pytest.raises(CallFailed):
            await fetch(world, tmp_path / "failed", ids[1])
        await world.admin("fault", {"kind": "expire_media"})
        assert (await fetch(world, tmp_path / "two", ids[1]))["size"] == len(JPEG) + 1
        assert (tmp_path / "two").read_bytes() == JPEG + b"\x01"
        await world.admin("fault", {"kind": "expire_media", "everywhere": True})
        with pytest.raises(MediaGone, match="neither has the phone"):
            await fetch(world, tmp_path / "three", ids[2])
        assert not list(tmp_path.glob("three*"))
        assert world.wasim.hub.journal.read(kinds={"phone-failed"}) == []
