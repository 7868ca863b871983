"""Delivers the event log to webhooks: in order, by a cursor that moves only after the receiver said yes.

A receiver that is down holds up its own queue only; after a restart delivery goes on where the cursor stands, so an
event comes at least once. The id of an event never changes, for whoever wants to drop repetitions.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import structlog

from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.pacing import backoff
from holdfast.domain.waha import waha_events
from holdfast.ports.clock import Clock
from holdfast.ports.store import EventRow, Json, Store

log = structlog.get_logger(__name__)

PAGE = 100
ATTEMPT_TIMEOUT = 30.0
RETRY_CAP = 300.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver. `events` holds WAHA's event names, or `*`; `key` signs the body with HMAC-SHA512."""

    url: str
    events: frozenset[str]
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """A name for the cursor that tells nothing of the URL, which may hold a secret."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Underway:
    """The event that one receiver is given now. `at`: when it was appended, in Unix seconds; `failing_since`: since
    when the receiver has refused it, on the boot clock.
    """

    receiver: str
    at: float
    failing_since: float | None = None


def webhooks_of(config: Json) -> list[Webhook]:
    """The receivers in a session's configuration, in WAHA's shape; those without a URL are left out."""
    return [
        Webhook(
            url=str(hook["url"]),
            events=frozenset(hook.get("events") or ["*"]),
            key=(hook.get("hmac") or {}).get("key"),
            headers={h["name"]: h["value"] for h in hook.get("customHeaders") or []},
        )
        for hook in config.get("webhooks") or []
        if hook.get("url")
    ]


class Delivery:
    """All webhooks of an instance. One worker per session and receiver, alive only while there is something."""

    def __init__(self, store: Store, clock: Clock, common: Sequence[Webhook], *, time_factor: float = 1.0) -> None:
        self._store = store
        self._clock = clock
        self._common = tuple(common)
        self._factor = time_factor
        self._http: aiohttp.ClientSession | None = None
        self._workers: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._again: set[tuple[str, str]] = set()
        self._hooks: dict[str, tuple[Webhook, ...]] = {}
        self._facts: dict[str, Json] = {}
        self.underway: dict[tuple[str, str], Underway] = {}
        """What is being delivered now, by session and receiver."""
        self.on_attempt: Callable[[bool, float], None] = lambda taken, age: None
        """Told of every attempt: whether the receiver took the event, and the event's age in seconds."""

    async def start(self) -> None:
        """Open the HTTP client."""
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT * self._factor),
            connector=aiohttp.TCPConnector(limit=200, limit_per_host=50),
            headers={"User-Agent": "Holdfast"},
        )

    async def stop(self) -> None:
        """Stop where the cursors stand; what was not confirmed comes again."""
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    async def configure(self, session: str, config: Json, facts: Json) -> None:
        """Take over a session's receivers; a new one starts at the log's present end. `facts` go into envelopes."""
        hooks = (*self._common, *webhooks_of(config))
        self._hooks[session] = tuple({hook.id: hook for hook in hooks}.values())
        self._facts[session] = facts
        for hook in self._hooks[session]:
            await self._store.cursor(_consumer(session, hook))
        self.wake(session)

    def facts(self, session: str, facts: Json) -> None:
        """The account or the metadata of a session is another."""
        self._facts[session] = facts

    def forget(self, session: str) -> None:
        """The session was deleted."""
        for hook in self._hooks.pop(session, ()):
            if worker := self._workers.pop((session, hook.id), None):
                worker.cancel()
        self._facts.pop(session, None)

    def wake(self, session: str) -> None:
        """Events of the session were appended."""
        for hook in self._hooks.get(session, ()):
            key = (session, hook.id)
            self._again.add(key)
            if key not in self._workers:
                self._workers[key] = asyncio.create_task(self._work(session, hook))

    def failing(self) -> dict[str, dict[str, float]]:
        """By session: the receivers that refuse what they are given, and for how many seconds each has."""
        now, found = self._clock.boot(), dict[str, dict[str, float]]()
        for (session, _), under in self.underway.items():
            if under.failing_since is not None:
                found.setdefault(session, {})[under.receiver] = now - under.failing_since
        return found

    # --- one receiver -------------------------------------------------------------------------------------------
    async def _work(self, session: str, hook: Webhook) -> None:
        key = (session, hook.id)
        try:
            while key in self._again:
                self._again.discard(key)
                await self._drain(session, hook)
        finally:
            self._workers.pop(key, None)
            self.underway.pop(key, None)

    async def _drain(self, session: str, hook: Webhook) -> None:
        consumer = _consumer(session, hook)
        failures = 0
        while True:
            try:
                cursor = await self._store.cursor(consumer)
                events = await self._store.events(cursor, PAGE, session)
                self.underway.pop((session, hook.id), None)
                if not events:
                    return
                for event in events:
                    await self._deliver(hook, event)
                    await self._store.advance(consumer, event.seq)
                failures = 0
            except StoreUnavailable as error:
                failures += 1
                log.error("event log not readable", session=session, action="webhook", code=error.code)
                await self._pause(failures)

    async def _deliver(self, hook: Webhook, event: EventRow) -> None:
        """Try until the receiver says yes."""
        for envelope in waha_events(event, self._facts.get(event.session, {})):
            if "*" not in hook.events and envelope["event"] not in hook.events:
                continue
            attempt = 0
            underway = self.underway[event.session, hook.id] = Underway(_receiver(hook), event.at)
            while (problem := await self.post(hook, event.id, envelope)) is not None:
                attempt += 1
                self.on_attempt(False, self._clock.now() - event.at)
                if underway.failing_since is None:
                    underway.failing_since = self._clock.boot()
                log.warning(
                    "webhook not delivered, tried again",
                    session=event.session,
                    action="webhook",
                    code="webhook_failed",
                    attempt=attempt,
                    detail=problem,
                )
                await self._pause(attempt)
            self.on_attempt(True, self._clock.now() - event.at)

    async def _pause(self, attempt: int) -> None:
        await self._clock.sleep(backoff(attempt, self._clock.random(), cap=RETRY_CAP) * self._factor)

    async def post(self, hook: Webhook, request_id: str, envelope: Json) -> str | None:
        """One attempt: None when the receiver answered 2xx, else what went wrong, without the URL."""
        assert self._http is not None
        body = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()
        headers = self._headers(hook, request_id, body)
        try:
            async with self._http.post(hook.url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return None if answer.status < 300 else f"the receiver answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return f"the receiver cannot be reached ({type(error).__name__})"

    def _headers(self, hook: Webhook, request_id: str, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "X-Webhook-Request-Id": request_id,
            "X-Webhook-Timestamp": str(int(self._clock.now() * 1000)),
            **hook.headers,
        }
        if hook.key:
            headers["X-Webhook-Hmac"] = hmac.new(hook.key.encode(), body, hashlib.sha512).hexdigest()
            headers["X-Webhook-Hmac-Algorithm"] = "sha512"
        return headers


def _receiver(hook: Webhook) -> str:
    """Its host, which tells a person which one it is; path and query may hold secrets."""
    parts = urlsplit(hook.url)
    return parts.netloc.rpartition("@")[2] or "?"


def _consumer(session: str, hook: Webhook) -> str:
    return f"webhook:{session}:{hook.id}"
