"""A phone's sender keys: its own in each group, with who has it, and those of the others."""

from __future__ import annotations

from collections.abc import Iterable

from wasim.phone_content import Body, pad
from wasim.phone_keys import Address
from wasim.ports import PhoneNetwork
from wasim.signal.sender_keys import (
    SenderKey,
    SenderKeys,
    new_sender_key,
    sender_key_from_json,
    sender_keys_from_json,
)
from wasim.wire.nodes import Node
from wasim.wire.protobuf import encode
from wasim.wire.schema import MESSAGE


class GroupKeys:
    """See the module."""

    def __init__(self, network: PhoneNetwork) -> None:
        self._network = network
        self._own: dict[str, tuple[SenderKey, set[Address]]] = {}
        self._others: dict[str, SenderKeys] = {}
        for name, value in network.load().items():
            if name.startswith("group|"):
                holders = {(str(phone), int(device)) for phone, device in value[1]}
                self._own[name[6:]] = sender_key_from_json(value[0]), holders
            elif name.startswith("sender|"):
                self._others[name[7:]] = sender_keys_from_json(value)

    def without(self, group: str, members: Iterable[Address]) -> set[Address]:
        """Give the members' devices that do not have our key yet; a key that somebody has who left is replaced."""
        wanted = set(members)
        key, holders = self._own.get(group, (None, set[Address]()))
        if key is None or holders - wanted:
            key, holders = new_sender_key(), set()
            self._own[group] = key, holders
        return wanted - holders

    def forget(self, group: str, address: Address) -> None:
        """A device could not decrypt: it gets our key again."""
        if group in self._own:
            self._own[group][1].discard(address)
            self._save(group)

    def distribution(self, group: str) -> Body:
        """Give the message that hands our key to a device."""
        shared = {"groupId": group, "axolotlSenderKeyDistributionMessage": self._own[group][0].distribution()}
        return {"senderKeyDistributionMessage": shared}

    def encrypt(self, group: str, body: Body, holders: Iterable[Address]) -> Node:
        """Give ``<enc>`` for the whole group; ``holders`` get the key with this very message."""
        key, having = self._own[group]
        data = key.encrypt(pad(encode(MESSAGE, body)))
        having.update(holders)
        self._save(group)
        return Node("enc", {"v": "2", "type": "skmsg"}, data)

    def _save(self, group: str) -> None:
        key, holders = self._own[group]
        self._network.store(f"group|{group}", [key.to_json(), sorted(holders)])

    # --- the others'
    def learn(self, group: str, sender: Address, data: bytes) -> None:
        """Take somebody's key. Raises ``SignalError``."""
        name = f"{group}|{sender[0]}|{sender[1]}"
        keys = self._others.setdefault(name, SenderKeys())
        keys.learn(data)
        self._network.store(f"sender|{name}", keys.to_json())

    def decrypt(self, group: str, sender: Address, data: bytes) -> bytes:
        """Give the padded plaintext of somebody's message. Raises ``SignalError``."""
        name = f"{group}|{sender[0]}|{sender[1]}"
        keys = self._others.get(name, SenderKeys())
        plain = keys.decrypt(data)
        self._network.store(f"sender|{name}", keys.to_json())
        return plain
