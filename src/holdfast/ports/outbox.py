"""The store's outbox: messages accepted for sending. The rules of `ports.store` hold here as well."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from holdfast.domain.caps import Caps, Lately
from holdfast.domain.outbox import Step
from holdfast.domain.rows import MessageRow, NewEvent, OutboxRow, Waiting
from holdfast.domain.timers import ChatTimer


class OutboxStore(Protocol):
    """A part of `ports.store.Store`."""

    async def enqueue(self, row: OutboxRow, fingerprint: str, *, epoch: int | None = None) -> tuple[OutboxRow, bool]:
        """Accept a message. With a known idempotency key and the same fingerprint: the first row, and False.

        With the holder's current `epoch`, a due row of a chat in which no other is in flight, due or put back for a
        retry is stored as claimed already (`sending`, one attempt) and returned so: the caller sends it. With a stale
        epoch, in a busy chat, or before `send_at` it is `queued` like any other, and nothing is raised.

        Raises `IdempotencyConflict` (same key, other body), `DuplicateMessageId`, `SessionNotFound`.
        """
        ...

    async def accepted(self, name: str, key: str, fingerprint: str) -> OutboxRow | None:
        """The message that was accepted under an idempotency key, if any. Raises `IdempotencyConflict`."""
        ...

    async def claim_outbox(
        self,
        name: str,
        epoch: int,
        limit: int,
        *,
        known_only: bool = False,
        strangers_only: bool = False,
        new_chats: bool = True,
        paced: bool = False,
        flying: Collection[str] | None = None,
    ) -> list[OutboxRow]:
        """Take due rows for sending under this epoch: `queued` ones, and `sending` ones claimed under an older
        epoch (a crash left them in doubt). At most one per chat, the oldest; a chat with a row in flight waits; one
        whose deadline has passed is not taken. They become `sending`, `attempts` is raised.

        `known_only`: to groups, and to people who have written to us; `strangers_only`: to all others; `new_chats`:
        also to people with whom nothing was exchanged; `paced`: count them in `outbox_lately`. `flying`: the ids that
        are being sent now; a row claimed under this same epoch more than 15 s ago that is not among them was claimed by
        a call whose answer got lost, and is due again.
        """
        ...

    async def settle_outbox(
        self,
        name: str,
        epoch: int,
        id: str,
        state: str,
        *,
        error: int = 0,
        message: str = "",
        retry_at: float | None = None,
        in_doubt: bool = False,
        events: Sequence[NewEvent] = (),
        sent: MessageRow | None = None,
    ) -> OutboxRow | None:
        """Move a row forward (never back); `state="queued"` with `retry_at` puts it back for another try, `in_doubt` if
        this one may have reached WhatsApp. `sent` is stored as a message with it. None if the move would be backward
        or the row is unknown.
        """
        ...

    async def readdress_outbox(self, name: str, epoch: int, id: str, address: str, retry_at: float) -> None:
        """WhatsApp spells the chat of a message that is being sent as `address`: it is queued for that chat, and so is
        every open message of the chat as it was written. Later ones are accepted for that chat at once.
        """
        ...

    async def address_of(self, name: str, chat: str) -> str:
        """A chat's address as WhatsApp spells it, as far as that is known."""
        ...

    async def mark_seen(self, name: str, chat: str, ids: Sequence[str]) -> None:
        """These messages of a chat (at least one), and those before them, were marked as seen: they count as read."""
        ...

    async def chat_timers(self, name: str) -> list[ChatTimer]:
        """The timers of disappearing messages that are on."""
        ...

    async def expire_outbox(self) -> list[tuple[str, str]]:
        """End every message whose deadline has passed, with its event, whoever holds its session, if anybody: (session,
        id) of each. What is being sent just then is left to who sends it.
        """
        ...

    async def cancel_outbox(self, name: str, id: str) -> OutboxRow:
        """End a message that waits; one that was cancelled before stays so. Raises `MessageNotFound`, `TooLate`."""
        ...

    async def outbox_listing(
        self, name: str, states: Collection[str], limit: int, before: int | None = None, *, id: str | None = None
    ) -> list[Waiting]:
        """Messages in these states, newest first; `before` pages back by `seq`. `id`: that one only."""
        ...

    async def outbox_story(self, name: str, id: str) -> list[Step]:
        """Every state that a message was in, oldest first; empty for one that an older version sent, or an unknown."""
        ...

    async def outbox_lately(self, name: str, caps: Caps) -> Lately:
        """What counts against a session's limits."""
        ...

    async def outbox_get(self, name: str, id: str) -> OutboxRow | None:
        """One row by message id."""
        ...

    async def outbox_counts(self, name: str) -> dict[str, int]:
        """Rows by state, and `oldest` = age in whole seconds of the oldest that is not final."""
        ...
