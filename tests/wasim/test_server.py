"""The server against the real Baileys; the phones only sign and acknowledge (``signing_phone``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.wasim.conftest import ALICE, BOB
from tests.wasim.plain import PlainClient
from tests.wasim.signing_phone import SigningPhone
from wasim.server import WasimServer
from wasim.state import StateError

A, B = f"{ALICE}@s.whatsapp.net", f"{BOB}@s.whatsapp.net"


async def contact(wasim: WasimServer, phone: str = BOB) -> SigningPhone:
    found: SigningPhone = await wasim.phones.of(wasim.hub.accounts.create(phone))
    return found


async def noted(wasim: WasimServer, kind: str, **facts: Any) -> dict[str, Any]:
    """Wait for the first record of ``kind`` with these facts, also an earlier one."""
    since = 0
    while records := await wasim.hub.journal.wait(since, kinds={kind}, timeout=20):
        for record in records:
            if all(record.get(key) == value for key, value in facts.items()):
                return record
        since = records[-1]["seq"]
    raise AssertionError(f"no {kind} with {facts}; there is {wasim.hub.journal.read()[-20:]}")


async def test_a_message_reaches_the_phones_of_both_sides(wasim: WasimServer, alice: PlainClient) -> None:
    bob = await contact(wasim)
    key = await alice.ask("send", to=B, text="hello")
    assert "error" not in await alice.until("ack", id=key["id"])
    await noted(wasim, "receipt", jid=B, id=key["id"])
    await noted(wasim, "client-ack", jid=f"{ALICE}:1@s.whatsapp.net", of="receipt", id=key["id"])
    [message] = [node for node in bob.seen if node.tag == "message"]
    alice_account = wasim.hub.accounts.find(A)
    assert alice_account is not None
    assert message.attrs["from"] == f"{ALICE}:1@s.whatsapp.net"
    assert message.attrs["sender_lid"] == str(alice_account.lid)
    assert message.child("device-identity") is not None
    own = await contact(wasim, ALICE)
    [copy] = [node for node in own.seen if node.tag == "message"]
    assert copy.attrs["recipient"] == B
    assert wasim.hub.journal.counts["device-list-stale"] == 0


async def test_a_second_companion_gets_its_copy_with_keys_of_its_own(wasim: WasimServer, alice: PlainClient) -> None:
    async with PlainClient(wasim) as second, PlainClient(wasim) as bob:
        await second.pair(ALICE)
        await bob.pair(BOB)
        await bob.ask("send", to=A, text="to both")
        for client in (alice, second):
            assert (await client.until("message", text="to both"))["key"]["fromMe"] is False
        await alice.ask("send", to=B, text="from one")
        assert (await second.until("message", text="from one"))["key"]["fromMe"] is True
        assert (await bob.until("message", text="from one"))["pushName"] == "Phone 5678"
    assert wasim.hub.journal.counts["device-list-stale"] == 0
    assert wasim.hub.journal.counts["refused"] == 0
    taken = [(r["jid"], r["key"]) for r in wasim.hub.journal.read(kinds={"prekey-taken"})]
    assert len(taken) == len(set(taken))


async def test_messages_wait_for_a_device_that_is_away(wasim: WasimServer, alice: PlainClient) -> None:
    async with PlainClient(wasim) as bob:
        await bob.pair(BOB)
        await alice.ask("send", to=B, text="first")
        await bob.until("message", text="first")
        bob.do("close")
        await bob.until("close")
        for number in range(3):
            await alice.ask("send", to=B, text=f"waiting {number}")
        await bob.connect()
        for number in range(3):
            assert (await bob.until("message", text=f"waiting {number}"))["type"] == "append"
        preview = await noted(wasim, "offline-preview")
        assert preview["count"] >= 3
        device = wasim.hub.accounts.device(f"{BOB}:1@s.whatsapp.net")
        assert device is not None
        since = 0
        while any(node.tag == "message" for node in device.queue.values()):
            since = (await wasim.hub.journal.wait(since, kinds={"receipt"}, timeout=20))[-1]["seq"]


async def test_a_second_stream_replaces_the_first(wasim: WasimServer, alice: PlainClient, tmp_path: Path) -> None:
    await alice.ask("dump", file=str(tmp_path / "auth.json"))
    async with PlainClient(wasim, auth=tmp_path / "auth.json") as twin:
        await twin.connect()
        assert (await alice.until("close"))["code"] == 440
        assert wasim.hub.journal.counts["replaced"] == 1


async def test_logging_out_unlinks_the_device(wasim: WasimServer, alice: PlainClient) -> None:
    alice.do("logout")
    assert (await alice.until("close"))["code"] == 401
    await noted(wasim, "unlinked", jid=f"{ALICE}:1@s.whatsapp.net")
    alice.do("connect")
    assert (await alice.until("close"))["code"] == 401
    assert (await noted(wasim, "login-refused"))["reason"].startswith("the device is not linked")


async def test_credentials_with_another_noise_key_are_refused(
    wasim: WasimServer, alice: PlainClient, tmp_path: Path
) -> None:
    alice.do("close")
    await alice.until("close")
    device = wasim.hub.accounts.device(f"{ALICE}:1@s.whatsapp.net")
    assert device is not None
    device.noise = bytes(32)
    alice.do("connect")
    assert (await alice.until("close"))["code"] == 401
    assert "Noise key" in (await noted(wasim, "login-refused"))["reason"]


async def test_small_queries_are_answered(wasim: WasimServer, alice: PlainClient) -> None:
    await contact(wasim)
    found = await alice.ask("on-whatsapp", phones=[BOB, "40700000001"])
    assert [entry["jid"] for entry in found if entry["exists"]] == [B]
    assert (await alice.ask("privacy"))["readreceipts"] == "all"
    await alice.ask("rotate")
    await noted(wasim, "prekeys-rotated", key=2)
    await noted(wasim, "ping", jid=f"{ALICE}:1@s.whatsapp.net")
    group = await alice.ask("group-create", subject="Team", members=[B])
    assert {member["phoneNumber"] for member in group["participants"]} == {A, B}
    assert list(await alice.ask("groups")) == [group["id"]]


async def test_an_unknown_query_is_refused_and_noted(wasim: WasimServer, alice: PlainClient) -> None:
    node = {"tag": "iq", "attrs": {"to": "@s.whatsapp.net", "type": "get", "xmlns": "w:nonsense"}, "content": []}
    with pytest.raises(RuntimeError, match="feature-not-implemented"):
        await alice.ask("query", node=node)
    assert (await noted(wasim, "refused", xmlns="w:nonsense"))["code"] == 501


async def test_a_message_to_nobody_is_refused(wasim: WasimServer, alice: PlainClient) -> None:
    key = await alice.ask("send", to="40700000001@s.whatsapp.net", text="anyone?")
    assert (await alice.until("ack", id=key["id"]))["error"] == "404"


async def test_accounts_queues_and_keys_survive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "wasim.sqlite3"
    async with WasimServer(media_port=None, phone_factory=SigningPhone, state=state) as first:
        async with PlainClient(first) as alice, PlainClient(first) as bob:
            await alice.pair(ALICE)
            await bob.pair(BOB)
            await bob.ask("dump", file=str(tmp_path / "bob.json"))
            bob.do("close")
            await bob.until("close")
            key = await alice.ask("send", to=B, text="over the restart")
            await alice.until("ack", id=key["id"])
        root, port = first.root_key_hex, first.port
        device = first.hub.accounts.device(f"{BOB}:1@s.whatsapp.net")
        assert device is not None
        keys = dict(device.pre_keys)
    async with WasimServer(port=port, media_port=None, phone_factory=SigningPhone, state=state) as second:
        assert second.root_key_hex == root
        device = second.hub.accounts.device(f"{BOB}:1@s.whatsapp.net")
        assert device is not None
        assert device.pre_keys == keys
        async with PlainClient(second, auth=tmp_path / "bob.json") as bob:
            await bob.connect()
            await bob.until("message", text="over the restart")


def test_a_damaged_state_file_is_explained(tmp_path: Path) -> None:
    from wasim.state import State

    (tmp_path / "x").write_bytes(b"not a database, but long enough to look like something" * 20)
    with pytest.raises(StateError, match="--state"):
        State(tmp_path / "x")
