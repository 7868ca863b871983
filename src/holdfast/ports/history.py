"""Reading the history as a whole: searched by words, and in order, for an export. A part of `ports.store.Store`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from holdfast.domain.rows import AddonRow, ChatRow, InboxRow, Json, MessageRow


@dataclass(frozen=True, slots=True)
class Found:
    """A message that was searched for, in its session, with the name of its chat."""

    session: str
    message: MessageRow
    chat_name: str


class HistoryStore(Protocol):
    """See the module."""

    async def search(
        self, words: Sequence[str], limit: int, offset: int, *, session: str | None = None, filters: Json | None = None
    ) -> list[Found]:
        """Messages in which every one of `words` begins a word, newest first; whatever is upper or lower case.

        `filters`: `chat` (canonical or not), `from_me`, `since` and `until` (Unix seconds, inclusive).
        """
        ...

    async def unread(self, name: str, limit: int) -> list[InboxRow]:
        """The newest stanzas that could not be read, and whose message still did not come any other way."""
        ...

    async def history_counts(self, name: str) -> dict[str, int]:
        """How many `contacts`, `chats`, `messages` and `addons` a session has."""
        ...

    async def chats_after(self, name: str, after: str, limit: int) -> list[ChatRow]:
        """Chats by id, those after `after`, without their messages."""
        ...

    async def messages_after(self, name: str, after: int, limit: int) -> list[tuple[int, MessageRow]]:
        """Messages in the order in which they were stored, with their numbers, those after number `after`."""
        ...

    async def addons_after(self, name: str, after: int, limit: int) -> list[tuple[int, AddonRow]]:
        """What was added to messages, likewise."""
        ...
