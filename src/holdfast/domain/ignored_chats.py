"""Kinds of chats that a session ignores: what comes in them is neither reported nor stored (pure).

WhatsApp still gets its receipts, and sending is not restricted. What is sent through the API stays a message of its
chat, with its events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from holdfast.domain import jids
from holdfast.domain.messages import Interpreted
from holdfast.domain.rows import InboxRow, Processed

NEWSLETTER = "@newsletter"
BROADCAST = "@broadcast"


@dataclass(frozen=True, slots=True)
class IgnoredChats:
    """Which kinds of chats are ignored. `broadcast` means broadcast lists, without `status`."""

    status: bool = False
    groups: bool = False
    channels: bool = False
    broadcast: bool = False

    @classmethod
    def parse(cls, setting: str) -> Self:
        """From names separated by commas. Raises `ValueError` for a name that is none."""
        names = {part.strip() for part in setting.split(",") if part.strip()}
        known = [field.name for field in fields(cls)]
        if unknown := sorted(names.difference(known)):
            raise ValueError(f"'{unknown[0]}' is not one of {', '.join(known)}")
        return cls(**dict.fromkeys(names, True))

    def overridden(self, config: Mapping[str, Any]) -> Self:
        """What a session with that configuration ignores; these are the defaults for what it does not say."""
        own = config.get("ignore") or {}
        given = {name: own[name] for name in (field.name for field in fields(self)) if own.get(name) is not None}
        return replace(self, **given) if given else self

    def covers(self, jid: str) -> bool:
        """Whether the chat with that address is ignored."""
        if jid == jids.STATUS_BROADCAST:
            return self.status
        if jids.is_group(jid):
            return self.groups
        if jid.endswith(NEWSLETTER):
            return self.channels
        return jid.endswith(BROADCAST) and self.broadcast

    def drops(self, row: InboxRow, part: Interpreted) -> bool:
        """Whether a received stanza belongs to an ignored chat. Receipts do not: they are about what was sent."""
        if row.kind == "receipt" or self == NOTHING:
            return False
        named = [jids.bare(row.attrs[name]) for name in ("from", "recipient") if row.attrs.get(name)]
        meant = [one.chat for rows in (part.messages, part.edits, part.addons, part.awaiting) for one in rows]
        meant += [one.message.chat for one in part.sealed]
        return any(map(self.covers, [*named, *meant]))

    def kept(self, found: Processed) -> Processed:
        """What is left of a history without the ignored chats."""
        if self == NOTHING:
            return found
        return replace(
            found,
            messages=[row for row in found.messages if not self.covers(row.chat)],
            chats=[row for row in found.chats if not self.covers(row.id)],
            contacts=[row for row in found.contacts if not self.covers(row.id)],
        )


NOTHING = IgnoredChats()


def dropped(part: Interpreted) -> Interpreted:
    """What is kept of an ignored stanza: that it came, and which two addresses are one person."""
    return Interpreted(part.seq, mappings=part.mappings)
