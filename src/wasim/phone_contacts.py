"""Whom a phone can write to: people and their devices, members of groups, a Signal session with each device."""

from __future__ import annotations

from collections.abc import Sequence

from wasim import jid as jids
from wasim.jid import Jid
from wasim.phone_book import Memory
from wasim.phone_content import Body, pad
from wasim.phone_keys import Address, KeyRing
from wasim.ports import PhoneNetwork
from wasim.signal.ratchet import SignalError
from wasim.wire.nodes import Node
from wasim.wire.protobuf import encode
from wasim.wire.schema import MESSAGE


class PhoneError(RuntimeError):
    """Something a phone cannot do; the text says why."""


async def ask(network: PhoneNetwork, kind: str, xmlns: str, content: Sequence[Node], to: str = jids.SERVER) -> Node:
    """Send a query and give its result. Raises ``PhoneError`` if the server refuses it."""
    return await asked(network, Node("iq", {"to": to, "type": kind, "xmlns": xmlns}, list(content)))


async def asked(network: PhoneNetwork, iq: Node) -> Node:
    """The same for a finished query."""
    answer = await network.query(iq)
    if answer.attrs.get("type") != "result":
        error = answer.child("error")
        raise PhoneError(f"the server refused {iq.attrs.get('xmlns')}: {error.attrs if error else answer.attrs}")
    return answer


def bare(address: str) -> Jid:
    """A person's or group's address. Raises ``PhoneError`` if it is none."""
    parsed = jids.parse(address)
    if parsed is None:
        raise PhoneError(f"{address!r} is no address")
    return parsed.bare()


class Contacts:
    """See the module. What the server said is kept until it announces a change."""

    def __init__(self, memory: Memory, keys: KeyRing, network: PhoneNetwork) -> None:
        self._memory = memory
        self.keys = keys
        self._network = network
        self._devices: dict[str, list[Jid]] = {}

    def forget(self) -> None:
        """Somebody's devices changed."""
        self._devices.clear()

    async def lid_of(self, address: str) -> str:
        """Give a person's bare LID. Raises ``PhoneError`` if that is nobody."""
        known = self._memory.lid(address)
        if known is None:
            await self._look_up([str(bare(address))])
            known = self._memory.lid(address)
        if known is None:
            raise PhoneError(f"{address} is not on WhatsApp")
        return known

    async def devices_of(self, *lids: str) -> list[Jid]:
        """Give all devices of these people."""
        if unknown := [lid for lid in lids if lid not in self._devices]:
            await self._look_up(unknown)
        return [device for lid in lids for device in self._devices.get(lid, [])]

    async def _look_up(self, addresses: Sequence[str]) -> None:
        query = Node("query", {}, [Node("devices", {"version": "2"}), Node("lid")])
        listed = Node("list", {}, [Node("user", {"jid": address}) for address in addresses])
        attrs = {"sid": "1", "mode": "query", "last": "true", "index": "0", "context": "message"}
        usync = (await ask(self._network, "get", "usync", [Node("usync", attrs, [query, listed])])).child("usync")
        found = usync.child("list") if usync else None
        for user in found.children("user") if found else []:
            self._take(user)

    def _take(self, user: Node) -> None:
        lid, devices = user.child("lid"), user.child("devices")
        entries = devices.child("device-list") if devices else None
        value = jids.parse(lid.attrs.get("val", "")) if lid else None
        if value is None or entries is None:
            return
        person = str(value.bare())
        if not user.attrs["jid"].endswith("@lid"):
            self._memory.pair(person, user.attrs["jid"])
        self._devices[person] = [
            Jid(value.user, value.server, int(device.attrs["id"])) for device in entries.children("device")
        ]

    async def members(self, group: str) -> list[str]:
        """Give the LIDs of a group's members. Raises ``PhoneError`` if the phone is not one of them."""
        query = Node("query", {"request": "interactive"})
        found = (await ask(self._network, "get", "w:g2", [query], group)).child("group")
        members = found.children("participant") if found else []
        for member in members:
            if phone := member.attrs.get("phone_number"):
                self._memory.pair(member.attrs["jid"], phone)
        return [member.attrs["jid"] for member in members]

    # --- sessions -----------------------------------------------------------------------------------------------
    def address(self, device: Jid) -> Address:
        """The name of a device's sessions, whichever of its JIDs is given."""
        person = jids.parse(self._memory.person(str(device.bare())))
        return (person.user if person else device.user), device.device

    async def ensure_sessions(self, devices: Sequence[Jid]) -> None:
        """Begin sessions where there are none. Raises ``PhoneError`` for a device whose keys are missing or wrong."""
        missing = [device for device in devices if not self.keys.knows(self.address(device))]
        if not missing:
            return
        users = [Node("user", {"jid": str(device)}) for device in missing]
        listed = (await ask(self._network, "get", "encrypt", [Node("key", {}, users)])).child("list")
        bundles = {user.attrs.get("jid"): user for user in (listed.children("user") if listed else [])}
        for device in missing:
            try:
                self.keys.begin(self.address(device), bundles.get(str(device), Node("user")))
            except SignalError as error:
                raise PhoneError(f"no session with device {device.device} can begin: {error}") from error

    def encrypt(self, device: Jid, body: Body) -> Node:
        """Give ``<enc>`` for a device with which a session stands."""
        kind, data = self.keys.encrypt(self.address(device), pad(encode(MESSAGE, body)))
        return Node("enc", {"v": "2", "type": kind}, data)
