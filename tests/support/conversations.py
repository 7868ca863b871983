"""What people do in chats and groups, and what Holdfast must make of it: over a real sidecar and the simulator.

Each scenario has people of its own, so that several may share one session. It raises AssertionError, or returns a
figure.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.support.processes import Holdfast, Receiver, Wasim

SHOP = "40712345678"
Scenario = Callable[["Talk"], Awaitable[str]]


@dataclass(frozen=True)
class Talk:
    """A linked session `shop`, whose events go to `hook`."""

    wasim: Wasim
    holdfast: Holdfast
    hook: Receiver
    name: str = "shop"

    async def do(self, phone: str, action: str, **facts: Any) -> Any:
        """A phone does something."""
        return (await self.wasim.post(f"phones/{phone}/{action}", facts))["result"]

    async def says(self, phone: str, text: str, to: str = SHOP) -> str:
        """A phone writes; the message id."""
        return str((await self.wasim.post("inject", {"from": phone, "to": to, "text": text}))["id"])

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Holdfast's answer, under the session's path."""
        return await self.holdfast.ask(method, f"/api/{self.name}/{path}", body, **query)

    async def message(self, chat: str, id: str) -> dict[str, Any]:
        """A stored message."""
        found: dict[str, Any] = await self.ask("GET", f"chats/{chat}/messages/{id}")
        return found

    async def event(self, kind: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The payload of the first event of that kind that fits, as soon as it came."""

        def found() -> list[dict[str, Any]]:
            return [e["payload"] for e in self.hook.envelopes if e["event"] == kind and holds(e["payload"])]

        await self.hook.until(lambda: bool(found()))
        return found()[0]

    async def told(self, id: str, kind: str = "message") -> dict[str, Any]:
        """The event of that kind about the message with this id."""
        return await self.event(kind, lambda payload: id in str(payload.get("id")))

    async def until(self, look: Callable[[], Awaitable[Any]], timeout: float = 30.0) -> Any:
        """What `look` gives, as soon as it is true."""
        end = time.monotonic() + timeout
        while not (found := await look()):
            assert time.monotonic() < end, "it did not come"
            await asyncio.sleep(0.05)
        return found

    async def heard(self, phone: str, text: str) -> None:
        """Wait until a phone has read that text."""

        async def look() -> bool:
            known = (await self.wasim.get(f"phones/{phone}/messages"))["messages"]
            return any(one["text"] == text for one in known)

        await self.until(look)


def c_us(phone: str) -> str:
    """WAHA's id of a person."""
    return f"{phone}@c.us"


async def kinds(talk: Talk) -> str:
    """Each kind of message comes with its meaning, opened, and with the raw message."""
    ana = "40730000001"
    first = await talk.says(ana, "hello")
    place = {"degreesLatitude": 44.5, "degreesLongitude": 26.25, "name": "Office", "address": "Street 1"}
    quote = {"stanzaId": first, "participant": f"{ana}@s.whatsapp.net", "quotedMessage": {"conversation": "hello"}}
    bodies: dict[str, dict[str, Any]] = {
        "location": {"locationMessage": place},
        "contact": {"contactMessage": {"displayName": "Ion", "vcard": "BEGIN:VCARD"}},
        "reply": {"extendedTextMessage": {"text": "to that", "contextInfo": quote}},
        "vanishing": {"ephemeralMessage": {"message": {"conversation": "soon gone"}}},
        "once": {"viewOnceMessageV2": {"message": {"conversation": "look once"}}},
    }
    ids = {name: await talk.do(ana, "message", chat=SHOP_PN, message=body) for name, body in bodies.items()}
    ids["poll"] = await talk.do(ana, "poll", chat=SHOP_PN, name="Tea?", options=["yes", "no"])
    picture = {"base64": base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 300).decode(), "mimetype": "image/png"}
    ids["picture"] = await talk.do(ana, "picture", chat=SHOP_PN, caption="look", **picture)
    got = {name: await talk.told(one) for name, one in ids.items()}
    kept = {name: await talk.message(c_us(ana), one) for name, one in ids.items()}
    for found in (got, kept):
        assert (found["location"]["location"]["latitude"], found["location"]["body"]) == ("44.5", "Office")
        assert found["contact"]["vCards"] == ["BEGIN:VCARD"]
        assert (found["reply"]["replyTo"]["id"], found["reply"]["replyTo"]["body"]) == (first, "hello")
        assert (found["vanishing"]["body"], found["vanishing"]["_data"]["ephemeral"]) == ("soon gone", True)
        assert (found["once"]["body"], found["once"]["_data"]["viewOnce"]) == ("look once", True)
        assert [option["name"] for option in found["poll"]["_data"]["poll"]["options"]] == ["yes", "no"]
        assert (found["picture"]["body"], found["picture"]["hasMedia"]) == ("look", True)
        assert found["location"]["_data"]["message"]["locationMessage"]["address"] == "Street 1"
    assert b"Street 1" in base64.b64decode(kept["location"]["_data"]["raw"])
    assert "messageSecret" not in str(got) + str(kept)
    return f"{len(ids) + 1} kinds"


SHOP_PN = f"{SHOP}@s.whatsapp.net"


async def changes(talk: Talk) -> str:
    """Edits keep what was said before, deletions mark, reactions belong to their message; by number and by LID."""
    ana, chat = "40730000002", c_us("40730000002")
    await talk.wasim.post("phones", {"phone": ana})
    for first, then in (("phone", "lid"), ("lid", "phone")):
        await talk.do(ana, "addressing", by=first)
        said, gone = await talk.says(ana, "helo"), await talk.says(ana, "never mind")
        await talk.told(gone)
        await talk.do(ana, "addressing", by=then)
        edit = await talk.do(ana, "edit", chat=SHOP_PN, id=said, text="hello")
        await talk.do(ana, "react", chat=SHOP_PN, id=said, emoji="👍")
        reaction = await talk.do(ana, "react", chat=SHOP_PN, id=said, emoji="❤️")
        await talk.do(ana, "revoke", chat=SHOP_PN, id=gone)
        edited = await talk.told(edit, "message.edited")
        assert (edited["body"], edited["editedMessageId"], edited["from"]) == ("hello", said, chat)
        assert edited["_data"]["before"]["body"] == "helo"
        reacted = await talk.told(reaction, "message.reaction")
        assert reacted["reaction"] == {"text": "❤️", "messageId": f"false_{chat}_{said}"}
        revoked = await talk.event("message.revoked", partial(_names, "revokedMessageId", gone))
        assert revoked["before"]["body"] == "never mind"
        kept = await talk.message(chat, said)
        assert (kept["body"], [one["text"] for one in kept["_data"]["edits"]]) == ("hello", ["helo"])
        assert [(one["text"], one["sender"]) for one in kept["_data"]["reactions"]] == [("❤️", chat)]
        marked = await talk.message(chat, gone)
        assert (marked["body"], marked["_data"]["kind"], marked["_data"]["former"]["text"]) == (
            "", "revoked", "never mind",
        )  # fmt: skip
    mine = [one for one in await talk.ask("GET", "chats", limit="100") if one["id"].partition("@")[0] == ana]
    others = [one for one in await talk.ask("GET", "chats", limit="100") if one["id"].endswith("@lid")]
    assert (len(mine), others) == (1, [])
    return "one chat"


def _names(field: str, id: str, payload: dict[str, Any]) -> bool:
    return bool(payload[field] == id)


async def own_phone(talk: Talk) -> str:
    """What the account's own phone writes, edits, reacts to and deletes is in the right chat, as ours."""
    ana, chat = "40730000003", c_us("40730000003")
    theirs = await talk.says(ana, "question")
    await talk.told(theirs)
    ours = await talk.says(SHOP, "answre", to=ana)
    sent = await talk.told(ours, "message.any")
    assert (sent["fromMe"], sent["source"], sent["body"]) == (True, "app", "answre")
    assert (sent["from"], sent["to"]) == (chat, chat)
    await talk.do(SHOP, "edit", chat=f"{ana}@s.whatsapp.net", id=ours, text="answer")
    await talk.do(SHOP, "react", chat=f"{ana}@s.whatsapp.net", id=theirs, emoji="👌")
    last = await talk.do(ana, "react", chat=SHOP_PN, id=ours, emoji="🙏")
    assert (await talk.told(last, "message.reaction"))["reaction"]["messageId"] == f"true_{chat}_{ours}"
    kept, asked = await talk.message(chat, ours), await talk.message(chat, theirs)
    assert (kept["body"], kept["_data"]["edits"][0]["text"]) == ("answer", "answre")
    assert [(r["text"], r["from_me"]) for r in asked["_data"]["reactions"]] == [("👌", True)]
    assert [(r["text"], r["from_me"]) for r in kept["_data"]["reactions"]] == [("🙏", False)]
    assert not any(e["payload"]["id"] == sent["id"] for e in talk.hook.envelopes if e["event"] == "message")
    return ""


async def away(talk: Talk) -> str:
    """What happened while the session was stopped comes from the offline queue, in order."""
    ana, chat = "40730000004", c_us("40730000004")
    await talk.told(await talk.says(ana, "before"))
    await talk.holdfast.ask("POST", f"/api/sessions/{talk.name}/stop")
    ids = [await talk.says(ana, f"away {n}") for n in range(5)]
    await talk.do(ana, "edit", chat=SHOP_PN, id=ids[0], text="away 0, corrected")
    await talk.do(ana, "react", chat=SHOP_PN, id=ids[1], emoji="👍")
    await talk.do(ana, "revoke", chat=SHOP_PN, id=ids[2])
    own = await talk.says(SHOP, "from our phone", to=ana)
    await talk.holdfast.ask("POST", f"/api/sessions/{talk.name}/start")
    await talk.holdfast.until_working(talk.name)
    await talk.told(own, "message.any")
    found = list(reversed(await talk.ask("GET", f"chats/{chat}/messages")))
    assert [one["body"] for one in found] == [
        "before", "away 0, corrected", "away 1", "", "away 3", "away 4", "from our phone",
    ]  # fmt: skip
    assert found[2]["_data"]["reactions"][0]["text"] == "👍"
    came = [
        e["payload"]["body"] for e in talk.hook.envelopes if e["event"] == "message" and e["payload"]["from"] == chat
    ]
    assert came == ["before", *(f"away {n}" for n in range(5))]
    return f"{len(ids) + 4} stanzas"


async def votes(talk: Talk) -> str:
    """Votes are opened and counted: in a poll of theirs, and in one of our own phone."""
    ana, chat = "40730000005", c_us("40730000005")
    await talk.told(await talk.says(ana, "a question:"))
    theirs = await talk.do(ana, "poll", chat=SHOP_PN, name="Tea?", options=["yes", "no"])
    ours = await talk.do(SHOP, "poll", chat=f"{ana}@s.whatsapp.net", name="Cake?", options=["apple", "plum"])
    await talk.told(theirs)
    await talk.told(ours, "message.any")
    await talk.heard(ana, "Cake?")
    await talk.heard(SHOP, "Tea?")
    first = await talk.do(ana, "vote", chat=SHOP_PN, id=ours, options=["apple"])
    vote = await talk.event("poll.vote", lambda payload: first in payload["vote"]["id"])
    assert (vote["vote"]["selectedOptions"], vote["poll"]["id"]) == (["apple"], f"true_{chat}_{ours}")
    again = await talk.do(ana, "vote", chat=SHOP_PN, id=ours, options=["plum", "apple"])
    own = await talk.do(SHOP, "vote", chat=f"{ana}@s.whatsapp.net", id=theirs, options=["no"])
    await talk.event("poll.vote", lambda payload: again in payload["vote"]["id"])
    vote = await talk.event("poll.vote", lambda payload: own in payload["vote"]["id"])
    assert (vote["vote"]["fromMe"], vote["poll"]["id"]) == (True, f"false_{chat}_{theirs}")
    counted = (await talk.message(chat, ours))["_data"]["poll"]["options"]
    assert [(one["name"], one["voters"]) for one in counted] == [("apple", [chat]), ("plum", [chat])]
    counted = (await talk.message(chat, theirs))["_data"]["poll"]["options"]
    assert [(one["name"], one["votes"]) for one in counted] == [("yes", 0), ("no", 1)]
    return ""


async def waiting(talk: Talk) -> str:
    """What cannot be read is told, asked for again, and takes its place: from the sender, else from our own phone."""
    ana, chat = "40730000006", c_us("40730000006")
    await talk.told(await talk.says(ana, "fine"))
    came = []
    for fault, count in (("garble", 1), ("garble", 5), ("unavailable", 1)):
        await talk.wasim.post("fault", {"kind": fault, "jid": SHOP, "count": count})
        started = time.monotonic()
        lost, edit_of = await talk.says(ana, f"{fault} {count}"), len(came)
        note = await talk.told(lost, "message.waiting")
        assert (note["body"], note["from"], note["_data"]["kind"]) == ("", chat, "waiting")
        got = await talk.told(lost)
        assert (got["id"], got["body"]) == (note["id"], f"{fault} {count}")
        assert (await talk.message(chat, lost))["body"] == f"{fault} {count}", edit_of
        came.append(time.monotonic() - started)
        await talk.wasim.post("fault", {"kind": "clear", "of": fault})
    shown = [one["body"] for one in await talk.ask("GET", f"chats/{chat}/messages")]
    assert shown == ["unavailable 1", "garble 5", "garble 1", "fine"]
    return ", ".join(f"{seconds:.1f} s" for seconds in came)


async def in_groups(talk: Talk) -> str:
    """A group made through the API: members, names, keys both ways, receipts, what is added to messages."""
    ana, bea, dan = people = ["40730000007", "40730000008", "40730000009"]
    for phone in people:
        await talk.wasim.post("phones", {"phone": phone})
    made = await talk.ask("POST", "groups", {"name": "Team", "participants": [{"id": c_us(p)} for p in (ana, bea)]})
    group = str(made["id"])
    assert {(one["pn"], one["role"]) for one in made["participants"]} == {
        (c_us(SHOP), "superadmin"), (c_us(ana), "participant"), (c_us(bea), "participant"),
    }  # fmt: skip
    await _both_ways(talk, group, ana, bea)
    after = await _members_change(talk, group, ana, bea, dan)
    await _added_to(talk, group, ana, dan)
    listed = {one["id"]: one for one in await talk.ask("GET", "groups")}
    assert (listed[group]["subject"], listed[group]["size"]) == ("Our team", 3)
    shown = next(one for one in await talk.ask("GET", "chats", limit="100") if one["id"] == group)
    assert shown["name"] == "Our team"
    assert after["holdfast"]["state"] in ("sent", "delivered", "read")
    await talk.ask("POST", f"groups/{group}/leave")
    await talk.wasim.post("inject", {"from": ana, "to": group, "text": "without us"})
    with_us = await talk.ask("GET", "groups")
    assert group not in [one["id"] for one in with_us]
    return f"{len(people) + 1} members"


async def _both_ways(talk: Talk, group: str, ana: str, bea: str) -> None:
    said = await talk.says(ana, "to all", to=group)
    got = await talk.told(said)
    assert (got["from"], got["participant"], got["body"]) == (group, c_us(ana), "to all")
    assert got["id"] == f"false_{group}_{said}_{c_us(ana)}"
    sent = await talk.holdfast.ask("POST", "/api/sendText", {"session": talk.name, "chatId": group, "text": "from us"})
    for phone in (ana, bea, SHOP):
        await talk.heard(phone, "from us")
    await talk.do(bea, "read", chat=group, ids=[sent["holdfast"]["id"]])
    read = await talk.event("message.ack.group", lambda p: p["ack"] == 3 and p["participant"] == c_us(bea))
    assert sent["holdfast"]["id"] in read["id"]


async def _members_change(talk: Talk, group: str, ana: str, bea: str, dan: str) -> dict[str, Any]:
    """Dan comes, ana may do all, bea goes; the message that was sent then, which bea must not get."""

    async def member(change: str, who: str, path: str) -> None:
        done = await talk.ask("POST", f"groups/{group}/{path}", {"participants": [{"id": c_us(who)}]})
        assert [one["status"] for one in done] == [200], (change, done)

    await member("add", dan, "participants/add")
    await talk.says(bea, "welcome", to=group)
    await talk.heard(dan, "welcome")
    again = await talk.ask("POST", f"groups/{group}/participants/add", {"participants": [{"id": c_us(dan)}]})
    assert again[0]["status"] == 409
    await member("promote", ana, "admin/promote")
    await talk.do(ana, "group-change", group=group, remove=[f"{bea}@s.whatsapp.net"], subject="Our team")
    left = await talk.event("group.v2.participants", lambda p: p["type"] == "leave" and p["group"]["id"] == group)
    assert [(one["pn"], one["role"]) for one in left["participants"]] == [(c_us(bea), "left")]
    await talk.event("group.v2.update", lambda p: p["group"] == {"id": group, "subject": "Our team"})
    after: dict[str, Any] = await talk.holdfast.ask(
        "POST", "/api/sendText", {"session": talk.name, "chatId": group, "text": "only us"}
    )
    await talk.heard(dan, "only us")
    assert "only us" not in str(await talk.wasim.get(f"phones/{bea}/messages"))
    return after


async def _added_to(talk: Talk, group: str, ana: str, dan: str) -> None:
    """An edit, a reaction, and a poll with its vote."""
    said = await talk.says(ana, "to al", to=group)
    await talk.heard(dan, "to al")
    got = await talk.told(said)
    edit = await talk.do(ana, "edit", chat=group, id=said, text="to all of you")
    react = await talk.do(dan, "react", chat=group, id=said, emoji="🎉")
    poll = await talk.do(ana, "poll", chat=group, name="When?", options=["now", "later"])
    await talk.heard(dan, "When?")
    ballot = await talk.do(dan, "vote", chat=group, id=poll, options=["later"])
    await talk.told(edit, "message.edited")
    assert (await talk.told(react, "message.reaction"))["reaction"]["messageId"] == got["id"]
    await talk.event("poll.vote", lambda payload: ballot in payload["vote"]["id"])
    kept = await talk.message(group, said)
    assert (kept["body"], kept["_data"]["reactions"][0]["sender"]) == ("to all of you", c_us(dan))
    assert [one["votes"] for one in (await talk.message(group, poll))["_data"]["poll"]["options"]] == [0, 1]


SCENARIOS: dict[str, Scenario] = {
    "kinds": kinds, "changes": changes, "own_phone": own_phone, "away": away, "votes": votes, "waiting": waiting,
    "in_groups": in_groups,
}  # fmt: skip
