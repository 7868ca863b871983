"""Groups in WAHA's words: notifications become events, metadata the API's shapes (pure).

A notification is `<notification type="w:gp2" from participant>` with one child per change; `participant` and
`participant_pn` say who did it. Tags as Baileys 7.0.0-rc14 reads them (lib/Socket/messages-recv.js
`handleGroupNotification`). WhatsApp names members by LID or by phone number, with the other beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from holdfast.domain import jids
from holdfast.domain.rows import ChatRow, InboxRow, Json, NewEvent
from holdfast.domain.waha import to_waha_id

_MEMBERS: Mapping[str, str] = {
    "add": "join", "remove": "leave", "leave": "leave", "promote": "promote", "demote": "demote",
}  # fmt: skip
_ROLES: Mapping[str, str] = {"superadmin": "superadmin", "admin": "admin"}
_SETTINGS: Mapping[str, Json] = {
    "announcement": {"membersCanSendMessages": False},
    "not_announcement": {"membersCanSendMessages": True},
    "locked": {"membersCanChangeInfo": False},
    "unlocked": {"membersCanChangeInfo": True},
}
Child = Mapping[str, Any]


def pair_of(attrs: Mapping[str, Any], address: str = "jid", phone: str = "phone_number") -> tuple[str, str]:
    """(LID, phone number address) of a member; empty where it is not told."""
    found = [jids.bare(str(attrs.get(name) or "")) for name in (address, phone, "lid")]
    lid = next((jid for jid in found if jids.is_lid(jid)), "")
    pn = next((jid for jid in found if jids.phone_of(jid)), "")
    return lid, pn


def member(attrs: Mapping[str, Any], role: str) -> Json:
    """A GroupParticipant."""
    lid, pn = pair_of(attrs)
    shown: Json = {"id": to_waha_id(lid or pn), "role": role}
    return {**shown, "pn": to_waha_id(pn)} if pn else shown


def _role(attrs: Mapping[str, Any], change: str = "") -> str:
    if change == "leave":
        return "left"
    if change in ("promote", "demote"):
        return "admin" if change == "promote" else "participant"
    return _ROLES.get(str(attrs.get("type") or attrs.get("admin") or ""), "participant")


# --- notifications ----------------------------------------------------------------------------------------------


def notified(row: InboxRow, me: Mapping[str, Any]) -> tuple[list[NewEvent], list[ChatRow], list[tuple[str, str]]]:
    """Events, the chat's name, and the (LID, phone number) pairs that a notification tells."""
    group = jids.bare(row.attrs.get("from", ""))
    stamp = row.attrs.get("t", "")
    at = int(stamp) if stamp.isdecimal() else int(row.received_at)
    children: Sequence[Child] = row.body.get("children") or []
    events: list[NewEvent] = []
    chats: list[ChatRow] = []
    pairs = [pair_of(row.attrs, "participant", "participant_pn")]
    for child in children:
        chat = _group_address(child, group)
        pairs += [pair_of(one["attrs"]) for one in _participants(child)]
        data = {"tag": child["tag"], "attrs": child["attrs"], "author": row.attrs.get("participant")}
        events += [
            NewEvent(kind, {"timestamp": at, **told, "_data": data}, chat) for kind, told in _told(child, chat, me)
        ]
        if subject := _subject(child):
            chats.append(ChatRow(chat, subject, float(at) if child["tag"] == "create" else 0.0, 0))
    return events, chats, [pair for pair in pairs if all(pair)]


def _group_address(child: Child, group: str) -> str:
    inner = _inner(child)
    number = str(inner["attrs"].get("id") or "") if inner else ""
    return f"{number.partition('@')[0]}@{jids.GROUP}" if number else group


def _inner(child: Child) -> Child | None:
    """`<create>` holds the whole group."""
    return next((one for one in child.get("children") or [] if one["tag"] == "group"), None)


def _participants(child: Child) -> list[Child]:
    return [one for one in (_inner(child) or child).get("children") or [] if one["tag"] == "participant"]


def _subject(child: Child) -> str:
    inner = _inner(child)
    if inner is not None:
        return str(inner["attrs"].get("subject") or "")
    return str(child["attrs"].get("subject") or "") if child["tag"] == "subject" else ""


def _is_me(attrs: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    lid, pn = pair_of(attrs)
    own = jids.bare(str(me.get("lid") or ""))
    return bool(pn and jids.phone_of(pn) == me.get("phone")) or bool(lid and lid == own)


def _told(child: Child, group: str, me: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    """(event, payload) of one change."""
    tag, people = str(child["tag"]), _participants(child)
    if tag == "create":
        yield "group.v2.join", {"group": _created(child, group)}
    elif tag in _MEMBERS:
        change = _MEMBERS[tag]
        listed = [member(one["attrs"], _role(one["attrs"], change)) for one in people]
        yield "group.v2.participants", {"type": change, "group": {"id": group}, "participants": listed}
        if any(_is_me(one["attrs"], me) for one in people):
            if change == "join":
                yield "group.v2.join", {"group": {"id": group}}
            elif change == "leave":
                yield "group.v2.leave", {"group": {"id": group}}
    elif tag == "subject":
        yield "group.v2.update", {"group": {"id": group, "subject": _subject(child)}}
    elif tag == "description":
        texts = [one.get("text") or "" for one in child.get("children") or [] if one["tag"] == "body"]
        yield "group.v2.update", {"group": {"id": group, "description": "".join(texts)}}
    else:
        yield "group.v2.update", {"group": {"id": group, **_SETTINGS.get(tag, {})}}


def _created(child: Child, group: str) -> Json:
    inner = _inner(child)
    attrs = inner["attrs"] if inner else {}
    people = [
        {**one["attrs"], "id": one["attrs"].get("jid"), "admin": one["attrs"].get("type")}
        for one in _participants(child)
    ]
    return info(
        {"id": group, "subject": attrs.get("subject"), "participants": people, "creation": attrs.get("creation")}
    )


# --- what the API shows -----------------------------------------------------------------------------------------


def participant(facts: Mapping[str, Any]) -> Json:
    """A GroupParticipant from a member of Baileys' metadata (`id`, `phoneNumber`, `lid`, `admin`), `admin` too."""
    attrs = {"jid": facts.get("id"), "phone_number": facts.get("phoneNumber") or facts.get("phone_number")}
    shown = member({**attrs, "lid": facts.get("lid")}, _role(facts))
    return {**shown, "admin": facts.get("admin") or None}


def info(facts: Mapping[str, Any]) -> Json:
    """WAHA's GroupInfo from Baileys' metadata; `owner`, `size` and `creation` as NOWEB has them beside it."""
    people = [participant(one) for one in facts.get("participants") or []]
    owner = facts.get("ownerPn") or facts.get("owner")
    return {
        "id": str(facts.get("id") or ""),
        "subject": str(facts.get("subject") or ""),
        "description": str(facts.get("desc") or ""),
        "membersCanAddNewMember": bool(facts.get("memberAddMode")),
        "membersCanSendMessages": not facts.get("announce"),
        "newMembersApprovalRequired": bool(facts.get("joinApprovalMode")),
        "participants": people,
        "owner": to_waha_id(jids.bare(str(owner))) if owner else None,
        "size": int(facts.get("size") or len(people)),
        "creation": int(facts.get("creation") or 0) or None,
    }
