"""A phone: a person's primary device, with keys of its own. It decrypts, answers, reads, links companions.

It speaks the same stanzas as a companion (see ``wasim.ports``). Messages go to all devices of both sides, by LID as
today's WhatsApp does; what cannot be decrypted is asked for again, and what others could not decrypt is sent again.
"""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wasim import jid as jids
from wasim.jid import Jid
from wasim.phone_book import Memory, PhoneMessage, SeenReceipt
from wasim.phone_keys import Address, KeyRing
from wasim.phone_linking import Linking
from wasim.ports import PhoneNetwork, QrData
from wasim.signal.ratchet import Duplicate, SignalError
from wasim.wire.nodes import Node
from wasim.wire.protobuf import ProtobufError, decode, encode
from wasim.wire.schema import APP_STATE_KEY_SHARE, HISTORY, HISTORY_SYNC_NOTIFICATION, MESSAGE, MESSAGE_EDIT, REVOKE

RESENDABLE = 1_000
"""Sent messages that are kept for who could not decrypt them."""
MAX_RETRIES = 5
INITIAL_BOOTSTRAP, PUSH_NAME = 0, 4
"""``HistorySync.syncType``."""

Body = Mapping[str, Any]


class PhoneError(RuntimeError):
    """Something a phone cannot do; the text says why."""


class Phone:
    """See the module. ``pn`` and ``lid`` are bare JIDs; the server feeds ``on_node`` one stanza at a time."""

    def __init__(self, pn: str, lid: str, network: PhoneNetwork) -> None:
        self.pn, self.lid = pn, lid
        self.auto_reply: str | Callable[[PhoneMessage], str | None] | None = None
        self.read_receipts = False
        """Whether it reads at once what it receives."""
        self.memory = Memory(network)
        self.memory.pair(lid, pn)
        self._network = network
        self._keys = KeyRing(network)
        self._linking = Linking(self._keys.identity, network)
        self._devices: dict[str, list[Jid]] = {}
        self._sent: OrderedDict[str, tuple[str, Body]] = OrderedDict()
        self._retries: dict[str, int] = {}
        self._welcomed: set[int] = set(network.load().get("welcomed") or [])
        self._app_state_key = network.load().get("app_state_key") or secrets.token_bytes(32)
        network.store("app_state_key", self._app_state_key)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def messages(self) -> list[PhoneMessage]:
        """What is on the screen, oldest first."""
        return list(self.memory.messages)

    @property
    def receipts(self) -> list[SeenReceipt]:
        """Receipts for this phone's own messages, oldest first."""
        return list(self.memory.receipts)

    async def start(self) -> None:
        """Give the server our keys, unless it has them."""
        if not self._network.load().get("uploaded"):
            await self._query(self._keys.upload())
            self._network.store("uploaded", True)

    async def _query(self, node: Node) -> Node:
        answer = await self._network.query(node)
        if answer.attrs.get("type") != "result":
            error = answer.child("error")
            raise PhoneError(f"the server refused {node.attrs.get('xmlns')}: {error.attrs if error else answer.attrs}")
        return answer

    # --- linking ------------------------------------------------------------------------------------------------
    def link_device(self, qr: QrData) -> bytes:
        """See ``Linking.sign``."""
        return self._linking.sign(qr)

    def confirm_device(self, identity: bytes) -> None:
        """See ``Linking.confirm``."""
        self._linking.confirm(identity)

    def key_index_list(self) -> bytes:
        """See ``Linking.key_index_list``."""
        return self._linking.key_index_list()

    def enter_code(self, code: str, wrapped: bytes) -> tuple[bytes, bytes]:
        """See ``Linking.enter_code``."""
        return self._linking.enter_code(code, wrapped)

    def finish_code(self, bundle: bytes, companion_identity: bytes) -> bytes:
        """See ``Linking.finish_code``."""
        return self._linking.finish_code(bundle, companion_identity)

    def welcome(self, device: int) -> None:
        """A companion logged in for the first time: give it the app state key and the history."""
        if device not in self._welcomed:
            self._welcomed.add(device)
            self._network.store("welcomed", sorted(self._welcomed))
            task = asyncio.get_running_loop().create_task(self._welcome(device))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _welcome(self, device: int) -> None:
        await self._send_peer(device, self._key_share())
        chats = list(self.memory.chats().values())
        names = [{"id": jid, "pushname": name} for jid, name in self.memory.names.items()]
        for kind, facts in ((INITIAL_BOOTSTRAP, {"conversations": chats}), (PUSH_NAME, {"pushnames": names})):
            await self._send_peer(device, _history(kind, facts))

    def _key_share(self) -> Body:
        data = {"keyData": self._app_state_key, "fingerprint": {"rawId": 1, "currentIndex": 0}, "timestamp": 1}
        key = {"keyId": {"keyId": b"\x00\x00\x00\x00\x00\x01"}, "keyData": data}
        return {"protocolMessage": {"type": APP_STATE_KEY_SHARE, "appStateSyncKeyShare": {"keys": [key]}}}

    async def _send_peer(self, device: int, body: Body) -> None:
        own = jids.parse(self.pn)
        assert own is not None
        target = Jid(own.user, own.server, device)
        await self._ensure_sessions([target])
        enc = self._encrypt(target, body)
        attrs = {"to": str(target), "id": self._new_id(), "type": "protocol", "category": "peer"}
        await self._network.send(Node("message", attrs, [enc]))

    # --- sending ------------------------------------------------------------------------------------------------
    def _new_id(self) -> str:
        return f"3A{secrets.token_hex(9).upper()}"

    async def send_text(self, to: str, text: str, id: str | None = None) -> str:
        """Write to a person (by number or LID) or a group; give the message id."""
        return await self.send(to, {"conversation": text}, kind="text", text=text, message_id=id)

    async def react(self, chat: str, message_id: str, emoji: str) -> str:
        """React to a message of the chat; an empty emoji takes the reaction back."""
        key = self._key(chat, message_id)
        body = {"reactionMessage": {"key": key, "text": emoji, "senderTimestampMs": int(self._network.now() * 1000)}}
        return await self.send(chat, body, kind="reaction", text=emoji, target=message_id)

    async def edit(self, chat: str, message_id: str, text: str) -> str:
        """Change a message of our own."""
        protocol = {"key": self._key(chat, message_id), "type": MESSAGE_EDIT, "editedMessage": {"conversation": text}}
        return await self.send(
            chat, {"protocolMessage": protocol}, kind="edited", text=text, target=message_id, attrs={"edit": "1"}
        )

    async def revoke(self, chat: str, message_id: str) -> str:
        """Delete a message of our own for everyone."""
        protocol = {"key": self._key(chat, message_id), "type": REVOKE}
        return await self.send(
            chat, {"protocolMessage": protocol}, kind="revoked", text="", target=message_id, attrs={"edit": "7"}
        )

    def _key(self, chat: str, message_id: str) -> Body:
        known = next((m for m in reversed(self.memory.messages) if m.id == message_id), None)
        return {"remoteJid": chat, "fromMe": known.from_me if known else True, "id": message_id}

    async def send(
        self, to: str, body: Body, *, kind: str, text: str, message_id: str | None = None, target: str = "",
        attrs: Mapping[str, str] | None = None,
    ) -> str:  # fmt: skip
        """Send any message; give its id."""
        message_id = message_id or self._new_id()
        chat = await self._lid_of(to)
        recipients, own = await self._devices_of(chat), await self._devices_of(self.lid)
        others = [device for device in (*recipients, *own) if str(device) != self.lid]
        await self._ensure_sessions(others)
        copy = {"deviceSentMessage": {"destinationJid": chat, "message": body}}
        participants = [
            Node("to", {"jid": str(device)}, [self._encrypt(device, copy if device in own else body)])
            for device in dict.fromkeys(others)
        ]
        self._remember(message_id, chat, body)
        person = self.memory.person(chat)
        self.memory.add(PhoneMessage(message_id, person, self.pn, True, kind, text, int(self._network.now()), target))
        stanza = {"to": chat, "id": message_id, "type": "reaction" if kind == "reaction" else "text", **(attrs or {})}
        await self._network.send(Node("message", stanza, [Node("participants", {}, participants)]))
        return message_id

    def _remember(self, message_id: str, chat: str, body: Body) -> None:
        self._sent[message_id] = (chat, body)
        while len(self._sent) > RESENDABLE:
            self._sent.popitem(last=False)

    async def _lid_of(self, to: str) -> str:
        known = self.memory.lid(to)
        if known is None:
            await self._look_up(str(_bare(to)))
            known = self.memory.lid(to)
        if known is None:
            raise PhoneError(f"{to} is not on WhatsApp")
        return known

    async def _devices_of(self, lid: str) -> list[Jid]:
        if lid not in self._devices:
            await self._look_up(lid)
        return self._devices.get(lid, [])

    async def _look_up(self, address: str) -> None:
        query = Node("query", {}, [Node("devices", {"version": "2"}), Node("lid")])
        listed = Node("list", {}, [Node("user", {"jid": address})])
        attrs = {"sid": "1", "mode": "query", "last": "true", "index": "0", "context": "message"}
        iq = Node(
            "iq", {"to": "@s.whatsapp.net", "type": "get", "xmlns": "usync"}, [Node("usync", attrs, [query, listed])]
        )
        usync = (await self._query(iq)).child("usync")
        found = usync.child("list") if usync else None
        for user in found.children("user") if found else []:
            lid, devices = user.child("lid"), user.child("devices")
            entries = devices.child("device-list") if devices else None
            value = jids.parse(lid.attrs.get("val", "")) if lid else None
            if value is None or entries is None:
                continue
            bare = str(value.bare())
            if not user.attrs["jid"].endswith("@lid"):
                self.memory.pair(bare, user.attrs["jid"])
            self._devices[bare] = [
                Jid(value.user, value.server, int(device.attrs["id"])) for device in entries.children("device")
            ]

    async def _ensure_sessions(self, devices: Sequence[Jid]) -> None:
        missing = [device for device in devices if not self._keys.knows(self._address(device))]
        if not missing:
            return
        users = [Node("user", {"jid": str(device)}) for device in missing]
        iq = Node("iq", {"to": "@s.whatsapp.net", "type": "get", "xmlns": "encrypt"}, [Node("key", {}, users)])
        listed = (await self._query(iq)).child("list")
        for device, user in zip(missing, listed.children("user") if listed else [], strict=True):
            self._keys.begin(self._address(device), user)

    def _address(self, device: Jid) -> Address:
        person = jids.parse(self.memory.person(str(device.bare())))
        return (person.user if person else device.user), device.device

    def _encrypt(self, device: Jid, body: Body) -> Node:
        kind, data = self._keys.encrypt(self._address(device), _pad(encode(MESSAGE, body)))
        return Node("enc", {"v": "2", "type": kind}, data)

    # --- receiving ----------------------------------------------------------------------------------------------
    async def on_node(self, node: Node) -> None:
        """Take one stanza that is for this phone."""
        if node.tag == "message":
            await self._on_message(node)
        elif node.tag == "receipt":
            await self._on_receipt(node)
        elif node.tag == "notification" and node.attrs.get("type") in ("devices", "account_sync"):
            self._devices.clear()
        elif node.tag == "notification" and node.attrs.get("type") == "encrypt":
            await self._query(self._keys.upload())

    async def _on_message(self, node: Node) -> None:
        self.memory.learn(node)
        sender = jids.parse(node.attrs["from"])
        enc = node.child("enc")
        if sender is None or enc is None:
            return
        try:
            padded = self._keys.decrypt(self._address(sender), enc.attrs.get("type", ""), enc.bytes())
            body = decode(MESSAGE, _unpad(padded))
        except Duplicate:
            await self._receipt(node)
            return
        except (SignalError, ProtobufError) as error:
            await self._ask_again(node, str(error))
            return
        self._retries.pop(node.attrs["id"], None)
        shown = self._show(node, sender, body)
        await self._receipt(node)
        if shown is not None and not shown.from_me:
            await self._react_to(shown, node)

    def _show(self, node: Node, sender: Jid, body: Body) -> PhoneMessage | None:
        person = self.memory.person(str(sender))
        own = person == self.pn
        sent = body.get("deviceSentMessage")
        if own and sent:
            chat = self.memory.person(sent.get("destinationJid", ""))
            body = sent.get("message", {})
        else:
            chat = person
        read = _read(body)
        if read is None:
            return None
        kind, text, target = read
        stamp = int(node.attrs.get("t", "0"))
        message = PhoneMessage(node.attrs["id"], chat, person, own, kind, text, stamp, target)
        self.memory.add(message)
        return message

    async def _react_to(self, message: PhoneMessage, node: Node) -> None:
        if self.read_receipts:
            await self.mark_read(node.attrs["from"], [message.id])
        reply = self.auto_reply(message) if callable(self.auto_reply) else self.auto_reply
        if reply and message.kind == "text":
            await self.send_text(message.chat, reply)

    async def _receipt(self, node: Node) -> None:
        attrs = {"id": node.attrs["id"], "to": node.attrs["from"]}
        if node.attrs.get("category") == "peer":
            attrs["type"] = "peer_msg"
        elif self.memory.person(node.attrs["from"]) == self.pn:
            attrs["type"] = "sender"
            if "recipient" in node.attrs:
                attrs["recipient"] = node.attrs["recipient"]
        await self._network.send(Node("receipt", attrs))

    async def mark_read(self, chat: str, ids: Sequence[str]) -> None:
        """Read messages of a chat: blue ticks for who wrote them."""
        if not ids:
            return
        items = [Node("list", {}, [Node("item", {"id": message_id}) for message_id in ids[1:]])] if ids[1:] else None
        to = str(_bare(await self._lid_of(chat)))
        attrs = {"id": ids[0], "to": to, "type": "read", "t": str(int(self._network.now()))}
        await self._network.send(Node("receipt", attrs, items))

    # --- what could not be decrypted ----------------------------------------------------------------------------
    async def _ask_again(self, node: Node, reason: str) -> None:
        message_id = node.attrs["id"]
        count = self._retries.get(message_id, 0) + 1
        self._retries[message_id] = count
        if count > MAX_RETRIES:
            raise PhoneError(f"message {message_id} cannot be decrypted: {reason}")
        stamp = node.attrs.get("t", "0")
        parts = [
            Node("retry", {"v": "1", "count": str(count), "id": message_id, "t": stamp}),
            Node("registration", {}, self._keys.registration_id.to_bytes(4, "big")),
        ]
        attrs = {"id": message_id, "to": node.attrs["from"], "type": "retry"}
        if "recipient" in node.attrs:
            attrs["recipient"] = node.attrs["recipient"]
        await self._network.send(Node("receipt", attrs, parts))

    async def _on_receipt(self, node: Node) -> None:
        self.memory.learn(node)
        kind = node.attrs.get("type", "delivery")
        if kind == "retry":
            await self._send_again(node)
            return
        listed = node.child("list")
        ids = [node.attrs["id"], *(item.attrs["id"] for item in (listed.children("item") if listed else []))]
        stamp = int(node.attrs.get("t", "0"))
        for message_id in ids:
            self.memory.add_receipt(SeenReceipt(message_id, self.memory.person(node.attrs["from"]), kind, stamp))

    async def _send_again(self, node: Node) -> None:
        """Somebody could not decrypt a message of ours: start afresh with that device, under the same id."""
        device = jids.parse(node.attrs["from"])
        known = self._sent.get(node.attrs["id"])
        if device is None or known is None:
            return
        chat, body = known
        own = self.memory.person(str(device.bare())) == self.pn
        address, keys, registration = self._address(device), node.child("keys"), node.child("registration")
        self._keys.forget(address)
        if keys is not None and registration is not None:
            self._keys.begin(address, Node("user", {}, [registration, *keys.children()]))
        else:
            await self._ensure_sessions([device])
        wrapped = {"deviceSentMessage": {"destinationJid": chat, "message": body}} if own else body
        enc = self._encrypt(device, wrapped)
        retry = node.child("retry")
        enc.attrs["count"] = retry.attrs.get("count", "1") if retry else "1"
        attrs = {"to": str(device), "id": node.attrs["id"], "type": "text"}
        if own:
            attrs["recipient"] = chat
        await self._network.send(Node("message", attrs, [enc]))


def _bare(address: str) -> Jid:
    parsed = jids.parse(address)
    if parsed is None:
        raise PhoneError(f"{address!r} is no address")
    return parsed.bare()


def _pad(plain: bytes) -> bytes:
    """WhatsApp pads with 1 to 16 bytes that each say how many they are."""
    size = secrets.randbelow(16) + 1
    return plain + bytes([size]) * size


def _unpad(padded: bytes) -> bytes:
    size = padded[-1] if padded else 0
    if not 1 <= size <= len(padded):
        raise SignalError("the plaintext's padding is wrong")
    return padded[:-size]


def _history(kind: int, facts: Body) -> Body:
    payload = zlib.compress(encode(HISTORY, {"syncType": kind, "chunkOrder": 1, "progress": 100, **facts}))
    notification = {
        "syncType": kind, "chunkOrder": 1, "progress": 100, "initialHistBootstrapInlinePayload": payload,
    }  # fmt: skip
    return {"protocolMessage": {"type": HISTORY_SYNC_NOTIFICATION, "historySyncNotification": notification}}


def _read(body: Body) -> tuple[str, str, str] | None:
    """(kind, text, id of the message it is about) of what a person sees; None for the rest."""
    protocol = body.get("protocolMessage")
    if protocol is not None:
        target = protocol.get("key", {}).get("id", "")
        if protocol.get("type", REVOKE) == REVOKE and target:
            return "revoked", "", target
        if protocol.get("type") == MESSAGE_EDIT:
            inner = _read(protocol.get("editedMessage", {}))
            return ("edited", inner[1], target) if inner else None
        return None
    if "conversation" in body:
        return "text", body["conversation"], ""
    if "extendedTextMessage" in body:
        return "text", body["extendedTextMessage"].get("text", ""), ""
    if "reactionMessage" in body:
        reaction = body["reactionMessage"]
        return "reaction", reaction.get("text", ""), reaction.get("key", {}).get("id", "")
    if "imageMessage" in body:
        return "image", body["imageMessage"].get("caption", ""), ""
    return None
