"""What people send, and what must come of it: cases that public bug reports of gateways describe, played on wasim.

Each case has people of its own, so that several may share one session. It raises AssertionError, or returns a figure.
"""

from __future__ import annotations

from typing import Any

from tests.support.conversations import SHOP, Scenario, Talk, c_us

JID = "@s.whatsapp.net"
NOWHERE = "120363999999999999@g.us"


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
        assert [step["state"] for step in story["story"]] == ["sending", "queued", "sending", "sent"], story
        assert f"({number})" in story["story"][1]["message"], story
    return "403, 404, 420, 479 final; 421, 429, 503 pass"


CASES: dict[str, tuple[str, Scenario]] = {
    "F.10": ("removed from a group, no such group: 422 at once in words, nothing waits behind it", refused_groups),
}
"""By id: what holds, and how it is played."""
