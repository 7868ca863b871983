"""Sends one message through WAHA, and waits until WhatsApp's server has acknowledged it.

WAHA answers a send before WhatsApp has: the acknowledgement comes by webhook, or is asked for. A send in doubt is never
repeated before WAHA was asked whether it has the message: by its id, or, where WAHA chooses the ids, by its text.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import structlog

from holdfast.domain.errors import InvalidMessage, NotConnected, SendInDoubt
from holdfast.domain.messages import message_to_json
from holdfast.domain.remote_messages import ack_of
from holdfast.domain.rows import EngineWrite
from holdfast.domain.waha import message_id, plain_message_id, to_waha_id
from holdfast.engines.waha.client import WahaClient
from holdfast.engines.waha.errors import WahaBusy, WahaRefused, WahaUnavailable
from holdfast.engines.waha.link import Link
from holdfast.engines.waha.looks import Looks
from holdfast.ports import engine as port
from holdfast.ports.clock import Clock
from holdfast.ports.store import Store

log = structlog.get_logger(__name__)

UNSAID = -1
"""The error of a message that WhatsApp refused, where WAHA does not say why."""
ALIAS = "waha-id"
"""Kind of the keys that say which of our messages WAHA sent under an id of its own."""
ASK_EVERY = 2.0
"""Seconds between two questions for an acknowledgement of which nothing was heard."""
Json = Mapping[str, Any]


class Sending:
    """The sends of one connection."""

    def __init__(
        self,
        link: Link,
        client: WahaClient,
        looks: Looks,
        store: Store,
        clock: Clock,
        *,
        wait: float,
        factor: float,
    ) -> None:
        self._link, self._client, self._looks = link, client, looks
        self._store, self._clock = store, clock
        self._ack_wait, self._ask_every = wait * factor, ASK_EVERY * factor
        self._acks: dict[str, asyncio.Future[port.ServerAck]] = {}
        self._posting: set[asyncio.Future[None]] = set()
        """Posts whose id WAHA chooses, and whose answer is not there yet."""
        self._doubtful: dict[str, Json] = {}
        """Bodies of posts without an answer, by our id."""

    # --- out ----------------------------------------------------------------------------------------------------
    async def send(self, message: port.OutgoingMessage) -> port.ServerAck:
        """See `ports.engine.Engine.send`."""
        with self._expecting(message.id) as answered:
            told = await self._found(message) if message.attempts > 1 else None
            if told is None:
                told = await self._post(message)
            if (ack := _server_ack(told, self._clock.now())) is not None:
                return ack
            return await self._acknowledged(message, answered, str(told.get("id") or message.id))

    @contextlib.contextmanager
    def _expecting(self, id: str) -> Iterator[asyncio.Future[port.ServerAck]]:
        answered: asyncio.Future[port.ServerAck] = asyncio.get_running_loop().create_future()
        self._acks[id] = answered
        try:
            yield answered
        finally:
            if self._acks.get(id) is answered:
                del self._acks[id]

    async def _post(self, message: port.OutgoingMessage) -> Json:
        body = await self._body(message)
        posted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._looks.chooses_ids:
            self._posting.add(posted)
        try:
            told = await self._client.post("/api/sendText", body)
            told = told if isinstance(told, Mapping) else {}
            await self._note_alias(message, told)
            return told
        except WahaUnavailable as error:
            if error.asked:
                self._doubtful[message.id] = body
            raise (SendInDoubt if error.asked else NotConnected)(error.sentence) from error
        except WahaBusy as error:
            raise NotConnected(error.sentence) from error
        except WahaRefused as error:
            return self._refused(error)
        finally:
            self._posting.discard(posted)
            posted.set_result(None)

    def _refused(self, error: WahaRefused) -> Json:
        """WhatsApp's refusal as an answer, where that is what it was; else raises."""
        body = error.body if isinstance(error.body, Mapping) else {}
        if error.not_working:
            self._link.lost(not_working(body), error.sentence)
            raise NotConnected(error.sentence) from error
        if error.status in (401, 403, 404) or (error.status == 422 and "does not exist" in str(body.get("error"))):
            self._looks.now()
            raise NotConnected(error.sentence) from error
        if error.status in (408, 409, 425, 429):  # it may have it already, or takes it later
            raise SendInDoubt(error.sentence) from error
        if isinstance(body.get("errorCode"), int) and body["errorCode"]:
            return {"fromMe": True, "ack": -1, "error": {"code": body["errorCode"]}}
        raise InvalidMessage(error.sentence) from error

    async def _body(self, message: port.OutgoingMessage) -> dict[str, Any]:
        content = message.content
        if content.get("type", "text") != "text":
            raise InvalidMessage("Sessions on a WAHA server send text only.")
        body: dict[str, Any] = {
            "session": self._link.name,
            "chatId": to_waha_id(message.chat),
            "text": content["text"],
            "id": message.id,
        }
        if content.get("quoted_id"):
            row = await self._store.message(self._link.name, str(content["quoted_id"]))
            body["reply_to"] = message_id(message_to_json(row)) if row else str(content["quoted_id"])
        if content.get("mentions"):
            body["mentions"] = [to_waha_id(str(jid)) for jid in content["mentions"]]
        if content.get("mention_all"):
            body["mentions"] = ["all"]
        if "link_preview" in content:
            body["linkPreview"] = bool(content["link_preview"])
        return body

    async def _note_alias(self, message: port.OutgoingMessage, told: Json) -> None:
        """WAHA gave it another id: note which, so that its acknowledgements find our message."""
        theirs = plain_message_id(str(told.get("id") or ""))
        if theirs and theirs != message.id:
            await self._note(theirs, message.id)

    async def _note(self, theirs: str, ours: str) -> None:
        write = EngineWrite(keys={(ALIAS, theirs): ours.encode()})
        await self._store.write_engine(self._link.name, self._link.grant.epoch, write)

    # --- in doubt -------------------------------------------------------------------------------------------------
    async def _found(self, message: port.OutgoingMessage) -> Json | None:
        """What WAHA has of a message that may have been sent; None if it has nothing."""
        chat = to_waha_id(message.chat)
        try:
            if self._looks.chooses_ids:
                return await self._link.history.message(chat, f"true_{chat}_{message.id}")
            return await self._alike(chat, message)
        except WahaRefused as error:
            if error.status == 404:
                return None
            if error.not_working:
                self._link.lost(not_working(error.body), error.sentence)
            raise NotConnected(error.sentence) from error
        except (WahaUnavailable, WahaBusy) as error:
            raise SendInDoubt(error.sentence) from error

    async def _alike(self, chat: str, message: port.OutgoingMessage) -> Json | None:
        """One with the same text that belongs to no other message of ours, of the last day."""
        oldest = self._clock.now() - 86_400.0
        for found in await self._link.history.own_lately(chat):
            theirs = plain_message_id(str(found.get("id") or ""))
            if found.get("body") != message.content.get("text") or float(found.get("timestamp") or 0) < oldest:
                continue
            unclaimed = await self.ours(theirs) in (theirs, message.id)
            if unclaimed and await self._store.message(self._link.name, theirs) is None:
                await self._note_alias(message, found)
                return found
        return None

    # --- acknowledged -----------------------------------------------------------------------------------------------
    async def _acknowledged(
        self, message: port.OutgoingMessage, answered: asyncio.Future[port.ServerAck], serialized: str
    ) -> port.ServerAck:
        deadline = self._clock.boot() + self._ack_wait
        chat, id_ = to_waha_id(message.chat), serialized
        while (left := deadline - self._clock.boot()) > 0:
            done, _ = await asyncio.wait({answered}, timeout=min(left, self._ask_every))
            if done:
                return answered.result()
            with contextlib.suppress(WahaUnavailable, WahaBusy, WahaRefused):
                found = await self._link.history.message(chat, id_)
                if found is not None and (ack := _server_ack(found, self._clock.now())) is not None:
                    return ack
        raise SendInDoubt("WhatsApp did not acknowledge the message in time; WAHA is asked again what became of it.")

    def heard(self, id: str, payload: Json) -> None:
        """An acknowledgement came by webhook; `id` is ours."""
        answered = self._acks.get(id)
        if answered is not None and not answered.done():
            ack = _server_ack(payload, self._clock.now())
            if ack is not None:
                answered.set_result(ack)

    async def ours(self, theirs: str) -> str:
        """Our id of a message that WAHA knows under `theirs`."""
        found = (await self._store.read_keys(self._link.name, [(ALIAS, theirs)])).get((ALIAS, theirs))
        return found.decode() if found else theirs

    async def claim(self, payload: Json) -> None:
        """WAHA tells of a message that its API sent. It may be one whose post was never answered: note under which id
        it went out, so that it is neither repeated nor shown twice.
        """
        await self.posted()
        theirs, to = plain_message_id(str(payload.get("id") or "")), str(payload.get("to") or "")
        for id_, body in self._doubtful.items():
            if body["text"] == payload.get("body") and (to == body["chatId"] or to.endswith("@lid")):
                del self._doubtful[id_]
                if theirs != id_:
                    await self._note(theirs, id_)
                return

    async def posted(self) -> None:
        """Wait for the answers that say which ids WAHA chose, so that no message of ours is taken for another's."""
        if self._posting:
            await asyncio.wait(list(self._posting))


def not_working(body: object) -> str:
    """The tag of a connection whose session WAHA says is not WORKING."""
    status = body.get("status") if isinstance(body, Mapping) else ""
    return {"FAILED": "waha_failed", "STOPPED": "waha_stopped", "SCAN_QR_CODE": "waha_unlinked"}.get(str(status), "")


def _server_ack(payload: Json, now: float) -> port.ServerAck | None:
    """What a message's state at WAHA means; None while WhatsApp has not acknowledged it."""
    _, level = ack_of({**payload, "fromMe": True})
    if level >= 1:
        return port.ServerAck(0, float(payload.get("timestamp") or 0) or now)
    if level == -1:
        error = payload.get("error")
        code = error.get("code") if isinstance(error, Mapping) else None
        return port.ServerAck(code if isinstance(code, int) and code else UNSAID, now)
    return None
