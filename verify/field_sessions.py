"""F.21 to F.28: what a session's configuration does, how it is logged out, and the shapes that its events have."""

from __future__ import annotations

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
