"""What is searched for, and how a session's history is written as JSON lines (pure)."""

from __future__ import annotations

import base64
import re
import string
from dataclasses import asdict

from holdfast.domain.errors import BadRequest
from holdfast.domain.messages import message_to_json
from holdfast.domain.rows import AddonRow, ChatRow, ContactRow, Json, MessageRow

FORMAT = 1
LONGEST, MOST = 200, 20
"""Characters of a search, and words of it."""
_MARKS = re.compile(f"[\\s{re.escape(string.punctuation)}]+")


def words_of(asked: str) -> list[str]:
    """The words of a search: whatever stands between spaces and marks. Raises `BadRequest` where there are none."""
    if len(asked) > LONGEST:
        raise BadRequest(f"A search may have at most {LONGEST} characters.")
    words = [word for word in _MARKS.split(asked) if any(sign.isalnum() for sign in word)][:MOST]
    if not words:
        raise BadRequest("Search for at least one word.")
    return words


def head(session: str, me: Json, at: float, counts: dict[str, int]) -> Json:
    """The first line."""
    return {"type": "history", "format": FORMAT, "session": session, "me": me, "at": at, "counts": counts}


def contact(row: ContactRow) -> Json:
    """A contact's line."""
    return {"type": "contact", **asdict(row)}


def chat(row: ChatRow) -> Json:
    """A chat's line."""
    return {"type": "chat", "id": row.id, "name": row.name, "timestamp": row.timestamp, "unread": row.unread}


def message(row: MessageRow) -> Json:
    """A message's line; `raw` is the protobuf as it came, in base64."""
    return {"type": "message", **message_to_json(row), "raw": base64.b64encode(row.raw).decode()}


def addon(row: AddonRow) -> Json:
    """A reaction's or a vote's line."""
    return {"type": row.kind, **{name: value for name, value in asdict(row).items() if name != "kind"}}


def end(lines: int) -> Json:
    """The last line: without it the file is not whole. `lines` are those before it."""
    return {"type": "end", "lines": lines}
