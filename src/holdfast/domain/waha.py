"""WAHA's words for Holdfast's facts: ids, messages, sessions and webhook envelopes (pure).

Shapes are those of WAHA's OpenAPI document 2026.9.2. Outside, a phone number is `@c.us`; inside, as WhatsApp has it,
`@s.whatsapp.net`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from holdfast.domain import jids
from holdfast.domain.addons import tally
from holdfast.domain.errors import InvalidChatId, InvalidPhone
from holdfast.domain.identity import canonical_phone
from holdfast.domain.presented_engine import presented, raw_data
from holdfast.domain.rows import EventRow, Json

_USER = re.compile(r"\d{5,20}")
_GROUP = re.compile(r"\d{5,25}(-\d{5,20})?")
ACK_NAMES: Mapping[int, str] = {-1: "ERROR", 0: "PENDING", 1: "SERVER", 2: "DEVICE", 3: "READ", 4: "PLAYED"}


def environment(engine: str) -> Json:
    """WAHA's version whose API is spoken, and which of its engines is presented."""
    return {"version": "2026.9.2", "engine": engine, "tier": "CORE", "browser": None}


# --- ids --------------------------------------------------------------------------------------------------------


def to_waha_id(jid: str) -> str:
    """An id as WAHA's users know it."""
    user, _, server = jids.split(jid)
    return f"{user}@c.us" if server == jids.PN else f"{user}@{server}" if server else jid


def from_waha_id(chat: str) -> str:
    """A chat id as WhatsApp writes it, from WAHA's or from a bare phone number. Raises `InvalidChatId`."""
    text = chat.strip()
    user, at, server = text.partition("@")
    if not at:
        try:
            return f"{canonical_phone(text)}@{jids.PN}"
        except InvalidPhone as error:
            raise InvalidChatId() from error
    user = user.partition(":")[0]
    if server in ("c.us", jids.PN) and _USER.fullmatch(user):
        return f"{user}@{jids.PN}"
    if server in (jids.LID, "newsletter") and _USER.fullmatch(user):
        return f"{user}@{server}"
    if server == jids.GROUP and _GROUP.fullmatch(user):
        return f"{user}@{server}"
    if text == jids.STATUS_BROADCAST:
        return text
    raise InvalidChatId()


def message_id(message: Mapping[str, Any]) -> str:
    """WAHA's serialized message id: `true_40712345678@c.us_3EB0...`, in groups with the sender behind it."""
    own = "true" if message["from_me"] else "false"
    serialized = f"{own}_{to_waha_id(message['chat'])}_{message['id']}"
    by_member = (message.get("body") or {}).get("participant") or jids.is_group(message["chat"])
    participant = message.get("sender") if by_member else ""
    return f"{serialized}_{to_waha_id(participant)}" if participant else serialized


def plain_message_id(serialized: str) -> str:
    """WhatsApp's own id out of WAHA's serialized one, or what was given if it is none."""
    parts = serialized.split("_")
    return parts[2] if len(parts) >= 3 and parts[0] in ("true", "false") else serialized


# --- messages ---------------------------------------------------------------------------------------------------


def message(row: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    """A message in WAHA's shape (WAMessage), from `domain.messages.message_to_json`'s form.

    Args:
        row: The message.
        me: The session's account. It may have `files`, the URL below which files are, and `presented`, the WAHA engine
            whose form `_data` has.
    """
    body = row.get("body") or {}
    media = body.get("media")
    return {
        "id": message_id(row),
        "timestamp": int(row["timestamp"]),
        **_addresses(row["chat"], from_me=row["from_me"], me=me),
        "fromMe": row["from_me"],
        "source": body.get("source", "app"),
        "participant": to_waha_id(row["sender"]) if body.get("participant") else None,
        "body": row["text"],
        "hasMedia": media is not None,
        "media": _media(media, me.get("files")) if media else None,
        "mediaUrl": None,
        "ack": row["ack"],
        "ackName": ACK_NAMES.get(row["ack"], "PENDING"),
        "location": _location(body.get("location")),
        "vCards": body.get("vcards"),
        "replyTo": _reply(body.get("quoted")),
        "_data": _data(row, me),
    }


def _addresses(chat: str, *, from_me: bool, me: Mapping[str, Any]) -> Json:
    """`from` and `to` of a message or receipt in a chat.

    WAHA's engines put the chat into `from`, of own messages too; its API description puts it into `to` of own ones.
    Clients of both kinds find the chat.
    """
    shown = to_waha_id(chat)
    return {"from": shown, "to": shown if from_me or jids.is_group(chat) else f"{me.get('phone', '')}@c.us"}


_MORE: Mapping[str, str] = {
    "forwarded": "forwarded", "view_once": "viewOnce", "ephemeral": "ephemeral", "edited": "edited", "edits": "edits",
    "revoked": "revoked", "revoked_by": "revokedBy", "former": "former", "album": "album", "template": "template",
    "reply": "reply", "product": "product", "order": "order", "payment": "payment", "event": "event",
    "invite": "invite", "poll_result": "pollResult", "target": "target",
    "broadcast": "broadcast",
}  # fmt: skip
"""What else is known of a message: our word, and the one under `_data`."""


def _data(row: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    """What the presented engine has there, and what WAHA has no field for."""
    body = row.get("body") or {}
    data: Json = {"kind": row["kind"], **raw_data(row, presented(me)), "mentions": body.get("mentions") or []}
    data |= {name: body[ours] for ours, name in _MORE.items() if ours in body}
    if "reactions" in body:
        data["reactions"] = [{**one, "sender": to_waha_id(one["sender"])} for one in body["reactions"]]
    if "answers" in body:
        data["answers"] = [{**one, "sender": to_waha_id(one["sender"])} for one in body["answers"]]
    if "poll" in body:
        votes = [{**vote, "sender": to_waha_id(vote["sender"])} for vote in body.get("votes") or []]
        data["poll"] = {**body["poll"], "options": tally(body["poll"].get("options") or [], votes)}
    return data


def _media(media: Mapping[str, Any], files: object) -> Json:
    name = media.get("file")
    url = f"{files}/{name}" if files and name else media.get("url")
    return {"url": url, "mimetype": media.get("mimetype"), "filename": media.get("filename")}


def shown_account(me: Mapping[str, Any], url: str, session: str, engine: str) -> Json:
    """The account as `message` needs it: with where the session's files are, and with the presented engine."""
    return {**me, "files": f"{url}/api/files/{session}", "presented": engine}


def _location(place: Mapping[str, Any] | None) -> Json | None:
    if not place:
        return None
    return {
        "latitude": str(place.get("latitude")),
        "longitude": str(place.get("longitude")),
        "live": bool(place.get("live")),
        "name": place.get("title"),
        "address": place.get("address"),
    }


def _reply(quoted: Mapping[str, Any] | None) -> Json | None:
    if not quoted:
        return None
    participant = quoted.get("participant")
    return {
        "id": quoted["id"],
        "participant": to_waha_id(participant) if participant else None,
        "body": quoted.get("text"),
        "hasMedia": bool(quoted.get("media")),
    }


# --- events about a message -------------------------------------------------------------------------------------


def _target(payload: Mapping[str, Any]) -> Json:
    """The message that a reaction or a vote is about, in the form of `domain.messages`."""
    chat, author = payload["message"]["chat"], payload.get("target_author") or ""
    own = bool(payload.get("target_from_me"))
    body = {"participant": author} if jids.is_group(chat) and author else {}
    return {"id": payload["target"], "chat": chat, "from_me": own, "sender": author, "body": body}


def _reaction(payload: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    shaped = message(payload["message"], me)
    return {**shaped, "reaction": {"text": shaped["body"], "messageId": message_id(_target(payload))}}


def _edited(payload: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    shaped = message(payload["message"], me)
    before = payload.get("before")
    data = {**shaped["_data"], "before": message(before, me) if before else None}
    return {**shaped, "editedMessageId": payload["target"], "_data": data}


def _revoked(payload: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    before = payload.get("before")
    after = message(payload["message"], me)
    return {"after": after, "before": message(before, me) if before else None, "revokedMessageId": payload["target"]}


def _vote(payload: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    """PollVotePayload; without options it could not be opened."""
    vote, poll = payload["message"], _target(payload)
    return {
        "vote": {
            **_destination(vote, me),
            "selectedOptions": payload.get("options") or [],
            "timestamp": int(vote["timestamp"] * 1000),
        },
        "poll": _destination(poll, me),
        "_data": _data(vote, me),
    }


def _pinned(payload: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    pinned = bool((payload["message"].get("body") or {}).get("pinned"))
    return {**message(payload["message"], me), "pinnedMessageId": message_id(_target(payload)), "pinned": pinned}


def _system(payload: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    """What the chat shows and nobody answers: what it is, and the message that it is about, if any."""
    about = {"aboutMessageId": message_id(_target(payload))} if payload.get("target") else {}
    return {**message(payload["message"], me), "type": payload["message"]["kind"], **about}


def _answer(payload: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    """EventResponsePayload; without an answer it could not be opened."""
    shaped = message(payload["message"], me)
    names = ("id", "timestamp", "from", "fromMe", "source", "to", "participant", "_data")
    answer = {"eventResponse": payload["response"]} if payload.get("response") else {}
    return {**{name: shaped[name] for name in names}, "eventCreationKey": _destination(_target(payload), me), **answer}


def _destination(row: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    participant = row["sender"] if (row.get("body") or {}).get("participant") else None
    return {
        "id": message_id(row),
        **_addresses(row["chat"], from_me=row["from_me"], me=me),
        "fromMe": row["from_me"],
        "participant": to_waha_id(participant) if participant else None,
    }


# --- sessions ---------------------------------------------------------------------------------------------------


def me_info(me: Mapping[str, Any]) -> Json | None:
    """WAHA's MeInfo; None for a session that was never linked."""
    if not me.get("phone"):
        return None
    info: Json = {"id": f"{me['phone']}@c.us", "pushName": me.get("push_name") or "", **(me.get("limits") or {})}
    lid = jids.bare(str(me.get("lid") or ""))
    return {**info, "lid": lid} if lid else info


def status_payload(payload: Mapping[str, Any], session: str) -> Json:
    """The payload of `session.status` (WASessionStatusBody), with what Holdfast knows beyond it under `holdfast`."""
    recent = payload.get("statuses") or [[payload["status"], payload["at"]]]
    return {
        "name": session,
        "status": payload["status"],
        "statuses": [{"status": status, "timestamp": int(at * 1000)} for status, at in recent],
        "data": payload.get("data"),
        "holdfast": {
            "reason": payload["reason"],
            "message": payload["message"],
            "needs_qr": payload["needs_qr"],
            "next_attempt_at": payload.get("next_attempt_at"),
            "attempt": payload.get("attempt", 0),
        },
    }


# --- events -----------------------------------------------------------------------------------------------------


def waha_events(event: EventRow, facts: Mapping[str, Any]) -> Iterator[Json]:
    """The envelopes that one entry of the event log becomes.

    `facts`: `me` and `metadata` of the session, the `url` under which users reach us, and the WAHA engine that is
    `presented`. A message from others is both
    `message` and `message.any`; the ids differ, each is stable, and stays the same however often it is delivered.
    """
    engine = presented(facts)
    me = shown_account(facts.get("me") or {}, str(facts.get("url") or ""), event.session, engine)
    for number, (name, payload) in enumerate(_named(event, me)):
        yield {
            "id": event.id if number == 0 else f"{event.id}.{number}",
            "timestamp": int(event.at * 1000),
            "event": name,
            "session": event.session,
            "metadata": facts.get("metadata") or {},
            "me": me_info(me),
            "payload": payload,
            "engine": engine,
            "environment": {**environment(engine), "platform": None, "worker": {"id": facts.get("worker")}},
        }


def _named(event: EventRow, me: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    payload = event.payload
    if event.kind == "session.status":
        yield event.kind, status_payload(payload, event.session)
    elif event.kind == "message":
        shaped = message(payload["message"], me)
        if not payload["message"]["from_me"]:
            yield "message", shaped
        yield "message.any", shaped
    elif event.kind in _SHAPES:
        yield event.kind, _SHAPES[event.kind](payload, me)
    else:
        yield event.kind, payload


def _ack(payload: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    serialized = message_id({**payload, "sender": f"{me.get('phone', '')}@{jids.PN}"})
    shaped: Json = {
        "id": serialized,
        **_addresses(payload["chat"], from_me=payload["from_me"], me=me),
        "participant": to_waha_id(payload["participant"]) if payload.get("participant") else None,
        "fromMe": payload["from_me"],
        "ack": payload["ack"],
        "ackName": ACK_NAMES.get(payload["ack"], "PENDING"),
    }
    return {**shaped, "error": payload["error"]} if payload.get("error") else shaped


def _waiting(payload: Mapping[str, Any], me: Mapping[str, Any]) -> Json:
    return message(payload["message"], me)


_SHAPES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Json]] = {
    "message.ack": _ack,
    "message.ack.group": _ack,
    "message.waiting": _waiting,
    "message.reaction": _reaction,
    "message.edited": _edited,
    "message.revoked": _revoked,
    "poll.vote": _vote,
    "poll.vote.failed": _vote,
    "event.response": _answer,
    "event.response.failed": _answer,
    "message.pinned": _pinned,
    "message.system": _system,
}
