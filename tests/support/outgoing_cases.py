"""What people send, and what must come of it: cases that public bug reports of gateways describe, played on wasim.

Each case has people of its own, so that several may share one session. It raises AssertionError, or returns a figure.
"""

from __future__ import annotations

import asyncio
import base64
import io
import time
import zipfile
from typing import Any

from tests.support.conversations import SHOP, Scenario, Talk, c_us

JID = "@s.whatsapp.net"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256))
PDF = b"%PDF-1.7\n" + bytes(100)
MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(100)
OPUS = b"OggS\x00\x02" + bytes(22) + b"OpusHead\x01" + bytes(100)
DOCX_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
NOWHERE = "120363999999999999@g.us"


def _docx() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<document/>")
    return out.getvalue()


DOCX = _docx()


async def send(talk: Talk, chat: str, call: str = "sendText", **content: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer; a text unless `call` and `content` say otherwise."""
    body = {"session": talk.name, "chatId": chat, **(content or {"text": "hello"})}
    async with talk.holdfast.http.post(f"{talk.holdfast.url}/api/{call}", json=body) as answer:
        return answer.status, await answer.json()


async def sent(talk: Talk, chat: str, call: str = "sendText", **content: Any) -> str:
    """Send it; its id, once WhatsApp has it."""
    status, said = await send(talk, chat, call, **content)
    assert status == 201, said
    return str(said["holdfast"]["id"])


async def people(talk: Talk, *phones: str) -> None:
    """They have WhatsApp."""
    for phone in phones:
        await talk.wasim.post("phones", {"phone": phone})


async def refused(talk: Talk, chat: str, number: int, call: str = "sendText", **content: Any) -> None:
    """It is answered with 422 at once, tried once, and with the number in words."""
    status, said = await send(talk, chat, call, **content)
    assert (status, said.get("errorCode")) == (422, number), said
    assert f"({number})" in said["error"], said
    assert said["holdfast"]["state"] == "failed", said
    assert said["holdfast"]["attempts"] == 1, said


async def refused_groups(talk: Talk) -> str:
    """Removed from a group; a group that does not exist; the same by acknowledgement; what passes is tried again."""
    ana, bob = "40731000001", "40731000002"
    await people(talk, ana, bob)
    group = str(await talk.do(bob, "group", subject="Team", members=[SHOP + JID, ana + JID]))
    await sent(talk, group, text="while we are in")
    await talk.heard(ana, "while we are in")
    await talk.do(bob, "group-change", group=group, remove=[SHOP + JID])
    await refused(talk, group, 403)
    await refused(talk, group, 403, text="and again")
    await refused(talk, NOWHERE, 404)
    picture = {"mimetype": "text/plain", "filename": "a.txt", "data": "aGVsbG8="}
    await refused(talk, NOWHERE, 404, "sendFile", file=picture)
    await sent(talk, c_us(ana), text="to somebody else")
    waiting = await talk.holdfast.ask("GET", f"/api/holdfast/sessions/{talk.name}/outbox")
    assert [row for row in waiting if row["chat"] in (group, NOWHERE)] == [], waiting
    await talk.do(bob, "group-change", group=group, add=[SHOP + JID])
    await sent(talk, group, text="we are back")
    await talk.heard(ana, "we are back")
    for number in (403, 404, 420, 479):
        await talk.wasim.post("fault", {"kind": "ack_error", "jid": SHOP, "code": number, "to": group, "count": 1})
        await refused(talk, group, number)
    await talk.wasim.post("fault", {"kind": "ack_error", "jid": SHOP, "code": 421, "to": group, "count": 1})
    await sent(talk, group, text="under its new addresses")
    await talk.heard(ana, "under its new addresses")
    for number in (429, 503):
        fault = {"kind": "refuse_query", "jid": SHOP, "xmlns": "w:g2", "code": number, "count": 1}
        await talk.wasim.post("fault", fault)
        id_ = await sent(talk, group, text=f"in spite of {number}")
        story = await talk.holdfast.ask("GET", f"/api/holdfast/messages/{id_}", session=talk.name)
        assert [step["state"] for step in story["story"]][:3] == ["sending", "queued", "sending"], story
        assert f"({number})" in story["story"][1]["message"], story
    for number in (404, 406):  # the keys of a device that is gone: asked for again by the new list, once
        await people(talk, f"40731000{number}")
        fault = {"kind": "refuse_query", "jid": SHOP, "xmlns": "encrypt", "code": number}
        await talk.wasim.post("fault", {**fault, "count": 2})
        await sent(talk, c_us(f"40731000{number}"), text="with the keys of those who are there")
        await people(talk, f"40731001{number}")
        await talk.wasim.post("fault", fault)
        await refused(talk, c_us(f"40731001{number}"), number)
        await talk.wasim.post("fault", {"kind": "clear", "of": "refuse_query"})
        await sent(talk, c_us(f"40731001{number}"), text="once it has keys")
    return "403, 404, 420, 479 final; 421, 429, 503 pass"


async def shown(talk: Talk, phone: str, id: str) -> dict[str, Any]:
    """The protobuf, as JSON, of the message with that id as a phone decrypted it; what its kind holds is flat."""

    async def look() -> Any:
        found = await talk.wasim.get(f"phones/{phone}/decrypted", id=id)
        kept = [one["message"] for one in found if set(one["message"]) - {"senderKeyDistributionMessage"}]
        return kept[-1] if kept else None

    message: dict[str, Any] = await talk.until(look)
    return dict(message.get("deviceSentMessage", {}).get("message", message))


def part(message: dict[str, Any], kind: str) -> dict[str, Any]:
    """What a message of that kind holds, with a caption or without."""
    inner = message.get("documentWithCaptionMessage", {}).get("message", message)
    assert kind in inner, message
    return dict(inner[kind])


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


SPELLINGS = (
    ("551199990004", "5511999990004"),
    ("5511999990005", "551199990005"),
    ("525512345678", "5215512345678"),
    ("5491123456789", "541123456789"),
)
"""As WhatsApp has a number, and as people write it: Brazil both ways, Mexico, Argentina."""


async def spellings(talk: Talk) -> str:
    """The message goes to the address that WhatsApp names, and that is the chat, in order, without asking again."""
    for phone, written in SPELLINGS:
        await people(talk, phone)
        chat = c_us(phone)
        answers = await asyncio.gather(*(send(talk, c_us(written), text=f"text {n}") for n in range(3)))
        assert [status for status, _ in answers] == [201] * 3, answers
        for _, said in answers:
            kept = await talk.told(said["holdfast"]["id"], "message.any")
            assert (kept["to"], kept["id"]) == (chat, f"true_{chat}_{said['holdfast']['id']}"), kept
        since = await talk.wasim.seq()
        status, said = await send(talk, c_us(written), text="text 3")
        assert (status, said["holdfast"]["attempts"], said["to"]) == (201, 1, chat), said
        await talk.heard(phone, "text 3")
        assert await talk.wasim.get("log", since=since, kind="refused") == []
        file = {"data": base64_of(PDF), "filename": "menu.pdf"}
        await shown(talk, phone, await sent(talk, c_us(written), "sendFile", file=file))
        answer = await talk.says(phone, "thanks")
        assert (await talk.told(answer))["from"] == chat
        for name in (chat, c_us(written)):
            listed = await talk.ask("GET", f"chats/{name}/messages", limit="10", sortOrder="asc")
            bodies = [one["body"] for one in listed]
            assert (sorted(bodies[:3]), bodies[3:]) == (["text 0", "text 1", "text 2"], ["text 3", "", "thanks"]), (
                bodies
            )
        chats = [one["id"] for one in await talk.ask("GET", "chats", limit="100")]
        assert chat in chats
        assert c_us(written) not in chats
        seen = {"session": talk.name, "chatId": c_us(written)}
        assert (await talk.holdfast.ask("POST", "/api/sendSeen", seen))["success"] is True
    await refused_number(talk, "5511888880000")
    return f"{len(SPELLINGS)} numbers"


async def refused_number(talk: Talk, number: str) -> None:
    """Nobody has it, however it is spelled."""
    status, said = await send(talk, c_us(number))
    assert (status, said["code"], said["holdfast"]["attempts"]) == (422, "failed", 1), said
    assert "not on WhatsApp" in said["error"], said


DAY, WEEK = 86_400, 604_800


async def disappearing(talk: Talk) -> str:
    """The chat's timer goes out with what we send, of every kind: set by them, by our phone, by a group; and off."""
    ana, bob = "40731000003", "40731000004"
    await people(talk, ana, bob)

    async def says(expiration: int, *, files: bool = False) -> None:
        await _expires(talk, c_us(ana), ana, expiration, files=files)

    await says(0)
    setting = {"type": 3, "ephemeralExpiration": DAY}
    await talk.do(ana, "raw", chat=SHOP + JID, message={"protocolMessage": setting})
    await _read_all(talk, ana, {"text": "vanishes", "contextInfo": {"expiration": DAY}})
    await says(DAY, files=True)
    await _read_all(talk, ana, {"text": "again", "contextInfo": {"expiration": WEEK}})
    await says(WEEK)
    await talk.holdfast.stop()
    await talk.holdfast.start()
    await talk.holdfast.until_working(talk.name)
    await says(WEEK)
    await talk.do(SHOP, "raw", chat=ana + JID, message={"protocolMessage": {"type": 3}})
    await _read_all(talk, SHOP, {"text": "for good"}, to=ana)
    await says(0)
    await talk.do(SHOP, "raw", chat=ana + JID, message={"protocolMessage": setting})
    await _read_all(talk, SHOP, {"text": "for a day"}, to=ana)
    await says(DAY)
    group = str(await talk.do(bob, "group", subject="Team", members=[SHOP + JID, ana + JID]))
    for seconds in (WEEK, DAY, 0):
        await talk.do(bob, "group-change", group=group, ephemeral=seconds)
        await _expires(talk, group, ana, seconds, files=seconds == DAY)
    return "set, changed, off; by them, our phone, a group; through a restart"


async def _read_all(talk: Talk, phone: str, text: dict[str, Any], to: str = SHOP) -> None:
    """What that phone said so far was read, since this was."""
    id_ = await talk.do(phone, "raw", chat=to + JID, message={"extendedTextMessage": text})
    await talk.told(id_, "message.any")


async def _expires(talk: Talk, chat: str, phone: str, expiration: int, *, files: bool) -> None:
    """A text says that it is kept for so long, and with `files` a document, a picture and a voice message do."""
    asked: list[tuple[str, str, dict[str, Any]]] = [("sendText", "extendedTextMessage", {"text": "see you"})]
    if files:
        for call, kind, data in (
            ("sendFile", "documentMessage", PDF),
            ("sendImage", "imageMessage", JPEG),
            ("sendVoice", "audioMessage", OPUS),
            ("sendVideo", "videoMessage", MP4),
        ):
            asked.append((call, kind, {"file": {"data": base64_of(data)}}))
    for call, kind, content in asked:
        message = part(await shown(talk, phone, await sent(talk, chat, call, **content)), kind)
        assert message.get("contextInfo", {}).get("expiration", 0) == expiration, message


async def replies(talk: Talk) -> str:
    """The quote carries the message itself: theirs and ours, with caption and without, edited, in a group."""
    ana, bob = "40731000005", "40731000006"
    await people(talk, ana, bob)
    group = str(await talk.do(bob, "group", subject="Team", members=[SHOP + JID, ana + JID]))
    for chat, to in ((c_us(ana), SHOP + JID), (group, group)):
        bare = await talk.do(ana, "picture", chat=to, base64=base64_of(JPEG))
        captioned = await talk.do(ana, "picture", chat=to, base64=base64_of(JPEG), caption="our table")
        text = await talk.says(ana, "at six", to=to)
        for id_ in (bare, captioned, text):
            await talk.told(id_)
        await talk.told(await talk.do(ana, "edit", chat=to, id=text, text="at seven"), "message.edited")
        ours = await sent(talk, chat, text="from us")
        file = {"filename": "menu.pdf", "data": base64_of(PDF)}
        document = await sent(talk, chat, "sendFile", file=file, caption="the menu")
        for id_, kind, has in (
            (bare, "imageMessage", "directPath"),
            (captioned, "imageMessage", "caption"),
            (text, "conversation", ""),
            (ours, "extendedTextMessage", "text"),
            (document, "documentMessage", "fileName"),
        ):
            reply = part(
                await shown(talk, ana, await sent(talk, chat, text="yes", reply_to=id_)), "extendedTextMessage"
            )
            context = reply["contextInfo"]
            assert context["stanzaId"] == id_, context
            quoted = context["quotedMessage"]
            assert quoted.get(kind) == "at seven" if not has else part(quoted, kind)[has], quoted
            author = context["participant"]
            assert (author in await names(talk, SHOP)) if id_ in (ours, document) else author in await names(talk, ana)
    first = await sent(talk, c_us(ana), text="first")
    last = await sent(talk, c_us(ana), text="and at once", reply_to=first)
    quoted = part(await shown(talk, ana, last), "extendedTextMessage")["contextInfo"]["quotedMessage"]
    assert part(quoted, "extendedTextMessage")["text"] == "first", quoted
    gone = await talk.says(ana, "forget this")
    await talk.told(gone)
    await talk.do(ana, "revoke", chat=SHOP + JID, id=gone)
    await talk.event("message.revoked", lambda payload: payload["revokedMessageId"] == gone)
    status, said = await send(talk, c_us(ana), text="what?", reply_to=gone)
    assert (status, "deleted" in said["message"]) == (422, True), said
    status, said = await send(talk, c_us(ana), text="what?", reply_to="3EB0000000000000")
    assert status == 404, said
    return "5 kinds in 2 chats"


async def names(talk: Talk, phone: str) -> set[str]:
    """The addresses of a person."""
    found = next(one for one in await talk.wasim.get("phones") if one["phone"] == phone)
    return {found["jid"], found["lid"]}


async def files(talk: Talk) -> str:
    """Types by bytes and name together, names with an ending and nothing that cannot be saved."""
    ana = "40731000007"
    await people(talk, ana)
    cases = [
        ("letter.docx", DOCX, DOCX_TYPE, "letter.docx"),
        ("letter", DOCX, DOCX_TYPE, "letter.docx"),
        ("list.csv", b"a;b\n1;2\n", "text/csv", "list.csv"),
        ("../../a\u202e\x07b.txt", b"hello", "text/plain", "ab.txt"),
        ("sticker.webp", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp", "sticker.webp"),
        ("song.m4a", MP4, "audio/mp4", "song.m4a"),
        ("voice.ogg", OPUS, "audio/ogg; codecs=opus", "voice.ogg"),
        ("x" * 300 + ".pdf", PDF, "application/pdf", "x" * 236 + ".pdf"),
        ("", PDF, "application/pdf", "file.pdf"),
    ]
    for given, data, mimetype, name in cases:
        file = {"data": base64_of(data), **({"filename": given} if given else {})}
        document = part(await shown(talk, ana, await sent(talk, c_us(ana), "sendFile", file=file)), "documentMessage")
        assert (document["mimetype"], document["fileName"]) == (mimetype, name), document
    for mimetype in ("", "audio/ogg", "audio/opus"):
        file = {"data": base64_of(OPUS), "mimetype": mimetype}
        voice = part(await shown(talk, ana, await sent(talk, c_us(ana), "sendVoice", file=file)), "audioMessage")
        assert voice["mimetype"] == "audio/ogg; codecs=opus", voice
    return f"{len(cases)} files, 3 voices"


async def seen_in_groups(talk: Talk) -> str:
    """The author gets the receipt: by the chat, by the full message id, by the plain one; success is not said else."""
    ana, bob = "40731000008", "40731000009"
    await people(talk, ana, bob)
    group = str(await talk.do(bob, "group", subject="Team", members=[SHOP + JID, ana + JID]))

    async def see(**facts: Any) -> tuple[int, dict[str, Any]]:
        body = {"session": talk.name, **facts}
        async with talk.holdfast.http.post(f"{talk.holdfast.url}/api/sendSeen", json=body) as answer:
            return answer.status, await answer.json()

    status, said = await see(chatId=group)
    assert (status, said["success"]) == (201, False), said
    assert said["message"], said
    for author in (ana, bob):
        for way in ("chat", "full", "plain", "list"):
            id_ = await talk.says(author, f"{author} {way}", to=group)
            full = (await talk.told(id_))["id"]
            facts = {"full": {"messageId": full}, "plain": {"messageId": id_}, "list": {"messageIds": [full]}}
            status, said = await see(chatId=group, **facts.get(way, {}))
            assert (status, said) == (201, {"success": True}), said

            async def read(author: str = author, id_: str = id_) -> bool:
                receipts = (await talk.wasim.get(f"phones/{author}/messages"))["receipts"]
                return any(one["id"] == id_ and one["type"] == "read" for one in receipts)

            await talk.until(read)
    assert await _unread(talk, group) == 0
    earlier, later = await talk.says(ana, "one", to=group), await talk.says(ana, "two", to=group)
    for id_ in (earlier, later):
        await talk.told(id_)
    assert await _unread(talk, group) == 2
    await see(chatId=group, messageId=earlier)
    assert await _unread(talk, group) == 1
    await see(chatId=group, messageId=later)
    assert await _unread(talk, group) == 0
    status, said = await see(chatId=group, messageId="3EB0000000000000")
    assert status == 404, said
    own = await sent(talk, group, text="ours")
    await talk.told(own, "message.any")
    assert (await see(chatId=group, messageId=own))[1]["success"] is False
    return "2 authors, 4 ways"


async def _unread(talk: Talk, chat: str) -> int:
    chats = await talk.ask("GET", "chats", limit="100")
    return int(next(one["unreadCount"] for one in chats if one["id"] == chat))


async def nobody(talk: Talk) -> str:
    """What would reach nobody is refused in words: status, broadcast lists, channels, LIDs of nobody, no ids at all."""
    since = await talk.wasim.seq()
    for chat in ("status@broadcast", "1700000000@broadcast", "all", "x@c.us", "12@g", "@c.us", ""):
        for call, content in (("sendText", {"text": "x"}), ("sendFile", {"file": {"data": base64_of(PDF)}})):
            status, said = await send(talk, chat, call, **content)
            assert status == 422, (chat, said)
            assert said["code"] == "invalid_chat_id", (chat, said)
    assert await talk.wasim.get("log", since=since, kind="message") == []
    status, said = await send(talk, "120363111111111111@newsletter")
    assert (status, said.get("errorCode")) == (422, 404), said
    status, said = await send(talk, "99999999999999@lid")
    assert (status, "@lid" in said["error"]) == (422, True), said
    status, said = await send(talk, "40799999999@c.us")
    assert (status, "not on WhatsApp" in said["error"]) == (422, True), said
    return "422 each"


async def note_to_self(talk: Talk) -> str:
    """To the own number and to the own LID: it arrives on the phone, in one chat."""
    me = await talk.holdfast.ask("GET", f"/api/sessions/{talk.name}/me")
    for chat in (me["id"], me["lid"]):
        id_ = await sent(talk, chat, text=f"note to {chat}")
        assert part(await shown(talk, SHOP, id_), "extendedTextMessage")["text"] == f"note to {chat}"
        kept = await talk.told(id_, "message.any")
        assert (kept["body"], kept["id"]) == (f"note to {chat}", f"true_{me['id']}_{id_}"), kept
    return "by number and by LID"


async def mention_all(talk: Talk) -> str:
    """Every member of a group is mentioned, in texts and captions; what mentions nobody is refused, with the field."""
    ana, bob = "40731000010", "40731000011"
    await people(talk, ana, bob)
    group = str(await talk.do(bob, "group", subject="Team", members=[SHOP + JID, ana + JID]))
    everyone = [await names(talk, phone) for phone in (ana, bob, SHOP)]
    text = part(await shown(talk, ana, await sent(talk, group, text="all!", mentions=["all"])), "extendedTextMessage")
    file = {"data": base64_of(PDF), "filename": "menu.pdf"}
    id_ = await sent(talk, group, "sendFile", file=file, caption="all!", mentions=["all"])
    for message in (text, part(await shown(talk, ana, id_), "documentMessage")):
        told = message["contextInfo"]["mentionedJid"]
        assert all(person & set(told) for person in everyone), told
    one = await sent(talk, group, text="you", mentions=[c_us(ana)])
    context = part(await shown(talk, ana, one), "extendedTextMessage")["contextInfo"]
    assert set(context["mentionedJid"]) <= await names(talk, ana), context
    for chat, given in ((c_us(ana), "all"), (group, "everybody"), (group, group), (group, "1@newsletter")):
        status, said = await send(talk, chat, text="x", mentions=[given])
        assert (status, "mentions" in said["message"]) == (422, True), said
    return "3 members, text and caption"


async def restricted(talk: Talk) -> str:
    """463 without a privacy token: asked for once, then sent, or said; under a timelock new people wait for its end."""
    ana, bob, eve = "40731000012", "40731000013", "40731000014"
    await people(talk, ana, bob, eve)
    since = await talk.wasim.seq()
    await talk.wasim.post("fault", {"kind": "token_required", "jid": SHOP})
    first = await sent(talk, c_us(ana), text="with a token")
    await talk.heard(ana, "with a token")
    assert (await _attempts(talk, first)) == 1
    await sent(talk, c_us(ana), text="and again")
    refusals = await talk.wasim.get("log", since=since, kind="refused")
    assert [one["code"] for one in refusals] == [463], refusals
    await talk.wasim.post("fault", {"kind": "clear", "of": "token_required"})
    await talk.wasim.post("fault", {"kind": "token_required", "jid": SHOP, "given": False})
    status, said = await send(talk, c_us(bob), text="without one")
    assert (status, said["errorCode"], "privacy token" in said["error"]) == (422, 463, True), said
    view = await talk.holdfast.ask("GET", f"/api/holdfast/sessions/{talk.name}")
    assert (view["status"], view["reason"]) == ("WORKING", "working"), view
    await talk.wasim.post("fault", {"kind": "clear", "of": "token_required"})
    await sent(talk, c_us(bob), text="no token needed")
    await talk.told(await talk.says(ana, "I wrote before"))
    ends = int(time.time()) + 8
    await talk.wasim.post("fault", {"kind": "timelock", "jid": SHOP, "ends": ends, "seconds": 7})
    status, said = await send(talk, c_us(eve), text="a stranger")
    assert (status, said["errorCode"]) == (422, 463), said
    assert "new people until" in said["error"], said
    assert "token" not in said["error"], said
    await talk.holdfast.until(talk.name, lambda view: view["reason"] == "restricted")
    asked = asyncio.create_task(send(talk, c_us(eve), text="later"))
    await sent(talk, c_us(ana), text="an answer")
    await talk.heard(eve, "later")
    assert time.time() > ends - 1
    assert (await asked)[0] == 201
    log = await talk.wasim.get("log", since=since, kind="refused")
    assert [one["code"] for one in log] == [463, 463, 463], log
    return "token asked for once; the timelock kept to its end"


async def _attempts(talk: Talk, id: str) -> int:
    return int((await talk.holdfast.ask("GET", f"/api/holdfast/messages/{id}", session=talk.name))["attempts"])


CASES: dict[str, tuple[str, Scenario]] = {
    "F.10": ("removed from a group, no such group: 422 at once in words, nothing waits behind it", refused_groups),
    "F.11": ("a number spelled otherwise goes to the address that WhatsApp names; one chat, in order", spellings),
    "F.12": ("disappearing chats: what we send expires as the chat says, through changes and restarts", disappearing),
    "F.13": ("a reply quotes the message itself: files, captions, edits, our own, in groups", replies),
    "F.14": ("files: the type of bytes and name together, names that any phone can save", files),
    "F.15": ("sendSeen in a group: the author gets the receipt; success only where one was sent", seen_in_groups),
    "F.16": ("status, broadcast lists, channels, unknown LIDs: refused in words, never 201 to nobody", nobody),
    "F.17": ("a note to self by number and by LID arrives on the phone", note_to_self),
    "F.18": ("mentions: [all] mentions every member; nobody is refused by the field's name", mention_all),
    "F.29": ("463: a missing privacy token is asked for once, a timelock holds messages to new people", restricted),
}
"""By id: what holds, and how it is played."""
