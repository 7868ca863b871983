"""The smallest phone that the server can be tested with: it signs companions, uploads keys, and takes everything.

It has no Signal sessions; what it receives it acknowledges unread. The real phone is ``wasim.phone``.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

from wasim import curve
from wasim.ports import PhoneNetwork, QrData
from wasim.wire.nodes import Node
from wasim.wire.protobuf import Schema, decode, encode

DETAILS = Schema("D", {1: ("rawId", "uint", False), 2: ("timestamp", "uint", False), 3: ("keyIndex", "uint", False)})
SIGNED = Schema(
    "S",
    {
        1: ("details", "bytes", False),
        2: ("accountSignatureKey", "bytes", False),
        3: ("accountSignature", "bytes", False),
        4: ("deviceSignature", "bytes", False),
    },
)
SEALED = Schema("H", {1: ("details", "bytes", False), 2: ("hmac", "bytes", False)})


@dataclass
class SigningPhone:
    pn: str
    lid: str
    network: PhoneNetwork
    seen: list[Node] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    receipts: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.identity = curve.key_pair(self.network.load().get("identity"))
        self.companion = b""
        self.key_index = 0

    async def start(self) -> None:
        if "identity" in self.network.load():
            return
        self.network.store("identity", self.identity.private)
        signed = curve.key_pair()
        keys = [
            Node("key", {}, [Node("id", {}, n.to_bytes(3, "big")), Node("value", {}, curve.key_pair().public)])
            for n in range(1, 21)
        ]
        signature = curve.sign(self.identity.private, curve.KEY_TYPE + signed.public)
        skey = Node(
            "skey",
            {},
            [Node("id", {}, b"\0\0\1"), Node("value", {}, signed.public), Node("signature", {}, signature)],
        )
        content = [
            Node("registration", {}, (7).to_bytes(4, "big")),
            Node("type", {}, curve.KEY_TYPE),
            Node("identity", {}, self.identity.public),
            Node("list", {}, keys),
            skey,
        ]
        iq = Node("iq", {"to": "@s.whatsapp.net", "type": "set", "xmlns": "encrypt"}, content)
        assert (await self.network.query(iq)).attrs["type"] == "result"

    def link_device(self, qr: QrData) -> bytes:
        self.companion = qr.identity
        self.key_index += 1
        self.details = encode(DETAILS, {"rawId": 1, "timestamp": 1, "keyIndex": self.key_index})
        signature = curve.sign(self.identity.private, b"\x06\0" + self.details + qr.identity)
        signed = encode(
            SIGNED,
            {"details": self.details, "accountSignatureKey": self.identity.public, "accountSignature": signature},
        )
        return encode(SEALED, {"details": signed, "hmac": hmac.digest(qr.adv_secret, signed, hashlib.sha256)})

    def confirm_device(self, identity: bytes) -> None:
        signed = decode(SIGNED, identity)
        message = b"\x06\1" + self.details + self.companion + self.identity.public
        if not curve.verify(self.companion, message, signed.get("deviceSignature", b"")):
            raise ValueError("device signature")

    def welcome(self, device: int) -> None:
        self.seen.append(Node("welcome", {"device": str(device)}))

    def key_index_list(self) -> bytes | None:
        return None

    async def on_node(self, node: Node) -> None:
        self.seen.append(node)
        if node.tag == "message":
            await self.network.send(Node("receipt", {"id": node.attrs["id"], "to": node.attrs["from"]}))
