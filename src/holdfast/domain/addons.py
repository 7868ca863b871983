"""What is added to a message after it was written: edits, deletions, reactions and votes (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from holdfast.domain.rows import AddonRow, InboxRow, Json, MessageRow

_OF_THE_STANZA = frozenset(
    {"push_name", "participant", "view_once", "ephemeral", "message", "source", "media", "change"}
)
"""What a change says of itself, or only in part: the message's own stays."""
_STAYS = ("participant", "push_name", "source")
MEDIA = frozenset({"image", "video", "audio", "document", "sticker"})


def changed(before: MessageRow, change: MessageRow) -> MessageRow:
    """The message as it is after an edit or a deletion; what it said before stays in its body.

    `edits`: former texts, oldest first, each with the time since when it stood; `former`: what a deleted message was.
    """
    if before.kind == "revoked":
        return before
    if change.body.get("revoked"):
        kept = {name: before.body[name] for name in _STAYS if name in before.body}
        rest = {name: value for name, value in before.body.items() if name not in kept and name != "secret"}
        former = {**rest, "kind": before.kind, "text": before.text}
        mark = {"revoked": change.timestamp, "revoked_by": change.body.get("by") or change.sender}
        return replace(before, kind="revoked", text="", body={**kept, **mark, "former": former})
    facts = {name: value for name, value in change.body.items() if name not in _OF_THE_STANZA}
    former_text = {"text": before.text, "timestamp": before.body.get("edited") or before.timestamp}
    edits = [*before.body.get("edits", []), former_text]
    kind = before.kind if before.kind in MEDIA else change.kind
    body = {**before.body, **facts, "edited": change.timestamp, "edits": edits}
    body.pop("message", None)  # it would show what the message said before
    return replace(before, kind=kind, text=change.text, body=body)


def kept(change: MessageRow) -> AddonRow:
    """A change whose message is not there (yet), to be made when it comes."""
    kind = "revoked" if change.body.get("revoked") else "edited"
    body: Json = {"kind": change.kind, "body": change.body}
    return AddonRow(
        change.chat, change.id, kind, change.sender, change.from_me, change.id, change.timestamp, change.text, body
    )


def change_of(addon: AddonRow) -> MessageRow:
    """The inverse of `kept`."""
    return MessageRow(
        addon.target, addon.chat, addon.from_me, addon.sender, addon.timestamp, addon.body["kind"], addon.text, 0,
        addon.body["body"],
    )  # fmt: skip


def with_addons(row: MessageRow, addons: Iterable[AddonRow]) -> MessageRow:
    """The message with the `reactions` and `votes` that stand now in its body."""
    reactions: list[Json] = []
    votes: list[Json] = []
    answers: list[Json] = []
    for addon in addons:
        who = {"sender": addon.sender, "from_me": addon.from_me, "timestamp": addon.timestamp}
        if addon.kind == "reaction" and addon.text:
            reactions.append({**who, "text": addon.text})
        elif addon.kind == "vote":
            votes.append({**who, "options": list(addon.body.get("options") or [])})
        elif addon.kind == "answer":
            answers.append({**who, **addon.body})
    found = {"reactions": reactions, "votes": votes, "answers": answers}
    more = {name: listed for name, listed in found.items() if listed}
    return replace(row, body={**row.body, **more}) if more else row


def tally(options: Sequence[str], votes: Sequence[Json]) -> list[Json]:
    """Each option with who chose it."""
    return [
        {"name": name, "votes": len(voters), "voters": voters}
        for name in options
        for voters in [[vote["sender"] for vote in votes if name in vote["options"]]]
    ]


@dataclass(frozen=True, slots=True)
class Sealed:
    """An edit, reaction, vote or answer that only the secret of the message that it is about opens.

    `use` is the word under which the key is derived; `message` the row that the stanza would have by itself, `stanza`
    what came; `senders` and `authors` are the addresses of who sealed it and of who wrote the target.
    """

    use: str
    message: MessageRow
    stanza: InboxRow
    target: str
    target_from_me: bool
    payload: bytes
    iv: bytes
    senders: Sequence[str]
    authors: Sequence[str]

    @property
    def awaiting(self) -> AddonRow:
        """The note that the stanza is processed again when its target comes."""
        row = self.message
        body: Json = {"inbox": self.stanza.seq}
        return AddonRow(row.chat, self.target, AWAITING, row.sender, row.from_me, row.id, row.timestamp, "", body)


AWAITING = "awaiting"
"""Kind of an addon: a sealed stanza whose target is not there yet."""
