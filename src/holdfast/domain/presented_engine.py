"""Which of WAHA's engines clients see: the `engine` field, the shape of `_data` and of send answers (pure).

What is presented is a setting of the fleet. It does not depend on the engine that runs a session, so clients notice
nothing when a session moves between engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from holdfast.domain import jids
from holdfast.domain.rows import Json

NOWEB = "NOWEB"
GOWS = "GOWS"
ENGINES = (NOWEB, GOWS)

_PENDING = "PENDING"
_STATUSES: Mapping[int, str] = {-1: "ERROR", 0: _PENDING, 1: "SERVER_ACK", 2: "DELIVERY_ACK", 3: "READ", 4: "PLAYED"}
"""WhatsApp's names for a message's status (`WebMessageInfo.Status`), by WAHA's ack."""


def presented(me: Mapping[str, Any]) -> str:
    """The engine that is presented with what is shown of a session; NOWEB where nothing says otherwise."""
    return str(me.get("presented") or NOWEB)


def raw_data(row: Mapping[str, Any], engine: str) -> Json:
    """`_data` of a message as that engine of WAHA has it.

    Args:
        row: A message in the form of `domain.messages.message_to_json`.
        engine: One of `ENGINES`.
    """
    body = row.get("body") or {}
    message = body.get("message") or ({"conversation": row["text"]} if row["kind"] == "text" else None)
    return _gows(row, body, message) if engine == GOWS else _noweb(row, body, message)


def _noweb(row: Mapping[str, Any], body: Mapping[str, Any], message: Json | None) -> Json:
    """Baileys' `WAMessage`."""
    key = {"remoteJid": row["chat"], "fromMe": row["from_me"], "id": row["id"]}
    return {
        "key": {**key, "participant": row["sender"]} if body.get("participant") else key,
        "messageTimestamp": int(row["timestamp"]),
        "pushName": body.get("push_name"),
        "message": message,
    }


def _gows(row: Mapping[str, Any], body: Mapping[str, Any], message: Json | None) -> Json:
    """whatsmeow's `events.Message`."""
    return {
        "Info": {
            "ID": row["id"],
            "Chat": row["chat"],
            "Sender": row["sender"],
            "IsFromMe": row["from_me"],
            "IsGroup": jids.is_group(row["chat"]) or row["chat"].endswith("@broadcast"),
            "PushName": body.get("push_name") or "",
            "Timestamp": datetime.fromtimestamp(int(row["timestamp"]), UTC).isoformat().replace("+00:00", "Z"),
            "Type": "text" if row["kind"] == "text" else "media" if "media" in body else row["kind"],
        },
        "Message": message,
        "IsEdit": "edited" in body,
        "IsEphemeral": bool(body.get("ephemeral")),
        "IsViewOnce": bool(body.get("view_once")),
    }


def send_answer(shaped: Json, engine: str) -> Json:
    """The answer of the calls that send, from the message in WAHA's shape.

    NOWEB answers Baileys' message itself, GOWS `id` and `_data`; the fields of `WAMessage` are in both.
    """
    if engine == GOWS:
        return shaped
    data = shaped["_data"]
    return {
        **shaped,
        "key": data["key"],
        "message": data["message"],
        "messageTimestamp": data["messageTimestamp"],
        "status": _STATUSES.get(shaped["ack"], _PENDING),
    }
