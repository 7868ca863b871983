"""The accounts: each with a phone number, a LID, devices (0 is the phone), pre-keys and undelivered stanzas."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from wasim import jid as jids
from wasim.jid import Jid
from wasim.state import State
from wasim.wire import nodes
from wasim.wire.nodes import Node

MAX_COMPANIONS = 4  # as WhatsApp allows
MAX_QUEUE = 20_000  # stanzas kept for one device; the oldest go first
MAX_KNOWN_BY = 1_000  # people who are told when an account's devices change
MAX_PATCHES = 10_000  # app state patches kept for one collection


@dataclass(slots=True)
class SignedPreKey:
    """A device's signed pre-key; ``signature`` is over the type byte 5 and ``public``."""

    id: int
    public: bytes
    signature: bytes


@dataclass(slots=True)
class Device:
    """One device. ``noise`` is its static Noise key (empty for the phone, which has no socket)."""

    phone: str
    lid_user: str
    id: int
    identity: bytes = b""
    noise: bytes = b""
    registration_id: int = 0
    key_index: int = 0
    platform: str = ""
    signed_pre_key: SignedPreKey | None = None
    pre_keys: dict[int, bytes] = field(default_factory=dict)
    used_pre_keys: set[int] = field(default_factory=set)
    queue: dict[str, Node] = field(default_factory=dict)
    queue_keys: dict[str, int] = field(default_factory=dict)
    push_name: str = ""
    available: bool = False
    asked_for_pre_keys: bool = False

    @property
    def pn(self) -> Jid:
        """The device's address by phone number."""
        return Jid(self.phone, jids.PN, self.id)

    @property
    def lid(self) -> Jid:
        """The device's address by LID."""
        return Jid(self.lid_user, jids.LID, self.id)

    @property
    def names(self) -> tuple[str, ...]:
        """All that a fault or a filter may call this device."""
        return (self.phone, str(self.pn.bare()), str(self.lid.bare()), str(self.pn), str(self.lid))

    def address(self, server: str) -> Jid:
        """Give the address by LID if ``server`` is the LID server, else by phone number."""
        return self.lid if server == jids.LID else self.pn


@dataclass(slots=True)
class Account:
    """One person on WhatsApp."""

    phone: str
    lid_user: str
    name: str
    devices: dict[int, Device] = field(default_factory=dict)
    next_device: int = 1
    next_key_index: int = 1
    devices_changed: int = 0
    status: str = ""
    privacy: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)
    patches: dict[str, list[bytes]] = field(default_factory=dict)
    heard_from: list[str] = field(default_factory=list)
    """The phone numbers of those who wrote to this account: it may answer them under a reach-out timelock."""
    issued: dict[str, str] = field(default_factory=dict)
    """The newest privacy token for each contact, in hex, by the user part of the contact's LID."""
    known_by: list[str] = field(default_factory=list)
    """The phone numbers of those who asked for this account's devices, and so are told when they change."""

    @property
    def pn(self) -> Jid:
        """The person's address by phone number."""
        return Jid(self.phone, jids.PN)

    @property
    def lid(self) -> Jid:
        """The person's address by LID."""
        return Jid(self.lid_user, jids.LID)

    @property
    def companions(self) -> list[Device]:
        """The linked devices, without the phone."""
        return [device for number, device in self.devices.items() if number]

    def address(self, server: str) -> Jid:
        """Give the address by LID if ``server`` is the LID server, else by phone number."""
        return self.lid if server == jids.LID else self.pn


class Accounts:
    """All accounts, by phone number and by LID; writes what changes to the state."""

    def __init__(self, state: State, rng: random.Random) -> None:
        self._state = state
        self._rng = rng
        self._by_phone: dict[str, Account] = {}
        self._by_lid: dict[str, Account] = {}
        self._queued = 0
        self._load()

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_phone.values())

    def __len__(self) -> int:
        return len(self._by_phone)

    def create(self, phone: str, name: str = "") -> Account:
        """Give the account of ``phone`` (digits), made now if there is none."""
        account = self._by_phone.get(phone)
        if account is None:
            lid = str(self._rng.randrange(10**13, 10**14))
            while lid in self._by_lid:
                lid = str(self._rng.randrange(10**13, 10**14))
            account = Account(phone, lid, name or f"Phone {phone[-4:]}")
            account.devices[0] = Device(phone, lid, 0, push_name=account.name, available=True)
            self._add(account)
            self.save(account)
            self.save_device(account.devices[0])
        return account

    def find(self, jid: Jid | str | None) -> Account | None:
        """Give the account that a phone number or LID address belongs to, or None."""
        if isinstance(jid, str):
            jid = jids.parse(jid)
        if jid is None:
            return None
        if jid.server in (jids.LID, jids.HOSTED_LID):
            return self._by_lid.get(jid.user)
        return self._by_phone.get(jid.user) if jid.server in (jids.PN, jids.HOSTED) else None

    def chat(self, address: str) -> str:
        """Name a chat in the same way whichever of a person's addresses is given: by number, a group by its address."""
        parsed = jids.parse(address)
        account = self.find(parsed)
        return account.phone if account else str(parsed.bare()) if parsed else address

    def spelled(self, number: str) -> Account | None:
        """Give the account of a phone number, in whichever way people write it."""
        return self._by_phone.get(number) or self._by_phone.get(jids.other_spelling(number))

    def device(self, jid: Jid | str | None) -> Device | None:
        """Give the device at an address, or None."""
        if isinstance(jid, str):
            jid = jids.parse(jid)
        account = self.find(jid)
        return account.devices.get(jid.device) if account and jid else None

    def add_device(self, account: Account, device: Device, now: float) -> None:
        """Link ``device``."""
        account.devices[device.id] = device
        account.devices_changed = int(now)
        self.save(account)
        self.save_device(device)

    def remove_device(self, device: Device, now: float) -> None:
        """Unlink ``device`` and forget its keys and queue."""
        account = self._by_phone[device.phone]
        account.devices.pop(device.id, None)
        account.devices_changed = int(now)
        for key in list(device.queue):
            self.dequeue(device, key)
        for number in device.pre_keys.keys() | device.used_pre_keys:
            self._state.delete("prekey", f"{device.pn}|{number}")
        self._state.delete("device", str(device.pn))
        self.save(account)

    def know(self, account: Account, asker: str) -> None:
        """Remember that the account with phone number ``asker`` knows the devices of ``account``."""
        if asker not in account.known_by and asker != account.phone:
            account.known_by = [*account.known_by, asker][-MAX_KNOWN_BY:]
            self.save(account)

    def hear(self, account: Account, writer: str) -> None:
        """Remember that the account with phone number ``writer`` wrote to ``account``."""
        if writer not in account.heard_from:
            account.heard_from = [*account.heard_from, writer][-MAX_KNOWN_BY:]
            self.save(account)

    # -- undelivered stanzas

    def enqueue(self, device: Device, key: str, node: Node) -> str | None:
        """Keep ``node`` for ``device`` until ``dequeue``; give the key of the stanza that fell out, if one did."""
        self.dequeue(device, key)
        self._queued += 1
        device.queue[key] = node
        device.queue_keys[key] = self._queued
        self._state.put("queue", f"{self._queued:012d}", [str(device.pn), key, nodes.encode(node)])
        if len(device.queue) <= MAX_QUEUE:
            return None
        oldest = next(iter(device.queue))
        self.dequeue(device, oldest)
        return oldest

    def dequeue(self, device: Device, key: str) -> Node | None:
        """Forget a kept stanza; give it, or None if it was not kept."""
        node = device.queue.pop(key, None)
        if node is not None:
            self._state.delete("queue", f"{device.queue_keys.pop(key):012d}")
        return node

    # -- pre-keys

    def add_pre_key(self, device: Device, number: int, public: bytes) -> None:
        """Store a one-time pre-key."""
        device.pre_keys[number] = public
        self._state.put("prekey", f"{device.pn}|{number}", public)

    def take_pre_key(self, device: Device) -> tuple[int, bytes] | None:
        """Hand out the oldest one-time pre-key, which is used up by that; None if there is none."""
        if not device.pre_keys:
            return None
        number = next(iter(device.pre_keys))
        public = device.pre_keys.pop(number)
        device.used_pre_keys.add(number)
        self._state.put("prekey", f"{device.pn}|{number}", None)
        return number, public

    # -- persistence

    def save(self, account: Account) -> None:
        """Write the account's own facts (not its devices)."""
        facts = {
            name: getattr(account, name)
            for name in (
                "phone", "lid_user", "name", "next_device", "next_key_index", "devices_changed", "status", "privacy",
                "blocked", "known_by", "heard_from", "issued",
            )
        }  # fmt: skip
        self._state.put("account", account.phone, facts)

    def save_device(self, device: Device) -> None:
        """Write the device's own facts (not its pre-keys and queue); those of an unlinked one are not kept."""
        if self._by_phone[device.phone].devices.get(device.id) is not device:
            return
        key = device.signed_pre_key
        facts: dict[str, Any] = {
            name: getattr(device, name)
            for name in (
                "phone", "lid_user", "id", "identity", "noise", "registration_id", "key_index", "platform", "push_name",
            )
        }  # fmt: skip
        facts["signed_pre_key"] = [key.id, key.public, key.signature] if key else None
        self._state.put("device", str(device.pn), facts)

    def add_patch(self, account: Account, collection: str, patch: bytes) -> int:
        """Append an app state patch; give the collection's new version."""
        patches = account.patches.setdefault(collection, [])
        patches.append(patch)
        self._state.put("patch", f"{account.phone}|{collection}|{len(patches):08d}", patch)
        return len(patches)

    def _add(self, account: Account) -> None:
        self._by_phone[account.phone] = account
        self._by_lid[account.lid_user] = account

    def _load(self) -> None:
        for _, facts in self._state.load("account"):
            self._add(Account(**facts))
        devices = [facts for _, facts in self._state.load("device")]
        for facts in sorted(devices, key=lambda facts: int(facts["id"])):
            key = facts.pop("signed_pre_key")
            device = Device(**facts, signed_pre_key=SignedPreKey(*key) if key else None)
            device.available = device.id == 0
            self._by_phone[device.phone].devices[device.id] = device
        self._load_pre_keys()
        for number, (address, key, data) in self._state.load("queue"):
            self._queued = max(self._queued, int(number))
            if found := self.device(address):
                found.queue[key] = nodes.decode(data)
                found.queue_keys[key] = int(number)
        for name, patch in self._state.load("patch"):
            phone, collection, _ = name.split("|")
            self._by_phone[phone].patches.setdefault(collection, []).append(patch)

    def _load_pre_keys(self) -> None:
        loaded: dict[str, dict[int, bytes | None]] = {}
        for name, public in self._state.load("prekey"):
            address, key_id = name.split("|")
            loaded.setdefault(address, {})[int(key_id)] = public
        for address, keys in loaded.items():
            device = self.device(address)
            if device is not None:
                device.used_pre_keys = {number for number, public in keys.items() if public is None}
                device.pre_keys = {number: public for number, public in sorted(keys.items()) if public is not None}
