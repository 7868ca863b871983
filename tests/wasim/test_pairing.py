"""Linking, by QR and by code, with the real phones, and everything about it that must be refused."""

from __future__ import annotations

import base64

import pytest

from tests.wasim.conftest import ALICE
from tests.wasim.plain import PlainClient
from tests.wasim.test_server import A, noted
from wasim.accounts import MAX_COMPANIONS
from wasim.pairing import PairingError, read_qr
from wasim.server import WasimServer


async def shown(client: PlainClient) -> str:
    client.do("connect")
    qr: str = (await client.until("qr"))["qr"]
    return qr


async def test_by_qr_with_the_first_history() -> None:
    async with WasimServer(media_port=None) as wasim, PlainClient(wasim) as client:
        await client.pair(ALICE)
        assert (await client.until("history", syncType=0))["chats"] == 0
        assert wasim.hub.journal.counts["phone-failed"] == 0


async def test_by_code() -> None:
    async with WasimServer(media_port=None) as wasim, PlainClient(wasim) as client:
        await shown(client)
        code = await client.ask("pair-code", phone=ALICE)
        await noted(wasim, "code-asked", jid=A)
        await wasim.pairings.enter_code(f"{code[:4]}-{code[4:].lower()}", ALICE)
        assert (await client.until("close"))["code"] == 515
        assert (await client.connect())["me"]["id"] == f"{ALICE}:1@s.whatsapp.net"


async def test_a_code_is_refused_on_demand_to_the_number_that_is_meant() -> None:
    async with WasimServer(media_port=None) as wasim, PlainClient(wasim) as client:
        await shown(client)
        wasim.hub.faults.add(wasim.hub.faults.make({"kind": "refuse_code", "jid": ALICE, "count": 1}))
        await client.ask("pair-code", phone=ALICE)
        assert (await noted(wasim, "refused", tag="link_code_companion_reg"))["code"] == 429
        with pytest.raises(PairingError, match="no socket waits for a code"):
            await wasim.pairings.enter_code("AAAAAAAA", ALICE)
        await client.ask("pair-code", phone=ALICE)
        await noted(wasim, "code-asked", jid=A)


async def test_a_wrong_code_links_nothing() -> None:
    async with WasimServer(media_port=None) as wasim, PlainClient(wasim) as client:
        await shown(client)
        await client.ask("pair-code", phone=ALICE)
        await noted(wasim, "code-asked", jid=A)
        await wasim.pairings.enter_code("AAAAAAAA", ALICE)
        assert "code is wrong" in (await noted(wasim, "refused", tag="link_code_companion_reg"))["reason"]
        account = wasim.hub.accounts.find(A)
        assert account is not None
        assert account.companions == []


async def test_a_qr_links_once(wasim: WasimServer) -> None:
    async with PlainClient(wasim) as client:
        qr = await shown(client)
        await wasim.pairings.scan(qr, ALICE)
        await client.until("close")
        await noted(wasim, "disconnected")
        with pytest.raises(PairingError, match="no socket waits"):
            await wasim.pairings.scan(qr, ALICE)


async def test_a_qr_with_other_keys_is_refused(wasim: WasimServer) -> None:
    async with PlainClient(wasim) as client:
        parts = (await shown(client)).split(",")
        parts[2] = base64.b64encode(bytes(32)).decode()
        with pytest.raises(PairingError, match="not the keys of the socket"):
            await wasim.pairings.scan(",".join(parts), ALICE)


async def test_a_wrong_secret_is_noticed_by_the_companion(wasim: WasimServer) -> None:
    async with PlainClient(wasim) as client:
        parts = (await shown(client)).split(",")
        parts[3] = base64.b64encode(bytes(32)).decode()
        await wasim.pairings.scan(",".join(parts), ALICE)
        assert "Invalid account signature" in (await client.until("close"))["message"]
        account = wasim.hub.accounts.find(A)
        assert account is not None
        assert account.companions == []


async def test_an_expired_ref_is_refused_and_in_the_end_the_socket_is_closed() -> None:
    clock = [1_800_000_000.0]
    server = WasimServer(media_port=None, ref_seconds=(0.4, 0.4, 0.4, 0.4, 0.4, 1.0), now=lambda: clock[0])
    async with server as wasim, PlainClient(wasim) as client:
        qr = await shown(client)
        clock[0] += 0.5
        with pytest.raises(PairingError, match="expired"):
            await wasim.pairings.scan(qr, ALICE)
        assert (await client.until("close"))["code"] == 428
        await noted(wasim, "pairing-expired")


async def test_an_account_has_four_companions_at_most(wasim: WasimServer) -> None:
    account = wasim.hub.accounts.create(ALICE)
    for number in range(1, MAX_COMPANIONS + 1):
        account.devices[number] = account.devices[0]
    async with PlainClient(wasim) as client:
        with pytest.raises(PairingError, match="unlink one first"):
            await wasim.pairings.scan(await shown(client), ALICE)


@pytest.mark.parametrize("text", ["", "a,b,c", "ref,****,x,y", "ref,AA==,AA==,AA=="])
def test_what_is_no_qr_is_refused(text: str) -> None:
    with pytest.raises(PairingError):
        read_qr(text)
