"""The phones' place in the server: each is device 0 of its account, always online, fed one stanza at a time."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from wasim.accounts import Account, Device
from wasim.hub import Hub
from wasim.ports import PhoneNetwork
from wasim.stanzas import dispatch
from wasim.wire.nodes import Node

logger = logging.getLogger(__name__)

PhoneFactory = Callable[[str, str, PhoneNetwork], Any]
"""Makes a phone from its account's phone address, LID address and network."""


class PhoneLink:
    """The server's way to a phone: an inbox and the task that feeds the phone from it."""

    def __init__(self, hub: Hub, device: Device) -> None:
        self.live = True
        self.deaf = False
        self.phone: Any = None
        self._hub = hub
        self._device = device
        self._inbox: deque[Node] = deque()
        self._feeding: asyncio.Task[None] | None = None
        self.replies: dict[str, asyncio.Future[Node]] = {}

    def send(self, node: Node) -> None:
        """Hand a stanza to the phone: a reply to who asked, the rest to the inbox."""
        waiter = self.replies.pop(node.attrs.get("id", ""), None) if node.tag == "iq" else None
        if waiter is not None:
            if not waiter.done():
                waiter.set_result(node)
            return
        self._inbox.append(node)
        if self._feeding is None:
            self._feeding = asyncio.get_running_loop().create_task(self._feed())

    async def _feed(self) -> None:
        while self._inbox:
            node = self._inbox.popleft()
            try:
                await self.phone.on_node(node)
            except Exception as error:  # a phone's fault must not stop the server; it is in the log and in the stats
                logger.exception("the phone failed on <%s>", node.tag)
                self._hub.journal.note(
                    "phone-failed", jid=str(self._device.pn), tag=node.tag, id=node.attrs.get("id"),
                    reason=f"{type(error).__name__}: {error}",
                )  # fmt: skip
            if node.tag in ("notification", "receipt"):
                self._take(node)
            self._hub.state.commit()
        self._feeding = None

    def _take(self, node: Node) -> None:
        """What the phone has seen needs no ack of its own."""
        for key, kept in list(self._device.queue.items()):
            if kept is node or (kept.tag == node.tag and kept.attrs.get("id") == node.attrs.get("id")):
                self._hub.accounts.dequeue(self._device, key)
                return

    def end(self, node: Node | None, reason: str) -> None:
        """Phones are not disconnected."""

    def abort(self, reason: str) -> None:
        """Phones are not disconnected."""

    async def close(self) -> None:
        """Stop feeding the phone."""
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)


class Network:
    """A phone's way to the server (``ports.PhoneNetwork``)."""

    def __init__(self, hub: Hub, device: Device, link: PhoneLink) -> None:
        self._hub = hub
        self._device = device
        self._link = link

    @property
    def rng(self) -> random.Random:
        """Give the server's randomness."""
        return self._hub.rng

    @property
    def media_tls(self) -> ssl.SSLContext | None:
        """Give what the media server is spoken to with."""
        return self._hub.media_tls

    def now(self) -> float:
        """Give the server's time in seconds since 1970."""
        return self._hub.now()

    def load(self) -> dict[str, Any]:
        """Give what the phone stored."""
        prefix = f"{self._device.phone}|"
        return {key.removeprefix(prefix): value for key, value in self._hub.state.load("phone", prefix)}

    def store(self, name: str, value: Any) -> None:
        """Keep one fact of the phone; None removes it."""
        key = f"{self._device.phone}|{name}"
        if value is None:
            self._hub.state.delete("phone", key)
        else:
            self._hub.state.put("phone", key, value)

    async def send(self, node: Node) -> None:
        """Handle a stanza as if it came from a socket."""
        dispatch(self._hub, self._device, node)

    async def query(self, node: Node) -> Node:
        """Handle an iq and give the reply."""
        stanza_id = node.attrs.setdefault("id", self._hub.stanza_id())
        waiter: asyncio.Future[Node] = asyncio.get_running_loop().create_future()
        self._link.replies[stanza_id] = waiter
        try:
            dispatch(self._hub, self._device, node)
            return await waiter
        finally:
            self._link.replies.pop(stanza_id, None)


class PhoneBook:
    """All phones that exist."""

    def __init__(self, hub: Hub, factory: PhoneFactory) -> None:
        self._hub = hub
        self._factory = factory
        self._links: dict[str, PhoneLink] = {}
        self._starting: dict[str, asyncio.Lock] = {}

    async def of(self, account: Account) -> Any:
        """Give the phone of ``account``; made, and its keys uploaded, when first asked for."""
        async with self._starting.setdefault(account.phone, asyncio.Lock()):
            link = self._links.get(account.phone)
            if link is None:
                link = await self._start(account)
        return link.phone

    async def _start(self, account: Account) -> PhoneLink:
        device = account.devices[0]
        link = PhoneLink(self._hub, device)
        link.phone = self._factory(str(account.pn), str(account.lid), Network(self._hub, device, link))
        self._links[account.phone] = link
        self._hub.phones[account.phone] = link.phone
        self._hub.links[str(device.pn)] = link
        await link.phone.start()
        for node in list(device.queue.values()):
            link.send(node)
        return link

    def get(self, phone: str) -> Any | None:
        """Give the phone of a number if it exists."""
        link = self._links.get(phone)
        return link.phone if link else None

    def all(self) -> dict[str, Any]:
        """Give all phones by number."""
        return {number: link.phone for number, link in self._links.items()}

    async def close(self) -> None:
        """Stop all phones."""
        for link in self._links.values():
            await link.close()
