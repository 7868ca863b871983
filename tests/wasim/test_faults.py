"""Every fault, as the real Baileys sees it."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest

from tests.wasim.conftest import ALICE, BOB
from tests.wasim.plain import PlainClient
from tests.wasim.test_server import A, B, contact, noted
from wasim.server import WasimServer


async def fault(wasim: WasimServer, kind: str, **facts: Any) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http:
        answer = await http.post(f"{wasim.admin_url}/fault", json={"kind": kind, **facts})
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def test_drop(wasim: WasimServer, alice: PlainClient) -> None:
    assert await fault(wasim, "drop", jid=ALICE) == {"struck": 1}
    assert (await alice.until("close"))["code"] == 428
    await alice.connect()


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"code": 503}, 503),
        ({"code": 500}, 500),
        ({"code": 515}, 515),
        ({"conflict": "replaced"}, 440),
        ({"code": 401, "conflict": "device_removed"}, 401),
        ({"conflict": "device_removed"}, 440),
        ({"tag": "xml-not-well-formed"}, 500),
    ],
)
async def test_stream_error(wasim: WasimServer, alice: PlainClient, facts: dict[str, Any], code: int) -> None:
    await fault(wasim, "stream_error", **facts)
    assert (await alice.until("close"))["code"] == code


async def test_failure_at_the_next_login(wasim: WasimServer, alice: PlainClient) -> None:
    await fault(wasim, "failure", jid=ALICE, reason=402, count=1, expire=3600)
    await fault(wasim, "drop")
    await alice.until("close")
    alice.do("connect")
    closed = await alice.until("close")
    assert closed["code"] == 402
    await alice.connect()


@pytest.mark.parametrize("code", [401, 403, 405, 406, 411, 500, 503])
async def test_failure_by_code(wasim: WasimServer, alice: PlainClient, code: int) -> None:
    await fault(wasim, "failure", jid=ALICE, reason=code, count=1)
    await fault(wasim, "drop")
    await alice.until("close")
    alice.do("connect")
    assert (await alice.until("close"))["code"] == code
    await alice.connect()


async def test_outdated_refuses_older_versions_and_tells_the_current_one(
    wasim: WasimServer, alice: PlainClient
) -> None:
    asked = f"http://{wasim.host}:{wasim.port}"
    before = await told_version(asked)
    await fault(wasim, "outdated", version="2.3000.1999999999")
    assert before[2] < 1999999999
    assert await told_version(asked) == [2, 3000, 1999999999]
    await fault(wasim, "drop")
    await alice.until("close")
    alice.do("connect")
    assert (await alice.until("close"))["code"] == 405
    refused = await noted(wasim, "login-refused", code=405)
    assert refused["reason"] == f"version {'.'.join(map(str, before))} is outdated"
    alice.do("version", version=[2, 3000, 1999999999])
    await alice.connect()
    assert (await noted(wasim, "login", version="2.3000.1999999999"))["jid"] == f"{ALICE}:1@s.whatsapp.net"
    assert wasim.hub.attempts[f"{ALICE}:1@s.whatsapp.net"] == {"login": 2, "login-refused": 1}


async def told_version(url: str) -> list[int]:
    """The version as Baileys' `fetchLatestWaWebVersion` reads it; the front page says the same."""
    found = []
    async with aiohttp.ClientSession() as http:
        for path in ("/sw.js", "/"):
            text = await (await http.get(url + path)).text()
            match = re.search(r'\\?"client_revision\\?":\s*(\d+)', text)
            assert match is not None, text
            found.append(int(match[1]))
    assert found[0] == found[1]
    return [2, 3000, found[0]]


async def test_a_deaf_connection_answers_pings_and_delivers_nothing(wasim: WasimServer, alice: PlainClient) -> None:
    async with PlainClient(wasim) as bob:
        await bob.pair(BOB)
        await bob.ask("send", to=A, text="heard")
        await alice.until("message", text="heard")
        assert await fault(wasim, "deaf", jid=ALICE) == {"struck": 1}
        since = wasim.hub.journal.seq
        first, second = [await bob.ask("send", to=A, text=text) for text in ("unheard", "neither")]
        await wasim.hub.journal.wait(since, jid=f"{ALICE}:1", kinds={"ping"}, timeout=20)
        own = await alice.ask("send", to=B, text="from the deaf")
        assert "error" not in await alice.until("ack", id=own["id"])
        await bob.until("message", text="from the deaf")
        await noted(wasim, "receipt", jid=f"{BOB}:1@s.whatsapp.net", id=own["id"])
        delivered = {record["jid"] for record in wasim.hub.journal.read(since, kinds={"deliver"})}
        assert f"{ALICE}:1@s.whatsapp.net" not in delivered
        assert [event for event in alice.seen("message") if event["text"] != "from the deaf"] == []
        alice.do("close")
        await alice.until("close")
        await alice.connect()
        for key, text in ((first, "unheard"), (second, "neither")):
            assert (await alice.until("message", text=text))["key"]["id"] == key["id"]


async def test_an_unlisted_device_stays_but_may_not_come_again(wasim: WasimServer, alice: PlainClient) -> None:
    bob = await contact(wasim)
    device = f"{ALICE}:1@s.whatsapp.net"
    assert await own_devices(alice) == ["0", "1"]
    seen = len(bob.seen)
    assert await fault(wasim, "unlisted", jid=ALICE) == {"struck": 1}
    since = wasim.hub.journal.seq
    assert await own_devices(alice) == ["0"]
    await wasim.hub.journal.wait(since, jid=device, kinds={"ping"}, timeout=20)
    assert [node.tag for node in bob.seen[seen:]] == []
    assert wasim.hub.journal.read(since, kinds={"disconnected", "deliver"}) == []
    alice.do("close")
    await alice.until("close")
    alice.do("connect")
    assert (await alice.until("close"))["code"] == 401
    assert wasim.hub.attempts[device] == {"login": 1, "login-refused": 1}


async def own_devices(client: PlainClient) -> list[str]:
    query = {"tag": "query", "attrs": {}, "content": [{"tag": "devices", "attrs": {"version": "2"}}]}
    listed = {"tag": "list", "attrs": {}, "content": [{"tag": "user", "attrs": {"jid": A}}]}
    usync = {
        "tag": "usync",
        "attrs": {"sid": "1", "mode": "query", "last": "true", "index": "0", "context": "message"},
        "content": [query, listed],
    }
    attrs = {"to": "@s.whatsapp.net", "type": "get", "xmlns": "usync"}
    answer = await client.ask("query", node={"tag": "iq", "attrs": attrs, "content": [usync]})
    return re.findall(r'"tag": ?"device", ?"attrs": ?\{"id": ?"(\d+)"', json.dumps(answer))


async def test_an_unknown_frame_changes_nothing(wasim: WasimServer, alice: PlainClient) -> None:
    assert await fault(wasim, "unknown_frame", jid=ALICE, tag="wasim-new") == {"struck": 1}
    since = wasim.hub.journal.seq
    await wasim.hub.journal.wait(since, jid=ALICE, kinds={"ping"}, timeout=20)
    assert alice.seen("close") == alice.seen("unhandled") == []


async def test_refused_upgrade(wasim: WasimServer, alice: PlainClient) -> None:
    await fault(wasim, "refuse_upgrade", status=429, count=1)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
            await http.ws_connect(wasim.url)
    assert (await noted(wasim, "upgrade-refused"))["code"] == 429


async def test_outage_resets_all_connections_until_cleared(wasim: WasimServer, alice: PlainClient) -> None:
    await fault(wasim, "outage")
    assert (await alice.until("close"))["code"] == 428
    alice.do("connect")
    assert (await alice.until("close"))["code"] in (408, 428, 500)
    assert (await fault(wasim, "clear"))["cleared"] == 1
    await alice.connect()


async def test_soft_blackhole_is_noticed_by_the_keepalive(wasim: WasimServer, alice: PlainClient) -> None:
    await fault(wasim, "blackhole", jid=ALICE)
    assert (await alice.until("close", timeout=40))["code"] == 408


async def test_hard_blackhole_leaves_even_the_close_unanswered(wasim: WasimServer, alice: PlainClient) -> None:
    await fault(wasim, "blackhole", jid=ALICE, hard=True)
    await noted(wasim, "fault")
    since = wasim.hub.journal.seq
    alice.do("close")
    assert await wasim.hub.journal.wait(since, kinds={"disconnected"}, timeout=2) == []
    assert alice.seen("close") == []
    await fault(wasim, "clear")
    await alice.until("close")


async def test_corrupt_frame(wasim: WasimServer, alice: PlainClient) -> None:
    await fault(wasim, "corrupt_frame", jid=ALICE)
    assert "authenticate" in (await alice.until("unhandled"))["message"]


async def test_logout_on_the_phone(wasim: WasimServer, alice: PlainClient) -> None:
    assert await fault(wasim, "logout", jid=ALICE) == {"struck": 1}
    assert (await alice.until("close"))["code"] == 401
    assert wasim.hub.accounts.device(f"{ALICE}:1@s.whatsapp.net") is None


async def test_ack_error(wasim: WasimServer, alice: PlainClient) -> None:
    bob = await contact(wasim)
    await fault(wasim, "ack_error", jid=ALICE, code=463, count=1)
    refused = await alice.ask("send", to=B, text="no")
    assert (await alice.until("ack", id=refused["id"]))["error"] == "463"
    taken = await alice.ask("send", to=B, text="yes")
    assert "error" not in await alice.until("ack", id=taken["id"])
    await noted(wasim, "receipt", jid=B, id=taken["id"])
    assert [node.attrs["id"] for node in bob.seen if node.tag == "message"] == [taken["id"]]


async def test_ack_error_for_one_chat(wasim: WasimServer, alice: PlainClient) -> None:
    await contact(wasim)
    carol = await contact(wasim, "40733333333")
    await fault(wasim, "ack_error", jid=ALICE, to="40733333333")
    taken = await alice.ask("send", to=B, text="to bob")
    assert "error" not in await alice.until("ack", id=taken["id"])
    refused = await alice.ask("send", to="40733333333@s.whatsapp.net", text="to carol")
    assert (await alice.until("ack", id=refused["id"]))["error"] == "463"
    assert [node for node in carol.seen if node.tag == "message"] == []


async def test_no_ack(wasim: WasimServer, alice: PlainClient) -> None:
    await contact(wasim)
    await fault(wasim, "no_ack", jid=ALICE, count=1)
    key = await alice.ask("send", to=B, text="silence")
    await noted(wasim, "ack-withheld", id=key["id"])
    second = await alice.ask("send", to=B, text="answered")
    await alice.until("ack", id=second["id"])
    assert [event for event in alice.seen("ack") if event["id"] == key["id"]] == []


async def test_duplicate_delivery_gives_one_message(wasim: WasimServer, alice: PlainClient) -> None:
    async with PlainClient(wasim) as bob:
        await bob.pair(BOB)
        await alice.ask("send", to=B, text="warm up")
        await bob.until("message", text="warm up")
        await fault(wasim, "duplicate", jid=f"{BOB}:1@s.whatsapp.net", count=1)
        key = await alice.ask("send", to=B, text="twice")
        await bob.until("message", text="twice")
        await noted(wasim, "deliver", duplicate=True, id=key["id"])
        await noted(wasim, "client-ack", of="message", id=key["id"], error="487")


async def test_slow(wasim: WasimServer, alice: PlainClient) -> None:
    await contact(wasim)
    await fault(wasim, "slow", jid=ALICE, ms=300)
    key = await alice.ask("send", to=B, text="slowly")
    await alice.until("ack", id=key["id"])
    [ack] = [r for r in wasim.hub.journal.read(kinds={"ack"}) if r["id"] == key["id"]]
    receipt = await noted(wasim, "client-ack", of="receipt", id=key["id"])
    assert receipt["t"] - ack["t"] > 0.3


async def test_nonsense_is_refused(wasim: WasimServer) -> None:
    bodies: list[Any] = [
        {"kind": "rain"},
        {"kind": "slow"},
        {"kind": "drop", "count": 0},
        {"kind": "logout"},
        {"kind": "unlisted"},
        {"kind": "outdated", "version": "newest"},
        {"kind": "unknown_frame", "tag": ""},
        [],
    ]
    async with aiohttp.ClientSession() as http:
        for body in bodies:
            answer = await http.post(f"{wasim.admin_url}/fault", json=body)
            assert answer.status == 400
            assert (await answer.json())["error"]
