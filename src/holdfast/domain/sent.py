"""A message of our own as chats show it, once WhatsApp has it (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.domain.rows import Json, MessageRow, OutboxRow

_KINDS = {"file": "document", "voice": "audio"}
"""Kinds of received messages, by what WAHA's calls name them."""


def sent_message(row: OutboxRow, at: float, me: Mapping[str, str]) -> MessageRow:
    """The message as chats show it, from what was accepted for sending."""
    content = row.content
    body: Json = {"source": "api"}
    if content.get("quoted_id"):
        body["quoted"] = {"id": content["quoted_id"]}
    if content.get("mentions") or content.get("mention_all"):
        body["mentions"] = content.get("mentions") or ["all"]
    if content.get("file"):
        body["media"] = {name: content.get(name) for name in ("mimetype", "filename", "size")}
    kind = str(content.get("type", "text"))
    return MessageRow(
        id=row.id,
        chat=row.chat,
        from_me=True,
        sender=f"{me.get('phone', '')}@s.whatsapp.net",
        timestamp=at,
        kind=_KINDS.get(kind, kind),
        text=str(content.get("text", content.get("caption", ""))),
        ack=1,
        body=body,
    )
