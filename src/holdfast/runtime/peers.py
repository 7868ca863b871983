"""Instances of one store speak to each other: live calls go to whoever holds the session, and hints spare waiting.

Requests are signed (`runtime.peer_signatures`). What is asked of a peer is answered by it alone, never passed on, so
there are no loops. Hints may be lost: polling is the guarantee.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

import structlog

from holdfast.domain.errors import BadRequest, HeldElsewhere, HoldfastError, from_code
from holdfast.domain.rows import Holder, Peer
from holdfast.ports.clock import Clock
from holdfast.ports.store import Store
from holdfast.runtime.peer_signatures import PeerSignatures

log = structlog.get_logger(__name__)

PATH = "/api/holdfast/peer"
HEADER = "X-Holdfast-Peer"
HINT_TIMEOUT = 2.0
GATHER = 0.01
"""Seconds in which sessions that are given up are told together."""


class Peers:
    """The other instances, by their addresses. `url` is our own: empty if others cannot reach us."""

    def __init__(self, store: Store, clock: Clock, *, instance: str, url: str) -> None:
        self._store = store
        self._clock = clock
        self.instance = instance
        self.url = url.rstrip("/")
        self._signatures = PeerSignatures(store, clock, instance, self.url)
        self._http: Any = None
        self._hints: set[asyncio.Task[None]] = set()
        self._offered: list[str] = []
        self.reached: dict[str, bool] = {}
        """By instance: whether it answers at its address; our own too, as the others tell."""

    @property
    def public_key(self) -> str:
        """What other instances verify this one's requests with."""
        return self._signatures.public_key

    async def is_signed(self, header: str, body: bytes) -> bool:
        """Whether an instance of this store sent that body to this one lately."""
        return await self._signatures.verify(header, body)

    async def stop(self) -> None:
        """Let hints under way arrive, then close the HTTP client."""
        for _ in range(2):  # an offer ends in hints
            if self._hints:
                await asyncio.wait(self._hints, timeout=HINT_TIMEOUT)
            await asyncio.sleep(0)  # those that are done take themselves off the list
        if self._http is not None:
            await self._http.close()

    # --- asking -------------------------------------------------------------------------------------------------
    async def ask(self, holder: Holder, method: str, args: Mapping[str, Any], *, timeout: float) -> Any:
        """Ask the instance that holds a session. Raises what it raises there, `HeldElsewhere` if it cannot be asked."""
        return await self._post(holder.url, method, {"session": holder.session, **args}, timeout)

    def hint(self, url: str, method: str, args: Mapping[str, Any]) -> None:
        """Tell a peer something that it would find out by itself, later."""
        self._spawn(self._hint(url, method, args))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._hints.add(task)
        task.add_done_callback(self._hints.discard)

    def offer(self, names: Iterable[str], peers: Iterable[Peer]) -> None:
        """Sessions were given up: tell those who hold least, so that they are claimed at once."""
        first = not self._offered
        self._offered.extend(names)
        if first:
            self._spawn(self._offer(list(peers)))

    async def _offer(self, peers: list[Peer]) -> None:
        await self._clock.sleep(GATHER)
        names, self._offered = self._offered, []
        others = {peer.url: peer.held for peer in peers if peer.id != self.instance and peer.url}
        shares: dict[str, list[str]] = {}
        for name in names:
            if others:
                least = min(others, key=others.__getitem__)
                others[least] += 1
                shares.setdefault(least, []).append(name)
        for url, share in shares.items():
            self.hint(url, "offer", {"names": share})

    # --- who can be reached -------------------------------------------------------------------------------------
    async def greet(self, peers: Iterable[Peer]) -> None:
        """Try the addresses of these, and hear from each whether it reaches ours. Changes are logged."""
        others = [peer for peer in peers if peer.id != self.instance and peer.url]
        answers = await asyncio.gather(*(self._greet(peer) for peer in others))
        before, self.reached = self.reached, {peer.id: there for peer, (there, _) in zip(others, answers, strict=True)}
        for peer in others:
            if not self.reached[peer.id] and before.get(peer.id, True):
                log.warning(
                    "another instance cannot be reached at its address: set HOLDFAST_ADVERTISE_URL there, or finish "
                    "the deploy if it runs an earlier version",
                    action="peer", code="unreachable", instance=peer.id, url=peer.url,
                )  # fmt: skip
        heard = [seen for _, seen in answers if seen is not None]
        if not heard:
            return
        self.reached[self.instance] = all(heard)
        if not all(heard) and before.get(self.instance, True):
            log.warning(
                "other instances cannot reach this one: what they are asked of its sessions' QR codes, presence and "
                "the like gets 503; set HOLDFAST_ADVERTISE_URL to where they can",
                action="peer", code="unreachable", url=self.url,
            )  # fmt: skip

    async def _greet(self, peer: Peer) -> tuple[bool, bool | None]:
        """Whether it is there, and whether it reaches us, if it says so."""
        try:
            said = await self._post(peer.url, "greet", {"instance": self.instance}, HINT_TIMEOUT)
        except BadRequest:  # an older version, which is there
            return True, None
        except HoldfastError:
            return False, None
        if not isinstance(said, dict) or said.get("instance") != peer.id:  # another one answers there
            return False, None
        return True, said.get("reached")

    def greeted(self, by: str) -> dict[str, Any]:
        """The answer to a peer's greeting: who we are, and whether we reach it; None if we have not tried."""
        return {"instance": self.instance, "reached": self.reached.get(by)}

    async def _hint(self, url: str, method: str, args: Mapping[str, Any]) -> None:
        try:
            await self._post(url, method, args, HINT_TIMEOUT)
        except HoldfastError as error:
            log.info("hint not taken", action="peer", code=error.code, method=method)

    async def _post(self, url: str, method: str, args: Mapping[str, Any], timeout: float) -> Any:
        if not url:
            raise HeldElsewhere
        import aiohttp  # noqa: PLC0415 - an instance alone never needs it

        if self._http is None:
            self._http = aiohttp.ClientSession()
        body = json.dumps({"method": method, "args": dict(args)}).encode()
        headers = {HEADER: self._signatures.sign(url, body), "Content-Type": "application/json"}
        limit = aiohttp.ClientTimeout(total=timeout, connect=HINT_TIMEOUT)
        try:
            async with self._http.post(
                url + PATH, data=body, headers=headers, timeout=limit, allow_redirects=False
            ) as answer:
                said = await answer.json(content_type=None)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("peer not reached", action="peer", code="unreachable", error=type(error).__name__)
            raise HeldElsewhere from error
        if status >= 300 or not isinstance(said, dict):
            raise _error(said)
        return said.get("value")


def _error(said: Any) -> HoldfastError:
    if not isinstance(said, dict) or "code" not in said:
        return HeldElsewhere()
    facts = said.get("facts")
    return from_code(str(said["code"]), str(said.get("error", "")), facts if isinstance(facts, dict) else {})
