"""Phones as people: two of them, and plain Baileys clients linked to them, talk."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.wasim.conftest import ALICE, BOB
from tests.wasim.plain import PlainClient
from tests.wasim.test_server import A, B, noted
from wasim import devices
from wasim.phone import Phone, PhoneError
from wasim.phone_more import ask_poll, vote
from wasim.server import WasimServer

CAROL = "40733333333"
C = f"{CAROL}@s.whatsapp.net"


@pytest.fixture
async def world() -> AsyncIterator[WasimServer]:
    async with WasimServer() as server:
        yield server
        assert server.hub.journal.read(kinds={"phone-failed"}) == []


async def person(wasim: WasimServer, number: str) -> Phone:
    phone: Phone = await wasim.phones.of(wasim.hub.accounts.create(number))
    return phone


# --- phones alone


async def test_two_phones_talk(world: WasimServer) -> None:
    alice, bob = await person(world, ALICE), await person(world, BOB)
    bob.auto_reply = lambda message: f"you wrote {message.text}"
    sent = await alice.send_text(B, "hello")
    got = await bob.until_message(text="hello")
    assert (got.id, got.chat, got.sender, got.from_me) == (sent, A, A, False)
    assert (await alice.until_message(text="you wrote hello")).chat == B
    assert (await alice.until_receipt(id=sent)).type == "delivery"
    await bob.mark_read(A, [sent])
    assert (await alice.until_receipt(id=sent, type="read")).sender == B
    assert await alice.send_text(B, "named", id="3A00") == "3A00"
    await bob.until_message(id="3A00")


async def test_reactions_edits_and_deletions(world: WasimServer) -> None:
    alice, bob = await person(world, ALICE), await person(world, BOB)
    sent = await alice.send_text(B, "first")
    await bob.until_message(text="first")
    await bob.react(A, sent, "👍")
    assert (await alice.until_message(kind="reaction")).target == sent
    await alice.edit(B, sent, "second")
    assert (await bob.until_message(kind="edited", text="second")).target == sent
    await alice.revoke(B, sent)
    assert (await bob.until_message(kind="revoked")).target == sent


async def test_a_phone_learns_that_a_device_is_gone_and_writes_once_more(world: WasimServer) -> None:
    alice = await person(world, ALICE)
    async with PlainClient(world) as client:
        await client.pair(BOB)
        await alice.send_text(B, "to phone and companion")
        await client.until("message", text="to phone and companion")
        device = world.hub.accounts.device(f"{BOB}:1@s.whatsapp.net")
        assert device is not None
        devices.unlist(world.hub, device)
        sent = await alice.send_text(B, "to the phone alone")
        await (await person(world, BOB)).until_message(id=sent)
        assert (await noted(world, "refused", id=sent))["code"] == 479
        assert sent not in [event["key"]["id"] for event in client.seen("message")]


async def test_a_picture_between_phones(world: WasimServer) -> None:
    alice, bob = await person(world, ALICE), await person(world, BOB)
    picture = secrets.token_bytes(50_000)
    sent = await alice.send_image(B, picture, "look")
    assert (await bob.until_message(kind="image")).text == "look"
    assert await bob.download(sent) == picture
    assert await alice.download(sent) == picture
    with pytest.raises(PhoneError, match="no file"):
        await bob.download("3A00")


async def test_phones_keep_their_sessions_over_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "wasim.sqlite3"
    async with WasimServer(state=state) as first:
        alice, bob = await person(first, ALICE), await person(first, BOB)
        await alice.send_text(B, "before")
        await bob.until_message(text="before")
        picture = await bob.send_image(A, b"kept", "kept")
        await alice.until_message(kind="image")
        await first.hub.journal.wait(0, kinds={"receipt"})
    async with WasimServer(state=state) as second:
        alice, bob = await person(second, ALICE), await person(second, BOB)
        assert [message.text for message in bob.messages] == ["before", "kept"]
        taken = len(second.hub.journal.read(kinds={"prekey-taken"}))
        await alice.send_text(B, "after")
        await bob.until_message(text="after")
        assert len(second.hub.journal.read(kinds={"prekey-taken"})) == taken
        assert await alice.download(picture) == b"kept"


async def test_a_phone_that_lost_a_session_asks_again(world: WasimServer) -> None:
    alice, bob = await person(world, ALICE), await person(world, BOB)
    await alice.send_text(B, "one")
    await bob.until_message(text="one")
    await bob.send_text(A, "two")
    await alice.until_message(text="two")
    bob.keys.forget((ALICE, 0))
    sent = await alice.send_text(B, "three")
    assert (await bob.until_message(text="three")).id == sent
    assert await noted(world, "receipt", type="retry", id=sent)
    await alice.send_text(B, "four")
    await bob.until_message(text="four")


async def test_a_number_that_nobody_has(world: WasimServer) -> None:
    alice = await person(world, ALICE)
    with pytest.raises(PhoneError, match="not on WhatsApp"):
        await alice.send_text("40799999999@s.whatsapp.net", "anyone?")
    with pytest.raises(PhoneError, match="no address"):
        await alice.send_text("nonsense", "anyone?")


async def test_phones_in_a_group(world: WasimServer) -> None:
    alice, bob, carol = [await person(world, number) for number in (ALICE, BOB, CAROL)]
    async with PlainClient(world) as client:
        await client.pair(ALICE)
        group = (await client.ask("group-create", subject="Team", members=[B, C]))["id"]
        sent = await bob.send_text(group, "to all")
        for phone in (alice, carol):
            got = await phone.until_message(text="to all")
            assert (got.chat, got.sender) == (group, B)
        assert (await client.until("message", text="to all"))["key"]["remoteJid"] == group
        assert {(await bob.until_receipt(id=sent, sender=who)).type for who in (A, C)} == {"delivery"}
        await carol.mark_read(group, [sent])
        await bob.until_receipt(id=sent, sender=C, type="read")
        await client.ask("send", to=group, text="from the client")
        for phone in (alice, bob, carol):
            assert (await phone.until_message(text="from the client")).from_me is (phone is alice)
        await bob.send_text(group, "again")
        await client.until("message", text="again")
        carol.groups._others.clear()
        await bob.send_text(group, "lost key")
        assert (await carol.until_message(text="lost key")).chat == group


async def test_who_may_change_a_group(world: WasimServer) -> None:
    alice, bob, carol = [await person(world, number) for number in (ALICE, BOB, CAROL)]
    group = await alice.create_group("Team", [B])
    assert world.hub.groups.find(group).members == {ALICE: "superadmin", BOB: ""}  # type: ignore[union-attr]
    for change, member in (("add", C), ("remove", A), ("promote", B)):
        with pytest.raises(PhoneError, match="forbidden"):
            await bob.change_group(group, change, [member])
    with pytest.raises(PhoneError, match="forbidden"):
        await carol.rename_group(group, "Mine")
    with pytest.raises(PhoneError, match="403"):
        await carol.send_text(group, "hello?")
    await alice.change_group(group, "add", [C, B])  # Bob is in it already: refused for him alone
    await carol.send_text(group, "hello")
    await bob.until_message(text="hello")
    await alice.change_group(group, "promote", [B])
    await bob.change_group(group, "remove", [C, A])  # nobody removes who made the group
    await bob.rename_group(group, "Ours")
    found = world.hub.groups.find(group)
    assert found is not None
    assert (found.members, found.subject) == ({ALICE: "superadmin", BOB: "admin"}, "Ours")
    await alice.leave_group(group)
    assert found.members == {BOB: "admin"}


async def test_polls_and_votes(world: WasimServer) -> None:
    alice, bob = [await person(world, number) for number in (ALICE, BOB)]
    poll = await ask_poll(alice, B, "Tea?", ["yes", "no"])
    assert (await bob.until_message(id=poll)).kind == "poll"
    assert await vote(bob, A, poll, ["yes"])
    with pytest.raises(PhoneError, match="no poll"):
        await vote(bob, A, "unknown", ["yes"])


# --- with Baileys


async def test_everybody_sees_a_talk_of_four_devices(world: WasimServer) -> None:
    async with PlainClient(world) as first, PlainClient(world) as second:
        await first.pair(ALICE)
        await second.pair(BOB)
        alice, bob = await person(world, ALICE), await person(world, BOB)
        sent = (await first.ask("send", to=B, text="from a client"))["id"]
        assert (await second.until("message", text="from a client"))["key"]["fromMe"] is False
        assert (await bob.until_message(id=sent)).from_me is False
        own = await alice.until_message(id=sent)
        assert (own.chat, own.from_me, own.text) == (B, True, "from a client")
        await first.until("update", status=3)
        reply = await bob.send_text(A, "from a phone")
        assert (await first.until("message", text="from a phone"))["key"]["fromMe"] is False
        assert (await second.until("message", text="from a phone"))["key"]["fromMe"] is True
        assert (await alice.until_message(id=reply)).sender == B
        await bob.mark_read(A, [sent])
        await first.until("update", status=4)
        assert await bob.until_receipt(id=reply, type="delivery")
        key = (await second.ask("send", to=A, text="again"))["id"]
        got = await first.until("message", text="again")
        await first.ask("read", keys=[got["key"]])
        await second.until("update", status=4)
        assert (await bob.until_message(id=key)).from_me is True
    assert world.hub.journal.counts["refused"] == 0


async def test_what_phones_send_while_a_client_is_away(world: WasimServer) -> None:
    async with PlainClient(world) as client:
        await client.pair(ALICE)
        bob = await person(world, BOB)
        await bob.send_text(A, "at once")
        await client.until("message", text="at once")
        client.do("close")
        await client.until("close")
        for number in range(20):
            await bob.send_text(A, f"waiting {number}")
        await client.connect()
        got = [await client.until("message", type="append") for _ in range(20)]
        assert [event["text"] for event in got] == [f"waiting {number}" for number in range(20)]


async def test_pictures_both_ways(world: WasimServer) -> None:
    async with PlainClient(world) as client:
        await client.pair(ALICE)
        bob = await person(world, BOB)
        picture = secrets.token_bytes(70_000)
        await bob.send_image(A, picture, "yours", mimetype="image/png")
        got = await client.until("message", kind="imageMessage")
        assert base64.b64decode(await client.ask("download", key=got["key"])) == picture
        sent = await client.ask("image", to=B, base64=base64.b64encode(PIXEL).decode(), caption="mine")
        assert (await bob.until_message(id=sent["id"])).kind == "image"
        assert await bob.download(sent["id"]) == PIXEL


PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


async def test_a_client_that_lost_its_session_gets_the_message_again(world: WasimServer) -> None:
    async with PlainClient(world) as client:
        await client.pair(ALICE)
        bob = await person(world, BOB)
        await bob.send_text(A, "one")
        await client.until("message", text="one")
        await client.ask("send", to=B, text="two")
        await bob.until_message(text="two")
        await client.ask("forget-sessions")
        await bob.send_text(A, "three")
        await client.until("message", text="three")
        await client.ask("send", to=B, text="four")
        await bob.until_message(text="four")


async def test_a_phone_that_lost_its_sessions_gets_a_clients_message_again(world: WasimServer) -> None:
    async with PlainClient(world) as client:
        await client.pair(ALICE)
        bob = await person(world, BOB)
        await client.ask("send", to=B, text="one")
        await bob.until_message(text="one")
        await bob.send_text(A, "two")
        await client.until("message", text="two")
        bob.keys.forget((ALICE, 1))
        sent = (await client.ask("send", to=B, text="three"))["id"]
        assert (await bob.until_message(text="three")).id == sent


async def test_typing_and_presence_reach_a_client(world: WasimServer) -> None:
    async with PlainClient(world) as client:
        await client.pair(ALICE)
        bob = await person(world, BOB)
        await client.ask("subscribe", to=B)
        await bob.available()
        await bob.typing(A)
        event = await client.until("presence")
        while "composing" not in str(event):
            event = await client.until("presence")
        with pytest.raises(PhoneError, match="composing, paused, recording"):
            await bob.typing(A, "thinking")


async def test_a_companion_whose_identity_is_not_vouched_for_is_asked_again(world: WasimServer) -> None:
    async with PlainClient(world) as client:
        await client.pair(ALICE)
        bob = await person(world, BOB)
        alice = await person(world, ALICE)
        await alice.send_text(B, "so that the account's key is known")
        await bob.until_message(sender=A)
        await client.ask("forge-identity")
        sent = (await client.ask("send", to=B, text="forged"))["id"]
        await noted(world, "receipt", type="retry", id=sent, jid=B)
        assert all(message.id != sent for message in bob.messages)


# --- files that the server has no more


async def test_a_phone_uploads_a_file_again_that_the_server_has_no_more(world: WasimServer) -> None:
    alice, bob = await person(world, ALICE), await person(world, BOB)
    sent = await alice.send_image(B, b"\xff\xd8\xffpicture")
    await bob.until_message(kind="image")
    assert world.media is not None
    assert world.media.expire() == 1
    with pytest.raises(PhoneError, match="410"):
        await bob.download(sent)
    path = await bob.files.upload_again("image", bob.memory.files[sent])
    assert path is not None
    assert await bob.download(sent) == b"\xff\xd8\xffpicture"
    bob.files.forget()
    assert await bob.files.upload_again("image", bob.memory.files[sent]) is None
