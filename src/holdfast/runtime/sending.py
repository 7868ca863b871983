"""The sending half of the messages in `ports.gateway.Gateway`: accepted durably, awaited, told of, cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from holdfast.crash import point
from holdfast.domain import outbox
from holdfast.domain import state as s
from holdfast.domain.caps import Caps, allowance
from holdfast.domain.errors import (
    HeldElsewhere,
    HoldfastError,
    InvalidMessage,
    InvalidTime,
    MediaUnavailable,
    MessageNotFound,
    StoreUnavailable,
    WrongStatus,
)
from holdfast.domain.recipients import recipient
from holdfast.domain.terms import Terms, own
from holdfast.domain.waiting import Circumstances, why
from holdfast.ports.gateway import Queued, SessionView, Story
from holdfast.ports.media import Link, Upload
from holdfast.ports.store import OutboxRow
from holdfast.runtime.filing import Filing
from holdfast.runtime.sender import Sender

TEXT_LIMIT = 65_536
PEER_TIMEOUT = 5.0
"""Seconds beyond its own wait that another instance may take to answer."""
CLOCKS_DIFFER = 1.0
"""Seconds by which the database's clock may differ from ours without being minded."""
CLOCKS_KEPT = 10.0
"""Seconds for which their difference is remembered."""


class Sending(Filing):
    """See the port for outcomes and errors."""

    _clocks = 0.0, 0.0
    """Until when (boot clock) it is known how far the database's clock is ahead of ours, and that, in seconds."""

    async def send(
        self,
        name: str,
        chat: str,
        content: Mapping[str, Any],
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        terms: Terms | None = None,
        file: Upload | Link | None = None,
        wait: float = 30.0,
    ) -> OutboxRow:
        """See the port."""
        try:
            return await self._send(name, chat, content, file, id=id, key=idempotency_key, terms=terms, wait=wait)
        finally:
            if self._media is not None and isinstance(file, Upload):
                self._media.discard(file)

    async def _send(
        self,
        name: str,
        chat: str,
        content: Mapping[str, Any],
        file: Upload | Link | None,
        *,
        id: str | None,
        key: str | None,
        terms: Terms | None,
        wait: float,
    ) -> OutboxRow:
        terms = terms or Terms()
        if file is not None:
            content = {**content, "source": file.identity, "mimetype": file.mimetype, "filename": file.filename}
        view = await self.session(name)
        jid = recipient(chat)
        _check_content(content)
        fingerprint = _fingerprint(jid, content, id, terms)
        try:
            _check_status(view, terms)
            draft = await self._draft(view, jid, content, terms)
        except (WrongStatus, InvalidTime):
            if key and (row := await self._store.accepted(view.name, key, fingerprint)):
                return row
            raise
        if file is not None and key and (row := await self._store.accepted(view.name, key, fingerprint)):
            return await self._settled(view.name, row, wait)  # without fetching its file once more
        if not _can_go(view) or draft.send_at:
            wait = 0.0
        draft = replace(draft, id=id or draft.id, idempotency_key=key)
        sender = self._sender_of(view.name)
        row, fresh = await self._accept(draft, fingerprint, file, sender, view.config)
        point("send.accepted")
        if sender is not None and fresh and row.state == "sending":
            return await self._answered(sender.fly(row), row, wait)
        if sender is not None:
            sender.wake()
            return await self._settled(view.name, row, wait)
        return await self._settled_elsewhere(view, row, wait)

    async def _accept(
        self,
        draft: OutboxRow,
        fingerprint: str,
        file: Upload | Link | None,
        sender: Sender | None,
        config: Mapping[str, Any],
    ) -> tuple[OutboxRow, bool]:
        """Store it, its file first; whether it is a new one."""
        if file is not None:
            if self._media is None:
                raise MediaUnavailable("This instance keeps no files.")
            draft = await self._media.attach(draft, file, config)
        fresh = False
        try:
            epoch = sender.claim_epoch() if sender and not draft.send_at else None
            row, fresh = await self._store.enqueue(draft, fingerprint, epoch=epoch)
        except StoreUnavailable:
            fresh = True  # perhaps: then its file is needed
            raise
        finally:
            if self._media is not None and not fresh:
                await self._media.release(draft.content)
        return row, fresh

    async def _settled_elsewhere(self, view: SessionView, row: OutboxRow, wait: float) -> OutboxRow:
        """The holder sends it and says so at once; should it not be reached, the store tells a little later."""
        if self._peers is not None and wait > 0 and view.owner not in (None, self.instance):
            holder = (await self._store.holders([view.name])).get(view.name)
            if holder is not None and holder.valid and holder.url:
                with contextlib.suppress(HoldfastError):
                    args = {"id": row.id, "wait": wait}
                    await self._peers.ask(holder, "settled", args, timeout=wait + PEER_TIMEOUT)
                    wait = 0.0
        return await self._settled(view.name, row, wait)

    async def settled(self, name: str, id: str, wait: float) -> str:
        """A peer stored a message for a session that we hold: send it, and say what became of it within `wait`."""
        if (sender := self._sender_of(name)) is None:
            raise HeldElsewhere
        sender.wake()
        row = await self.outgoing(name, id)
        return (await self._settled(name, row, wait)).state

    async def _answered(self, flight: asyncio.Future[OutboxRow | None], row: OutboxRow, wait: float) -> OutboxRow:
        """WhatsApp's answer to the first attempt; without one, whatever becomes of the row in the time that is left."""
        end = self._clock.boot() + wait
        done, _ = await asyncio.wait({flight}, timeout=wait)
        if done and (sent := flight.result()) is not None:
            return sent
        return await self._settled(row.session, row, max(0.0, end - self._clock.boot()))

    async def _draft(self, view: SessionView, jid: str, content: Mapping[str, Any], terms: Terms) -> OutboxRow:
        """The row to be accepted. Raises `InvalidTime`."""
        now = self._clock.now()
        said = own(view.config).get("expires_in")
        lasts = self._send_deadline if said is None else float(said) * self._factor
        send_at, expires_at = terms.instants(now, lasts)
        ahead = await self._ahead(look=terms.timed)
        if abs(ahead) > CLOCKS_DIFFER:  # due and ended by the database's clock, given by ours
            send_at, expires_at = send_at and send_at + ahead, expires_at + ahead
        return OutboxRow(
            id=f"3EB0{self._clock.token(9).hex().upper()}",
            session=view.name,
            chat=jid,
            content=dict(content),
            state="queued",
            attempts=0,
            created_at=now,
            updated_at=now,
            expires_at=expires_at,
            send_at=send_at,
            error=0,
            message="",
        )

    async def _ahead(self, *, look: bool) -> float:
        """By how many seconds the database's clock is ahead of ours: as it was lately, unless it is to be looked at."""
        until, ahead = self._clocks
        if look or self._clock.boot() >= until:
            ahead = await self._store.now() - self._clock.now()
            self._clocks = self._clock.boot() + CLOCKS_KEPT, ahead
        return ahead

    async def _settled(self, name: str, row: OutboxRow, wait: float) -> OutboxRow:
        latest = row

        async def over() -> bool:
            nonlocal latest
            found = await self._store.outbox_get(name, row.id)
            latest = found or latest
            return latest.state in outbox.ACKNOWLEDGED or latest.state in outbox.FINAL

        await self._until(f"message:{name}:{row.id}", over, wait)
        return latest

    async def outgoing(self, name: str, id: str) -> OutboxRow:
        """See the port."""
        row = await self._store.outbox_get((await self._row(name)).name, id)
        if row is None:
            raise MessageNotFound(f"No message '{id}' was accepted for sending in this session.")
        return row

    # --- what waits ---------------------------------------------------------------------------------------------
    async def story(self, name: str, id: str) -> Story:
        """See the port."""
        row = await self.outgoing(name, id)
        steps = await self._store.outbox_story(row.session, row.id)
        if not steps:  # sent by a version that told none
            steps = [outbox.Step(row.state, row.updated_at, row.attempts, row.error, row.message)]
        found = await self._store.outbox_listing(row.session, outbox.WAITING, 1, id=row.id)
        return Story(row, steps, why(found[0], await self._circumstances(row.session)) if found else None)

    async def queue(
        self, name: str, states: Collection[str] = (), limit: int = 100, before: int | None = None
    ) -> list[Queued]:
        """See the port."""
        row = await self._row(name)
        found = await self._store.outbox_listing(row.name, states or outbox.WAITING, limit, before)
        at = await self._circumstances(row.name)
        return [Queued(one.row, why(one, at)) for one in found]

    async def _circumstances(self, name: str) -> Circumstances:
        view = await self.session(name)
        actor = self._supervisor.actors.get(name)
        state = actor.state if actor is not None else s.State.from_json((await self._row(name)).state)
        caps, restricted = Caps.of(view.config, self._factor), state.restricted_until
        lately = None if caps is None else await self._store.outbox_lately(name, caps)
        return Circumstances(
            await self._store.now() if lately is None else lately.now,
            view.status == "WORKING",
            view.message,
            restricted if restricted is not None and restricted > self._clock.now() else None,
            None if caps is None or lately is None else allowance(caps, lately),
        )

    async def cancel(self, name: str, id: str) -> OutboxRow:
        """See the port."""
        row = await self._store.cancel_outbox((await self._row(name)).name, id)
        self._hub.message_settled(row.session, row.id)
        self._hub.events_appended(row.session)
        if (sender := self._sender_of(row.session)) is not None:
            sender.wake()
        return row


def _fingerprint(jid: str, content: Mapping[str, Any], id: str | None, terms: Terms) -> str:
    """What makes two requests under one Idempotency-Key the same."""
    said = jid, sorted(content.items(), key=lambda item: item[0]), id
    return repr(said if terms == Terms() else (*said, terms))


def _can_go(view: SessionView) -> bool:
    """Whether a message may be on its way soon: the session works, or heals by itself."""
    return view.linked and view.status not in ("STOPPED", "SCAN_QR_CODE")


def _check_status(view: SessionView, terms: Terms) -> None:
    """Raises `WrongStatus` for a session that needs a person first, unless the message may wait for that."""
    if _can_go(view) or (terms.queue if terms.queue is not None else own(view.config).get("queue")):
        return
    raise WrongStatus(
        f"Session status is not as expected. {view.message}",
        session=view.name,
        status=view.status,
        expected=["WORKING"],
    )


def _check_content(content: Mapping[str, Any]) -> None:
    text = content.get("text")
    if content.get("type", "text") != "text":
        return
    if not isinstance(text, str) or not text.strip():
        raise InvalidMessage("The text is empty.")
    if len(text) > TEXT_LIMIT:
        raise InvalidMessage(f"The text has {len(text):,} characters; WhatsApp takes at most {TEXT_LIMIT:,}.")
