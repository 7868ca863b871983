"""F.21 to F.28: what a session's configuration does, how it is logged out, and the shapes that its events have."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from typing import Any

from tests.support.conversations import SHOP, Talk, c_us
from verify.harness import World, check

ANA = "40730000041"


@check("F.24", "own messages name the chat in from and to, everywhere; the presented engine is a setting")
async def own_messages(w: World) -> str:
    await w.link()
    talk = Talk(w.wasim, w.holdfast, w.hook)
    await w.wasim.post("phones", {"phone": ANA})
    made = await talk.ask("POST", "groups", {"name": "Team", "participants": [{"id": c_us(ANA)}]})
    group, ana, shop = str(made["id"]), c_us(ANA), c_us(SHOP)
    seen = 0
    for chat, to in ((ana, ANA), (group, group)):
        theirs = await talk.told(await talk.says(ANA, "question", to=SHOP if chat == ana else group))
        own_phone = await talk.told(await talk.says(SHOP, "by phone", to=to), "message.any")
        answer = await w.holdfast.ask("POST", "/api/sendText", {"session": "shop", "chatId": chat, "text": "answer"})
        id_ = answer["holdfast"]["id"]
        own = await talk.told(id_, "message.any")
        ack = await talk.event("message.ack", lambda p, id_=id_: id_ in p["id"])  # type: ignore[misc]
        listed = await talk.ask("GET", f"chats/{chat}/messages")
        shown = {one["id"]: (one["from"], one["to"]) for one in listed}
        assert (theirs["from"], theirs["to"]) == (chat, shop if chat == ana else group), theirs
        for one in (own_phone, answer, own, ack):
            assert (one["from"], one["to"], one["fromMe"]) == (chat, chat, True), one
        for one in (theirs, own_phone, own):
            assert shown[one["id"]] == (one["from"], one["to"]), shown
            seen += 1
    assert (answer["key"]["id"], answer["_data"]["key"]["remoteJid"]) == (id_, group), answer
    assert {e["engine"] for e in w.hook.envelopes} == {"NOWEB"}
    return f"{seen} messages, {await _presented_as_gows(w, talk)}"


async def _presented_as_gows(w: World, talk: Talk) -> str:
    """The same session after a restart with the other setting."""
    await w.holdfast.stop()
    w.holdfast.env["HOLDFAST_PRESENTED_ENGINE"] = "GOWS"
    await w.holdfast.start()
    await w.holdfast.until_working("shop")
    came = await talk.told(await talk.says(ANA, "again"))
    answer: dict[str, Any] = await w.holdfast.ask(
        "POST", "/api/sendText", {"session": "shop", "chatId": c_us(ANA), "text": "hello"}
    )
    assert (came["_data"]["Info"]["Chat"], came["_data"]["Info"]["IsFromMe"]) == (f"{ANA}@s.whatsapp.net", False), came
    assert (answer["_data"]["Info"]["ID"], "key" in answer) == (answer["holdfast"]["id"], False), answer
    envelope = next(e for e in w.hook.envelopes if e["payload"].get("id") == came["id"])
    info = await w.holdfast.ask("GET", "/api/sessions/shop")
    version = await w.holdfast.ask("GET", "/api/server/version")
    said = {envelope["engine"], envelope["environment"]["engine"], info["engine"]["engine"], version["engine"]}
    assert said == {"GOWS"}, said
    return "then as GOWS"


NEW_NUMBER = "40712345679"


async def _statuses(w: World, name: str, known: int) -> list[str]:
    """What `session.status` events told since the first `known` envelopes, each status once in a row."""
    told = [e["payload"]["status"] for e in w.hook.envelopes[known:] if e["event"] == "session.status"]
    return [one for number, one in enumerate(told) if number == 0 or told[number - 1] != one]


@check("F.25", "logout: unlinked, STOPPED, STARTING, SCAN_QR_CODE; the number's own chats; stopped, unknown, 401")
async def logout(w: World) -> str:
    await w.link()
    await w.wasim.post("phones", {"phone": ANA})
    await w.inject("before", sender=ANA)
    await w.hook.until(lambda: "before" in w.hook.texts())
    assert await _devices(w, SHOP) == 1
    for phone, kept in ((SHOP, 1), (NEW_NUMBER, 0)):
        known = len(w.hook.envelopes)
        out = await w.holdfast.ask("POST", "/api/sessions/shop/logout")
        assert out["status"] in ("STARTING", "SCAN_QR_CODE"), out
        assert out["config"]["webhooks"][0]["events"] == ["*"], out
        await w.holdfast.until("shop", lambda view: view["status"] == "SCAN_QR_CODE")
        assert await _devices(w, SHOP) == 0, "the phone still lists the device"
        await w.hook.until(lambda known=known: "SCAN_QR_CODE" in str(w.hook.envelopes[known:]))  # type: ignore[misc]
        assert await _statuses(w, "shop", known) == ["STOPPED", "STARTING", "SCAN_QR_CODE"]
        await w.holdfast.scan(w.wasim, "shop", phone)
        await w.holdfast.until_working("shop")
        chats = await w.holdfast.ask("GET", "/api/shop/chats")
        assert sum(chat["id"] == c_us(ANA) for chat in chats) == kept, chats
    stopped = await _stopped(w)
    await _logged_out_on_the_phone(w)
    return f"2 logouts; {stopped}; 401 stays terminal"


async def _devices(w: World, phone: str) -> int:
    """How many devices the phone lists besides itself."""
    (found,) = [one for one in await w.wasim.get("phones") if one["jid"].startswith(f"{phone}@")]
    return len([device for device in found["devices"] if not device["jid"].startswith(f"{phone}@")])


async def _stopped(w: World) -> str:
    await w.holdfast.ask("POST", "/api/sessions/shop/stop")
    out = await w.holdfast.ask("POST", "/api/sessions/shop/logout")
    (note,) = out["holdfast"]["notes"]
    assert (out["status"], "still lists this device" in note) == ("STOPPED", True), out
    assert await _devices(w, NEW_NUMBER) == 1
    async with w.holdfast.http.post(f"{w.holdfast.url}/api/sessions/none/logout") as answer:
        assert answer.status == 404
    return "stopped: said that the phone still lists it"


async def _logged_out_on_the_phone(w: World) -> None:
    await w.holdfast.ask("POST", "/api/sessions/shop/start")
    await w.holdfast.scan(w.wasim, "shop", NEW_NUMBER)
    await w.holdfast.until_working("shop")
    since = await w.wasim.seq()
    await w.fault("logout", jid=f"{NEW_NUMBER}@s.whatsapp.net")
    view = await w.holdfast.until("shop", lambda view: view["status"] == "FAILED")
    assert (view["needs_qr"], view["reason"]) == (True, "logged_out"), view
    out = await w.holdfast.ask("POST", "/api/sessions/shop/stop")
    assert out["status"] in ("FAILED", "STOPPED")
    assert await w.wasim.get("log", since=since, kind="connected") == [], "something connected by itself"


STATUS_FIELDS = {"name", "status", "statuses", "data", "holdfast"}


@check("F.28", "session.status: WAHA's fields, ours under holdfast; again when a restriction or a quota changes")
async def status_events(w: World) -> str:
    await w.link()
    ends = int(time.time()) + 3600
    lock = {"is_active": True, "time_enforcement_ends": str(ends), "enforcement_type": "WEB_COMPANION_ONLY"}
    want = {"enforcementType": "WEB_COMPANION_ONLY", "isActive": True, "timeEnforcementEnds": ends}
    await w.hook.until(lambda: bool(_reported(w)) and _reported(w)[-1]["payload"]["status"] == "WORKING")
    statuses = _reported(w)[-1]["payload"]["statuses"]
    assert [one["status"] for one in statuses] == ["SCAN_QR_CODE", "STARTING", "WORKING"], statuses
    assert [one["timestamp"] for one in statuses] == sorted(one["timestamp"] for one in statuses), statuses
    await _mex(w, "NotificationUserReachoutTimelockUpdate", xwa2_notify_account_reachout_timelock=lock)
    await w.hook.until(lambda: _reported(w)[-1]["payload"]["data"] == {"reachoutTimelock": want})
    later = {**lock, "time_enforcement_ends": str(ends + 60)}
    await _mex(w, "NotificationUserReachoutTimelockUpdate", xwa2_notify_account_reachout_timelock=later)
    await w.hook.until(lambda: f"{ends + 60}" in str(_reported(w)[-1]["payload"]["data"]))
    known = len(_reported(w))
    quota = {"capping_status": "FIRST_WARNING", "total_quota": 1000, "used_quota": 640}
    await _mex(w, "MessageCappingInfoNotification", xwa2_notify_new_chat_messages_capping_info_update=quota)
    await w.hook.until(lambda: len(_reported(w)) > known)
    assert _reported(w)[-1]["me"]["messageCapping"]["usedQuota"] == 640, _reported(w)[-1]["me"]
    lifted = {"is_active": False}
    await _mex(w, "NotificationUserReachoutTimelockUpdate", xwa2_notify_account_reachout_timelock=lifted)
    await w.hook.until(lambda: _reported(w)[-1]["payload"]["data"] is None)
    me = (await w.holdfast.ask("GET", "/api/sessions/shop"))["me"]
    assert (me["reachoutTimelock"]["isActive"], me["messageCapping"]["usedQuota"]) == (False, 640), me
    for envelope in _reported(w):
        assert envelope["payload"].keys() == STATUS_FIELDS, envelope["payload"]
        assert envelope["payload"]["holdfast"].keys() >= {"reason", "message", "needs_qr"}, envelope["payload"]
    return f"{len(_reported(w))} events, 4 of them for changes of a session that stayed WORKING"


def _reported(w: World) -> list[dict[str, Any]]:
    return [e for e in w.hook.envelopes if e["event"] == "session.status"]


async def _mex(w: World, op: str, **data: object) -> None:
    """WhatsApp's GraphQL notifies the account's devices."""
    await w.fault("mex", jid=SHOP, op=op, data=data)


@check(
    "F.21", "ignore: groups, status, broadcast lists: not reported, not stored, receipts sent; the default is a setting"
)
async def ignore(w: World) -> str:
    config = {**w.hook.config(), "ignore": {"status": True, "groups": True, "broadcast": True}}
    await w.holdfast.link(w.wasim, "shop", SHOP, config)
    await w.wasim.post("phones", {"phone": ANA})
    talk = Talk(w.wasim, w.holdfast, w.hook)
    made = await talk.ask("POST", "groups", {"name": "Team", "participants": [{"id": c_us(ANA)}]})
    group = str(made["id"])
    ids = await _everywhere(talk, group, "hidden")
    await talk.told(await talk.says(ANA, "plain"))
    sent = await w.holdfast.ask("POST", "/api/sendText", {"session": "shop", "chatId": group, "text": "from us"})
    await talk.heard(ANA, "from us")
    assert w.hook.texts(event="message.any").count("plain") == 1
    assert not [e for e in w.hook.envelopes if "hidden" in str(e) or e["event"].startswith("group.")]
    log = await w.wasim.get("log", kind="receipt", limit=100_000)
    missing = [id_ for id_ in ids if not any(id_ in str(record) for record in log)]
    assert not missing, f"no receipt for {missing}"
    with contextlib.closing(sqlite3.connect(w.holdfast.folder / "holdfast.sqlite3")) as database:
        assert "hidden" not in "".join(database.iterdump()), "the text is in the database"
        hexed = b"hidden".hex().upper()
        assert hexed not in "".join(database.iterdump()), "the protobuf is in the database"
    assert sent["holdfast"]["state"] == "sent", sent
    await w.holdfast.stop()
    w.holdfast.env["HOLDFAST_IGNORE"] = "status,groups"
    await w.holdfast.start()
    own = {**w.hook.config(), "ignore": {"groups": False}}
    await w.holdfast.ask("PUT", "/api/sessions/shop", {"config": own})
    await w.holdfast.until_working("shop")
    await _everywhere(talk, group, "then")
    await w.hook.until(lambda: sorted(w.hook.texts()) == ["plain", "then broadcast", "then group"])
    return f"{len(ids)} ignored, each with its receipt; then as the default says, and the session's own"


async def _everywhere(talk: Talk, group: str, text: str) -> list[str]:
    """Somebody writes a status, into a broadcast list and into a group, in that order; the ids."""
    ids = []
    for kind, chat in (("status", "status@broadcast"), ("broadcast", "1700000000@broadcast")):
        stanza = {"from": chat, "participant": f"{ANA}@s.whatsapp.net"}
        message = {"conversation": f"{text} {kind}"}
        ids.append(str(await talk.do(ANA, "raw", chat=f"{SHOP}@s.whatsapp.net", message=message, stanza=stanza)))
    return [*ids, await talk.says(ANA, f"{text} group", to=group)]


@check("F.22", "options and events: each works, or the answer names it; unknown ones are refused with their path")
async def options(w: World) -> str:
    shown = {"client": {"browserName": "Firefox", "deviceName": "Shop floor"}, "noweb": {"markOnline": False}}
    idle = {"debug": True, "gows": {"storage": {"messages": False}}, "webjs": {"tagsEventsOn": True}}
    hooks = w.hook.config("message", "call.received")
    made = await w.holdfast.ask("POST", "/api/sessions", {"name": "shop", "config": {**hooks, **shown, **idle}})
    notes = made["holdfast"]["notes"]
    begins = ["`debug`", "`gows.storage.messages`", "`webjs.tagsEventsOn`", "`webhooks[0].events`: `call.received`"]
    assert [note.startswith(begin) for note, begin in zip(notes, begins, strict=True)] == [True] * 4, notes
    await w.holdfast.scan(w.wasim, "shop", SHOP)
    await w.holdfast.until_working("shop")
    props = (await w.wasim.get("log", kind="pair-success"))[-1]["device_props"]
    assert (props["os"], props["platformType"]) == ("Shop floor", "FIREFOX"), props
    await w.wasim.post("phones", {"phone": ANA})
    await w.inject("hello", sender=ANA)
    await w.hook.until(lambda: w.hook.texts() == ["hello"])
    await _online(w, False)
    await w.holdfast.ask("PUT", "/api/sessions/shop", {"config": {**hooks, "noweb": {"markOnline": True}}})
    await w.holdfast.ask("POST", "/api/sessions/shop/restart")
    await w.holdfast.until_working("shop")
    await _online(w, True)
    refused = 0
    for config, path in (
        ({"noweb": {"store": {"fullsync": True}}}, "config.noweb.store"),
        ({"webhooks": [{"url": w.hook.url, "events": ["*"], "retry": {}}]}, "config.webhooks[0]"),
        ({"webhooks": [{"url": w.hook.url, "events": ["messages"]}]}, "config.webhooks[0].events"),
    ):
        for method, where, name in (
            ("POST", "", {"name": "other"}),
            ("PUT", "/shop", {}),
            ("POST", "/start", {"name": "o"}),
        ):
            url = f"{w.holdfast.url}/api/sessions{where}"
            async with w.holdfast.http.request(method, url, json={**name, "config": config}) as answer:
                said = await answer.text()
                assert (answer.status, path in said) == (400, True), (answer.status, said)
                refused += 1
    return f"{len(notes)} named, {refused} refused; shown as Firefox, not online, then online"


async def _online(w: World, there: bool) -> None:
    """Wait until WhatsApp has the companion as available, or not; it must not change right after the login."""
    end = time.monotonic() + 20
    while True:
        (found,) = [one for one in await w.wasim.get("phones") if one["phone"] == SHOP]
        companion = next(device for device in found["devices"] if device["id"] != 0)
        if companion["available"] == there:
            return
        assert time.monotonic() < end, companion
        await asyncio.sleep(0.05)
