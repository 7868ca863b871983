"""Webhooks: what a receiver is, how what it gets is signed, and one attempt over HTTP.

TLS is verified, redirects are not followed, and each address is judged (`guarded`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from holdfast.domain.delivery import Refusal, Retries
from holdfast.domain.errors import InvalidWebhook
from holdfast.domain.receivers import HOOK, Reach, check_url, receiver
from holdfast.ports.clock import Clock
from holdfast.ports.store import Json
from holdfast.runtime.guarded import Clients, unreached

if TYPE_CHECKING:
    import aiohttp

AT_ONE_HOST = 64
"""Requests to one host at a time, over all sessions: a host that hangs holds no more than that."""
ANSWER_READ = 65_536
"""Bytes of an answer that are read, so that its connection can be used again."""

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver. `events` holds WAHA's event names, or `*`; `key` signs the body. `trusted`: the operator named it, so
    its address may be private.
    """

    url: str
    events: frozenset[str]
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retries: Retries | None = None
    trusted: bool = False

    @property
    def id(self) -> str:
        """A name for the consumer that tells nothing of the URL, which may hold a secret."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def receiver(self) -> str:
        """Its host."""
        return receiver(self.url)

    @property
    def settings(self) -> str:
        """Another text whenever anything about it is another."""
        facts = (sorted(self.events), self.key, sorted(self.headers.items()), self.retries, self.trusted)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def wants(self, event: str) -> bool:
        """Whether it subscribed to events of that name."""
        return "*" in self.events or event in self.events


def webhooks_of(config: Json) -> list[Webhook]:
    """The receivers in a session's configuration, in WAHA's shape; those without a URL are left out."""
    return [_webhook(hook) for hook in config.get("webhooks") or [] if hook.get("url")]


def _webhook(hook: Json) -> Webhook:
    try:
        retries = Retries.of(hook.get("retries"))
    except ValueError:  # stored by a version that did not look
        retries = None
    return Webhook(
        url=str(hook["url"]),
        events=frozenset(hook.get("events") or ["*"]),
        key=_key(hook),
        headers={h["name"]: h["value"] for h in hook.get("customHeaders") or []},
        retries=retries,
    )


def _key(hook: Json) -> str | None:
    """What signs its events; None for a blank one."""
    key = (hook.get("hmac") or {}).get("key")
    return key if key and key.strip() else None


def check_webhooks(config: Json, reach: Reach) -> None:
    """Raises `InvalidWebhook` for one that can never be called."""
    for hook in config.get("webhooks") or []:
        check_url(str(hook.get("url", "")), reach)
        try:
            Retries.of(hook.get("retries"))
        except ValueError as error:
            raise InvalidWebhook(f"A webhook's {error}.") from error
        for header in hook.get("customHeaders") or []:
            name, value = str(header["name"]), str(header["value"])
            if not _HEADER.fullmatch(name) or name.lower() in _OURS or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
                raise InvalidWebhook(f"A webhook cannot be sent with the header {name!r}, or not with that value.")


def signed(key: str, body: bytes, at: int) -> dict[str, str]:
    """WAHA's signature over the body, and one over `at` (Unix seconds) and the body, against replay."""
    fresh = hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "X-Webhook-Hmac": hmac.new(key.encode(), body, hashlib.sha512).hexdigest(),
        "X-Webhook-Hmac-Algorithm": "sha512",
        "X-Holdfast-Signature": f"t={at},v1={fresh}",
    }


class Poster:
    """One attempt after the other, to any receiver. `timeout`: seconds until an answer must be complete."""

    def __init__(self, clock: Clock, reach: Reach, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._clients = Clients(reach, timeout)
        self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONE_HOST))

    async def stop(self) -> None:
        """Close the HTTP clients."""
        await self._clients.stop()

    async def post(self, hook: Webhook, request_id: str, envelope: Json) -> Refusal | None:
        """None when the receiver answered 2xx, else why not, without the URL."""
        import aiohttp  # noqa: PLC0415 - see `guarded`

        body = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
        host = urlsplit(hook.url).hostname or ""
        client = self._clients.to(host, trusted=hook.trusted)
        async with self._gates[host]:
            headers = self._headers(hook, request_id, body)
            try:
                async with client.post(hook.url, data=body, headers=headers, allow_redirects=False) as answer:
                    await _read(answer)
                    return None if answer.status < 300 else self._refusal(answer)
            except TimeoutError:
                return Refusal(f"the receiver did not answer in {self._timeout:g} s")
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return Refusal(unreached(error, "the receiver", HOOK.setting))

    def _headers(self, hook: Webhook, request_id: str, body: bytes) -> dict[str, str]:
        now = self._clock.now()
        headers = {
            "Content-Type": "application/json",
            "X-Webhook-Request-Id": request_id,
            "X-Webhook-Timestamp": str(int(now * 1000)),
            **hook.headers,
        }
        return {**headers, **signed(hook.key, body, int(now))} if hook.key else headers

    def _refusal(self, answer: aiohttp.ClientResponse) -> Refusal:
        said = f"the receiver answered {answer.status}"
        if answer.status < 400:
            said += ", and redirects are not followed"
        return Refusal(said, answer.status, self._retry_after(answer.headers.get("Retry-After", "")))

    def _retry_after(self, said: str) -> float | None:
        if said.strip().isdigit():
            return float(said)
        try:
            return max(0.0, parsedate_to_datetime(said).timestamp() - self._clock.now())
        except (ValueError, TypeError, OverflowError):
            return None


async def _read(answer: aiohttp.ClientResponse) -> None:
    size = 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > ANSWER_READ:
            answer.close()
            return
