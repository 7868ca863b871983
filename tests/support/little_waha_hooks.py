"""How WAHA tells its webhooks: no order, no memory, 15 tries, and every hook by itself, global and of a session."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from waha.generated import models

from tests.support.waha_models import fits

Json = dict[str, Any]

PAYLOADS: dict[str, Any] = {
    "session.status": models.WASessionStatusBody,
    "message": models.WAMessage,
    "message.any": models.WAMessage,
    "message.ack": models.WAMessageAckBody,
    "message.reaction": models.WAMessageReaction,
}


@dataclass(frozen=True)
class Hook:
    """A receiver of events, of the whole WAHA or of one session."""

    url: str
    events: tuple[str, ...] = ("*",)
    key: str = ""

    @classmethod
    def of(cls, config: Json) -> Iterable[Hook]:
        """Those of a session's configuration."""
        for hook in config.get("webhooks") or []:
            yield cls(hook["url"], tuple(hook["events"]), str((hook.get("hmac") or {}).get("key") or ""))


@dataclass
class Hooks:
    """Sends what happened. Faults: `lose` and `twice` count events; while `held`, events wait for `release`."""

    common: list[Hook] = field(default_factory=list)
    attempts: int = 15
    delay: float = 0.1
    """Between two tries; WAHA's own is 2 s."""
    lose: int = 0
    twice: int = 0
    held: bool = False
    sent: list[Json] = field(default_factory=list)
    """Envelopes in the order in which they happened, told or not."""
    answers: list[tuple[str, int]] = field(default_factory=list)
    """(event id, status that the receiver gave) for every try; 0: not reached."""

    def __post_init__(self) -> None:
        self._waiting: list[tuple[Json, list[Hook]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None

    def tell(self, event: str, session: str, payload: Json, hooks: Iterable[Hook], facts: Json) -> None:
        """Something happened: every hook that wants it is told, in no order."""
        fits(PAYLOADS[event], payload)
        envelope = {
            "id": f"evt_{secrets.token_hex(13)}",
            "timestamp": int(time.time() * 1000),
            "event": event,
            "session": session,
            "payload": payload,
            **facts,
        }
        self.sent.append(envelope)
        wanted = [hook for hook in (*self.common, *hooks) if {"*", event} & set(hook.events)]
        if self.lose > 0:
            self.lose -= 1
            return
        if self.held:
            self._waiting.append((envelope, wanted))
            return
        self._send(envelope, wanted)
        if self.twice > 0:
            self.twice -= 1
            self._send(envelope, wanted)

    def release(self, *, backwards: bool = False) -> None:
        """Send what was held, each when its turn comes."""
        self.held, waiting = False, self._waiting
        self._waiting = []
        for envelope, wanted in reversed(waiting) if backwards else waiting:
            self._send(envelope, wanted)

    async def again(self, envelope: Json) -> None:
        """Tell an event once more to the common hooks, and wait until they took it."""
        await asyncio.gather(*(self._deliver(envelope, hook) for hook in self.common))

    def _send(self, envelope: Json, hooks: list[Hook]) -> None:
        for hook in hooks:
            task = asyncio.create_task(self._deliver(envelope, hook))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, envelope: Json, hook: Hook) -> None:
        body = json.dumps(envelope).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"WAHA/{envelope['environment']['version']}",
            "X-Webhook-Request-Id": secrets.token_hex(13),
            "X-Webhook-Timestamp": str(envelope["timestamp"]),
        }
        if hook.key:
            headers["X-Webhook-Hmac"] = hmac.new(hook.key.encode(), body, hashlib.sha512).hexdigest()
            headers["X-Webhook-Hmac-Algorithm"] = "sha512"
        for _ in range(self.attempts):
            status = await self._post(hook.url, body, headers)
            self.answers.append((str(envelope["id"]), status))
            if 200 <= status < 300:
                return
            await asyncio.sleep(self.delay)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        self._http = self._http or aiohttp.ClientSession()
        try:
            async with self._http.post(url, data=body, headers=headers) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def stop(self) -> None:
        """As when WAHA stops: what was not delivered is gone."""
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
