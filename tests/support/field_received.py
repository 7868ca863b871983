"""What phones send in the field, and what Holdfast must make of it: played on the simulator over real processes.

Each scenario has people of its own, so that several may share one session. It raises AssertionError, or returns a
figure.
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any

from tests.support.conversations import SHOP, Scenario, Talk, c_us

PDF = base64.b64encode(b"%PDF-1.4\n" + b"1" * 400).decode()
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 400).decode()


async def raw(talk: Talk, phone: str, message: dict[str, Any], chat: str = SHOP, **facts: Any) -> str:
    """A phone sends any message; its id."""
    return str(await talk.do(phone, "raw", chat=chat, message=message, **facts))


def secret() -> dict[str, Any]:
    """What every message of today's phones carries."""
    return {"messageContextInfo": {"messageSecret": base64.b64encode(secrets.token_bytes(32)).decode()}}


async def no_message(talk: Talk, phone: str, *ids: str) -> None:
    """A later message has come, and these are none."""
    await talk.told(await talk.says(phone, f"after {ids[-1]}"))
    told = [str(e["payload"].get("id")) for e in talk.hook.envelopes if e["event"] in ("message", "message.any")]
    assert not [one for one in told if any(id_ in one for id_ in ids)]


async def download(talk: Talk, url: str) -> bytes:
    """A file as users fetch it."""
    async with talk.holdfast.http.get(url) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


# --- F1 -----------------------------------------------------------------------------------------------------------


async def sealed_edits(talk: Talk) -> str:
    """Edits that are sealed under the message's secret: by LID and by number, captions, again, early, forged."""
    ana, bob = "40700100002", "40700100003"
    for phone in (ana, bob):
        await talk.wasim.post("phones", {"phone": phone})
    for by in ("lid", "phone"):
        said = await raw(talk, ana, {"conversation": "Table for two at 6", **secret()})
        await talk.told(said)
        for text in (f"at 7 ({by})", f"at 8 ({by})"):
            edit = await talk.do(ana, "sealed", chat=SHOP, id=said, message={"conversation": text}, by=by)
            told = await talk.told(edit, "message.edited")
            assert (told["body"], told["editedMessageId"], told["from"]) == (text, said, c_us(ana))
        kept = await talk.message(c_us(ana), said)
        assert (kept["body"], [one["text"] for one in kept["_data"]["edits"]]) == (
            f"at 8 ({by})", ["Table for two at 6", f"at 7 ({by})"],
        )  # fmt: skip
    picture = await talk.do(ana, "picture", chat=SHOP, base64=PNG, caption="look", mimetype="image/png")
    await talk.told(picture)
    await talk.do(ana, "sealed", chat=SHOP, id=picture, message={"imageMessage": {"caption": "look here"}})
    await talk.event("message.edited", lambda payload: payload["editedMessageId"] == picture)
    kept = await talk.message(c_us(ana), picture)
    assert (kept["body"], kept["hasMedia"], kept["_data"]["kind"]) == ("look here", True, "image")
    open_edit = await talk.do(ana, "edit", chat=SHOP, id=said, text="legacy")
    assert (await talk.told(open_edit, "message.edited"))["body"] == "legacy"
    await _early_edit(talk, ana)
    await _forged_edit(talk, ana, bob)
    return "opened by LID and number"


async def _early_edit(talk: Talk, ana: str) -> None:
    """The edit comes first: it is told, kept, and made when its message comes, also after a restart."""
    late = f"3A{secrets.token_hex(9).upper()}"
    await talk.wasim.post("phones", {"phone": "40700100999"})
    await talk.do(ana, "raw", chat="40700100999", id=late, message={"conversation": "first", **(context := secret())})
    edit = await talk.do(ana, "sealed", chat=SHOP, id=late, message={"conversation": "then"})
    waiting = await talk.told(edit, "message.waiting")
    assert waiting["_data"]["target"] == late
    await talk.holdfast.stop()
    await talk.holdfast.start()
    await talk.holdfast.until_working(talk.name)
    await raw(talk, ana, {"conversation": "first", **context}, id=late)
    assert (await talk.told(edit, "message.edited"))["body"] == "then"
    assert (await talk.message(c_us(ana), late))["body"] == "then"


async def _forged_edit(talk: Talk, ana: str, bob: str) -> None:
    """A member of a group who knows the secret seals an edit of what another wrote."""
    group = await talk.do(ana, "group", subject="Sealed", members=[SHOP, bob])
    said = await talk.says(ana, "mine", to=group)
    await talk.told(said)
    await talk.heard(bob, "mine")
    forged = await talk.do(bob, "sealed", chat=group, id=said, message={"conversation": "forged"})
    reaction = await talk.do(bob, "sealed", chat=group, id=said, use="Enc Reaction", message={"text": "👍"})
    told = await talk.told(reaction, "message.reaction")
    assert said in told["reaction"]["messageId"]
    kept = await talk.message(group, said)
    assert (kept["body"], [one["sender"] for one in kept["_data"]["reactions"]]) == ("mine", [c_us(bob)])
    assert not [e for e in talk.hook.envelopes if e["event"] == "message.edited" and forged in str(e["payload"])]


async def own_phone_edits(talk: Talk) -> str:
    """The account's own phone edits, sealed, what Holdfast sent; also after a restart."""
    ana = "40700100004"
    await talk.wasim.post("phones", {"phone": ana})
    body = {"session": talk.name, "chatId": c_us(ana), "text": "helo"}
    sent = (await talk.holdfast.ask("POST", "/api/sendText", body))["holdfast"]["id"]
    await talk.heard(SHOP, "helo")
    for by in ("lid", "phone"):
        edit = await talk.do(SHOP, "sealed", chat=ana, id=sent, message={"conversation": f"hello {by}"}, by=by)
        told = await talk.told(edit, "message.edited")
        assert (told["body"], told["fromMe"], told["editedMessageId"]) == (f"hello {by}", True, sent)
        await talk.holdfast.stop()
        await talk.holdfast.start()
        await talk.holdfast.until_working(talk.name)
    assert (await talk.message(c_us(ana), sent))["body"] == "hello phone"
    return ""


# --- F2 -----------------------------------------------------------------------------------------------------------


async def templates(talk: Talk) -> str:
    """Messages of businesses: the text is the body, the header's file is the message's file."""
    ana = "40700100005"
    await talk.wasim.post("phones", {"phone": ana})
    document = await talk.do(ana, "upload", kind="document", base64=PDF, mimetype="application/pdf")
    picture = await talk.do(ana, "upload", kind="image", base64=PNG, mimetype="image/png")
    document["fileName"] = "Invoice 7.pdf"
    text, body = "Your invoice is ready", {"body": {"text": "Your invoice is ready"}}
    product = {"title": "Tea", "currencyCode": "RON", "priceAmount1000": 12500, "productImage": picture}
    invoice = {
        "note": text, "attachmentType": "PDF", "attachmentMimetype": "application/pdf",
        "attachmentMediaKey": document["mediaKey"], "attachmentFileSha256": document["fileSha256"],
        "attachmentFileEncSha256": document["fileEncSha256"], "attachmentDirectPath": document["directPath"],
    }  # fmt: skip
    interactive = {"header": {"title": "Invoice 7", "documentMessage": document}, **body}
    hydrated = {"documentMessage": document, "hydratedContentText": text}
    cards = [{**body, "header": {"imageMessage": picture}}, {"body": {"text": "second"}}]
    cases: dict[str, tuple[dict[str, Any], bytes | None]] = {
        "plain": (
            {"templateMessage": {"interactiveMessageTemplate": {"header": {"title": "Invoice 7"}, **body}}},
            None,
        ),
        "header": ({"templateMessage": {"interactiveMessageTemplate": interactive}}, _PDF),
        "hydrated": ({"templateMessage": {"hydratedTemplate": hydrated}}, _PDF),
        "rows": ({"templateMessage": {"hydratedFourRowTemplate": hydrated}}, _PDF),
        "hsm": ({"highlyStructuredMessage": {"hydratedHsm": {"hydratedTemplate": hydrated}}}, _PDF),
        "interactive": ({"interactiveMessage": interactive}, _PDF),
        "carousel": ({"interactiveMessage": {"carouselMessage": {"cards": cards}}}, _PNG),
        "buttons": ({"buttonsMessage": {"contentText": text, "headerType": "IMAGE", "imageMessage": picture}}, _PNG),
        "list": ({"listMessage": {"title": "Choose", "description": text}}, None),
        "product": ({"productMessage": {"product": product, "body": text}}, _PNG),
        "invoice": ({"invoiceMessage": invoice}, _PDF),
        "wrapped": ({"viewOnceMessage": {"message": {"interactiveMessage": interactive}}}, _PDF),
    }
    for name, (message, file) in cases.items():
        found = await talk.told(await raw(talk, ana, message))
        assert found["body"].splitlines()[0] == text, (name, found["body"])
        assert found["hasMedia"] is (file is not None), name
        if file is not None:
            try:
                assert await download(talk, found["media"]["url"]) == file, name
            except AssertionError as error:
                raise AssertionError(name) from error
    return f"{len(cases)} kinds"


_PDF, _PNG = base64.b64decode(PDF), base64.b64decode(PNG)


# --- F3, F4, F6 ---------------------------------------------------------------------------------------------------


async def lid_of(talk: Talk, phone: str) -> str:
    """A person's LID."""
    await talk.wasim.post("phones", {"phone": phone})
    listed = await talk.wasim.get("phones")
    return str(next(one["lid"] for one in listed if one["phone"] == phone))


async def broadcast_lists(talk: Talk) -> str:
    """A message that somebody sent to a list is in the chat with them, and can be answered, edited, seen."""
    ana, chat = "40700100010", c_us("40700100010")
    lid = await lid_of(talk, ana)
    stanza = {"from": "1700000000@broadcast", "participant": lid}
    said = await raw(talk, ana, {"conversation": "to all my friends", **secret()}, stanza=stanza)
    found = await talk.told(said)
    assert (found["from"], found["participant"], found["id"]) == (chat, None, f"false_{chat}_{said}")
    edit = await talk.do(ana, "sealed", chat=SHOP, id=said, message={"conversation": "to all"})
    assert (await talk.told(edit, "message.edited"))["body"] == "to all"
    body = {"session": talk.name, "chatId": found["from"], "text": "thank you", "reply_to": found["id"]}
    await talk.holdfast.ask("POST", "/api/sendText", body)
    await talk.heard(ana, "thank you")
    assert "broadcast" not in str([one["id"] for one in await talk.ask("GET", "chats", limit="25")])
    return ""


async def lids_inside(talk: Talk) -> str:
    """Mentions, quotes and whatever else is named in a message is by number, and we are recognised."""
    ana, bob = "40700100011", "40700100012"
    ana_lid, bob_lid, shop_lid = await lid_of(talk, ana), await lid_of(talk, bob), await lid_of(talk, SHOP)
    group = await talk.do(ana, "group", subject="By LID", members=[SHOP, bob])
    said = await talk.says(ana, "who comes?", to=group)
    await talk.told(said)
    context = {
        "mentionedJid": [ana_lid, shop_lid, bob_lid], "stanzaId": said, "participant": ana_lid,
        "quotedMessage": {"conversation": "who comes?"},
    }  # fmt: skip
    message = {"extendedTextMessage": {"text": f"@{ana_lid} and you", "contextInfo": context}}
    answer = await raw(talk, bob, message, chat=group)
    own = {"mentionedJid": [], "stanzaId": answer, "participant": shop_lid, "quotedMessage": {"conversation": "x"}}
    again = await raw(talk, bob, {"extendedTextMessage": {"text": "to you", "contextInfo": own}}, chat=group)
    names = [f"{phone}@s.whatsapp.net" for phone in (ana, SHOP, bob)]
    for found in (await talk.told(answer), await talk.message(group, answer)):
        assert found["_data"]["mentions"] == names
        assert (found["replyTo"]["participant"], found["participant"]) == (c_us(ana), c_us(bob))
        inner = found["_data"]["message"]["extendedTextMessage"]
        assert (inner["contextInfo"]["mentionedJid"], inner["contextInfo"]["participant"]) == (names, names[0])
        assert found["body"] == f"@{ana_lid} and you"
    assert (await talk.told(again))["replyTo"]["participant"] == c_us(SHOP)
    return ""


async def hosted_devices(talk: Talk) -> str:
    """The device that Meta hosts for an account is the account: by number and by LID, also for receipts and edits."""
    ana, chat = "40700100013", c_us("40700100013")
    lid = (await lid_of(talk, ana)).partition("@")[0]
    await talk.told(await talk.says(ana, "from the phone"))
    addresses = [f"{ana}:99@hosted", f"{lid}:99@hosted.lid"]
    for address in addresses:
        said = await raw(talk, ana, {"conversation": f"by {address}", **secret()}, stanza={"from": address})
        found = await talk.told(said)
        assert (found["from"], found["id"]) == (chat, f"false_{chat}_{said}")
        edit = await talk.do(ana, "sealed", chat=SHOP, id=said, message={"conversation": "changed"})
        assert (await talk.told(edit, "message.edited"))["editedMessageId"] == said
    await talk.holdfast.ask("POST", "/api/sendText", {"session": talk.name, "chatId": chat, "text": "got it"})
    await talk.heard(ana, "got it")
    mine = [one["id"] for one in await talk.ask("GET", "chats", limit="25") if ana in one["id"] or lid in one["id"]]
    assert mine == [chat]
    return ""


# --- F5 -----------------------------------------------------------------------------------------------------------


async def phantoms(talk: Talk) -> str:
    """What is no message to a person is no `message`; orders, products and payments say what they are."""
    ana = "40700100006"
    await talk.wasim.post("phones", {"phone": ana})
    first = await talk.says(ana, "pin me")
    await talk.told(first)
    album = await raw(talk, ana, {"albumMessage": {"expectedImageCount": 2}})
    part = {
        "associationType": "MEDIA_ALBUM",
        "parentMessageKey": {"remoteJid": c_us(SHOP), "fromMe": True, "id": album},
    }
    file = await talk.do(ana, "upload", kind="image", base64=PNG, mimetype="image/png")
    child = {"imageMessage": file, "messageContextInfo": {"messageAssociation": part}}
    for _ in range(2):
        assert (await talk.told(await raw(talk, ana, child)))["_data"]["album"] == album
    key = {"remoteJid": c_us(SHOP), "fromMe": True, "id": first}
    pin = await raw(talk, ana, {"pinInChatMessage": {"key": key, "type": "PIN_FOR_ALL"}}, stanza={"edit": "2"})
    pinned = await talk.told(pin, "message.pinned")
    assert (pinned["pinned"], first in pinned["pinnedMessageId"]) == (True, True)
    hidden = await raw(talk, ana, {"placeholderMessage": {"type": "MASK_LINKED_DEVICES"}})
    await talk.told(hidden, "message.waiting")
    invite = await raw(talk, ana, {"paymentInviteMessage": {"serviceType": "UPI"}})
    assert (await talk.told(invite, "message.system"))["type"] == "payment_invite"
    kept = await raw(talk, ana, {"keepInChatMessage": {"key": key, "keepType": "KEEP_FOR_ALL"}})
    await no_message(talk, ana, album, pin, hidden, invite, kept)
    order = {
        "orderId": "77",
        "itemCount": 2,
        "message": "Two teas",
        "totalAmount1000": 25000,
        "totalCurrencyCode": "RON",
    }
    asked = {
        "amount": {"value": 2550, "offset": 100, "currencyCode": "EUR"},
        "noteMessage": {"conversation": "for tea"},
    }
    got = await talk.told(await raw(talk, ana, {"orderMessage": order}))
    assert (got["body"], got["_data"]["order"]["amount"], got["_data"]["order"]["currency"]) == (
        "Two teas",
        "25",
        "RON",
    )
    got = await talk.told(await raw(talk, ana, {"requestPaymentMessage": asked}))
    assert (got["body"], got["_data"]["payment"]["amount"], got["_data"]["payment"]["currency"]) == (
        "for tea", "25.5", "EUR",
    )  # fmt: skip
    return ""


# --- F7, F8 -------------------------------------------------------------------------------------------------------


async def events(talk: Talk) -> str:
    """An event has its name in the body; answers to it are opened."""
    ana = "40700100007"
    await talk.wasim.post("phones", {"phone": ana})
    party = {"eventMessage": {"name": "Party", "description": "at ours", "startTime": 1800000000}, **secret()}
    said = await raw(talk, ana, party)
    found = await talk.told(said)
    assert (found["body"], found["_data"]["event"]["starts"]) == ("Party\nat ours", 1800000000)
    answer = {"response": "GOING", "extraGuestCount": 1}
    sent = await talk.do(ana, "sealed", chat=SHOP, id=said, use="Event Response", message=answer)
    told = await talk.told(sent, "event.response")
    assert (told["eventResponse"]["response"], said in told["eventCreationKey"]["id"]) == ("GOING", True)
    changed = {"eventMessage": {"name": "Big party", "description": "at ours"}}
    await talk.do(ana, "sealed", chat=SHOP, id=said, use="Event Edit", message=changed)
    await talk.event("message.edited", lambda payload: payload["editedMessageId"] == said)
    assert (await talk.message(c_us(ana), said))["body"] == "Big party\nat ours"
    return ""


async def choices(talk: Talk) -> str:
    """Replies to buttons, lists and flows: id and text of the choice."""
    ana = "40700100008"
    await talk.wasim.post("phones", {"phone": ana})

    def flow(params: dict[str, Any], **body: Any) -> dict[str, Any]:
        reply = {"name": "menu_options", "paramsJson": json.dumps(params), "version": 3}
        return {"interactiveResponseMessage": {**body, "nativeFlowResponseMessage": reply}}

    row = {"title": "Two teas", "singleSelectReply": {"selectedRowId": "r2"}, "listType": "SINGLE_SELECT"}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"buttonsResponseMessage": {"selectedButtonId": "b1", "selectedDisplayText": "Yes"}}, "b1", "Yes"),
        ({"buttonsResponseMessage": {"selectedButtonId": "b1"}}, "b1", "b1"),
        ({"templateButtonReplyMessage": {"selectedId": "t1", "selectedDisplayText": "Call"}}, "t1", "Call"),
        ({"listResponseMessage": row}, "r2", "Two teas"),
        (flow({"id": "f1", "display_text": "Pay"}), "f1", "Pay"),
        (flow({"id": "f1"}), "f1", "f1"),
        (flow({"id": "f2"}, body={"text": "Later", "format": "DEFAULT"}), "f2", "Later"),
        (flow({"flow_token": "x", "screen_0": "Ana"}), "", '{"flow_token": "x", "screen_0": "Ana"}'),
    ]
    for message, id_, text in cases:
        found = await talk.told(await raw(talk, ana, message))
        reply = found["_data"]["reply"]
        assert (reply["id"], reply["text"], found["body"]) == (id_, text, text)
    return f"{len(cases)} replies"


SCENARIOS: dict[str, Scenario] = {
    "sealed_edits": sealed_edits, "own_phone_edits": own_phone_edits, "templates": templates, "phantoms": phantoms,
    "events": events, "choices": choices, "broadcast_lists": broadcast_lists, "lids_inside": lids_inside,
    "hosted_devices": hosted_devices,
}  # fmt: skip
