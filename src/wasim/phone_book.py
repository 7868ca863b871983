"""What a phone remembers of people and conversations: messages, receipts, names, and who is behind a LID."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from wasim import jid as jids
from wasim.ports import PhoneNetwork
from wasim.wire.nodes import Node

KEPT = 20_000
KEPT_FILES = 1_000
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class PhoneMessage:
    """A message on the phone's screen. ``chat`` and ``sender`` go by phone number where it is known."""

    id: str
    chat: str
    sender: str
    from_me: bool
    kind: str
    text: str
    timestamp: int
    target: str = ""
    """The message that a reaction, an edit or a revocation is about."""


@dataclass(frozen=True, slots=True)
class SeenReceipt:
    """A receipt for a message that this phone sent. ``type``: ``delivery``, ``read``, ``played`` ..."""

    id: str
    sender: str
    type: str
    timestamp: int


class Memory:
    """See the module; the newest ``KEPT`` of each kind."""

    def __init__(self, network: PhoneNetwork) -> None:
        self._network = network
        self._changed = asyncio.Event()
        self.messages: deque[PhoneMessage] = deque(maxlen=KEPT)
        self.receipts: deque[SeenReceipt] = deque(maxlen=KEPT)
        self.names: dict[str, str] = {}
        self.files: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._phones: dict[str, str] = {}
        self._lids: dict[str, str] = {}
        facts = network.load()
        kept = sorted((int(name[2:]), value) for name, value in facts.items() if name.startswith("m|"))
        self.messages.extend(PhoneMessage(**value) for _, value in kept)
        self._count = kept[-1][0] + 1 if kept else 0
        self.files.update((name[5:], value) for name, value in facts.items() if name.startswith("file|"))
        for lid, phone in (facts.get("people") or {}).items():
            self._learn(lid, phone)
        self.names.update(facts.get("names") or {})

    def add(self, message: PhoneMessage) -> None:
        """Show a message."""
        self.messages.append(message)
        facts = {name: getattr(message, name) for name in PhoneMessage.__slots__}  # asdict would copy deeply
        self._network.store(f"m|{self._count}", facts)
        self._network.store(f"m|{self._count - KEPT}", None)
        self._count += 1
        self._tell()

    def add_receipt(self, receipt: SeenReceipt) -> None:
        """Show how far a message got."""
        self.receipts.append(receipt)
        self._tell()

    def find(self, message_id: str) -> PhoneMessage | None:
        """The newest message with that id."""
        return next((message for message in reversed(self.messages) if message.id == message_id), None)

    def keep_file(self, message_id: str, file: Mapping[str, Any]) -> None:
        """Remember how to fetch a message's file; the newest ``KEPT_FILES``."""
        self.files[message_id] = file
        self._network.store(f"file|{message_id}", dict(file))
        while len(self.files) > KEPT_FILES:
            oldest, _ = self.files.popitem(last=False)
            self._network.store(f"file|{oldest}", None)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, look: Callable[[], Found | None], timeout: float) -> Found:
        """Give what ``look`` finds, waiting for it. Raises TimeoutError after ``timeout`` seconds."""
        async with asyncio.timeout(timeout):
            while (found := look()) is None:
                await self._changed.wait()
        return found

    def learn(self, node: Node, address: str = "from", prefix: str = "sender") -> None:
        """Take over from a stanza which LID belongs to which number, and the sender's name."""
        attrs = node.attrs
        who = jids.parse(attrs.get(address, ""))
        if who is None:
            return
        own, lid, phone = str(who.bare()), attrs.get(f"{prefix}_lid"), attrs.get(f"{prefix}_pn")
        if who.server == jids.LID and phone:
            self.pair(own, str(_bare(phone)))
        elif who.server == jids.PN and lid:
            self.pair(str(_bare(lid)), own)
        if (name := attrs.get("notify")) and self.names.get(self.person(own)) != name:
            self.names[self.person(own)] = name
            self._network.store("names", self.names)

    def pair(self, lid: str, phone: str) -> None:
        """A LID and a number are the same person."""
        if self._phones.get(lid) != phone:
            self._learn(lid, phone)
            self._network.store("people", self._phones)

    def _learn(self, lid: str, phone: str) -> None:
        self._phones[lid] = phone
        self._lids[phone] = lid

    def person(self, address: str) -> str:
        """The bare address by phone number where it is known."""
        bare = str(_bare(address))
        return self._phones.get(bare, bare)

    def lid(self, address: str) -> str | None:
        """The bare LID where it is known."""
        bare = str(_bare(address))
        return bare if bare.endswith("@lid") else self._lids.get(bare)

    def chats(self) -> dict[str, dict[str, Any]]:
        """Conversations with their newest time and name, for the history of a new companion."""
        found: dict[str, dict[str, Any]] = {}
        for message in self.messages:
            found[message.chat] = {
                "id": message.chat,
                "conversationTimestamp": message.timestamp,
                "name": self.names.get(message.chat, ""),
            }
        return found


def _bare(address: str) -> jids.Jid:
    parsed = jids.parse(address)
    return parsed.bare() if parsed else jids.Jid(address, "")
