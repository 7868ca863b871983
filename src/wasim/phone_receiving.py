"""What reaches a phone: messages are decrypted, shown and acknowledged; receipts are noted; retries are answered."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import aiohttp

from wasim import jid as jids
from wasim.jid import Jid
from wasim.media_crypto import MediaError, open_retry, seal_retry
from wasim.phone_book import PhoneMessage, SeenReceipt
from wasim.phone_contacts import PhoneError
from wasim.phone_content import Body, read, unpad
from wasim.phone_linking import LinkingError, check_companion
from wasim.phone_more import resend
from wasim.ports import PhoneNetwork
from wasim.signal.ratchet import Duplicate, SignalError, read_pre_key_message
from wasim.wire.nodes import Node
from wasim.wire.protobuf import ProtobufError, decode, encode
from wasim.wire.schema import (
    MEDIA_RETRY,
    MEDIA_RETRY_NOT_FOUND,
    MEDIA_RETRY_SUCCESS,
    MESSAGE,
    SERVER_ERROR_RECEIPT,
)

if TYPE_CHECKING:
    from wasim.phone import Phone

MAX_RETRIES = 5


class Receiving:
    """See the module."""

    def __init__(self, phone: Phone, network: PhoneNetwork) -> None:
        self._phone = phone
        self._network = network
        self._retries: dict[str, int] = {}
        self._rewritten: set[str] = set()
        self._vouched: set[tuple[tuple[str, int], bytes]] = set()

    async def take(self, node: Node) -> None:
        """Take one stanza."""
        kind = node.attrs.get("type")
        if node.tag == "message":
            await self._on_message(node)
        elif node.tag == "receipt":
            await self._on_receipt(node)
        elif node.tag == "ack" and "phash" in node.attrs:
            await self._on_stale_list(node)
        elif node.tag == "notification" and kind in ("devices", "account_sync"):
            self._phone.contacts.forget()
        elif node.tag == "notification" and kind == "encrypt":
            await self._phone.upload_keys()

    async def _on_message(self, node: Node) -> None:
        memory = self._phone.memory
        memory.learn(node)
        memory.learn(node, "participant", "participant")
        sender = jids.parse(node.attrs.get("participant", node.attrs["from"]))
        if sender is None:
            return
        shown: list[PhoneMessage] = []
        for enc in node.children("enc"):
            try:
                body = self._decrypt(node, sender, enc)
                self._phone.received.note(node.attrs, body)
                message = await self._take_body(node, sender, body)
            except Duplicate:
                continue
            except (SignalError, ProtobufError, LinkingError) as error:
                await self._ask_again(node, str(error))
                return
            if message is not None:
                shown.append(message)
        self._retries.pop(node.attrs["id"], None)
        await self._network.send(Node("receipt", self._receipt(node)))
        for message in shown:
            if not message.from_me:
                await self._react_to(message, node)

    def _decrypt(self, node: Node, sender: Jid, enc: Node) -> Body:
        kind, address = enc.attrs.get("type", ""), self._phone.contacts.address(sender)
        if kind == "skmsg":
            padded = self._phone.groups.decrypt(node.attrs["from"], address, enc.bytes())
        else:
            if kind == "pkmsg" and sender.device:
                self._check_companion(node, address, enc.bytes())
            padded = self._phone.keys.decrypt(address, kind, enc.bytes())
        return decode(MESSAGE, unpad(padded))

    def _check_companion(self, node: Node, address: tuple[str, int], data: bytes) -> None:
        """Hold who writes for the first time to what their phone signed."""
        companion = read_pre_key_message(data)["identityKey"]
        if (address, companion) in self._vouched:
            return
        identity = node.child("device-identity")
        if identity is None:
            raise LinkingError("a companion's first message must carry its device identity")
        own = address[0] == self._phone.pn.split("@")[0]
        account = self._phone.keys.identity.public if own else self._phone.keys.identity_of((address[0], 0))
        check_companion(identity.bytes(), companion, account)
        self._vouched.add((address, companion))

    async def _take_body(self, node: Node, sender: Jid, body: Body) -> PhoneMessage | None:
        memory, contacts = self._phone.memory, self._phone.contacts
        person, chat = memory.person(str(sender)), node.attrs["from"]
        own = person == self._phone.pn
        if shared := body.get("senderKeyDistributionMessage"):
            data = shared.get("axolotlSenderKeyDistributionMessage", b"")
            self._phone.groups.learn(shared.get("groupId", ""), contacts.address(sender), data)
        if own and "appStateSyncKeyRequest" in body.get("protocolMessage", {}):
            await self._phone.companions.share_app_state_key(sender.device)
        sent = body.get("deviceSentMessage")
        if own and sent:
            chat, body = sent.get("destinationJid", ""), sent.get("message", {})
        wanted = body.get("protocolMessage", {}).get("peerDataOperationRequestMessage")
        if own and wanted and (answer := resend(self._phone, wanted, node.attrs["id"])) is not None:
            await self._phone.companions.send(sender.device, answer)
        content = read(body)
        if content is None:
            return None
        message_id, stamp = node.attrs["id"], int(node.attrs.get("t", "0"))
        chat = memory.person(chat)
        self._phone.received.keep(message_id, chat, person, stamp, body)
        message = PhoneMessage(message_id, chat, person, own, content.kind, content.text, stamp, content.target)
        if content.file is not None:
            memory.keep_file(message_id, content.file)
            with contextlib.suppress(PhoneError, MediaError, aiohttp.ClientError):  # then the phone shows no picture
                await self._phone.files.download(content.kind, content.file)
        memory.add(message)
        return message

    async def _react_to(self, message: PhoneMessage, node: Node) -> None:
        phone = self._phone
        if phone.read_receipts:
            await phone.mark_read(node.attrs["from"], [message.id])
        reply = phone.auto_reply(message) if callable(phone.auto_reply) else phone.auto_reply
        if reply and message.kind == "text":
            await phone.send_text(message.chat, reply)

    def _receipt(self, node: Node) -> dict[str, str]:
        attrs = {"id": node.attrs["id"], "to": node.attrs["from"]}
        author = node.attrs.get("participant", node.attrs["from"])
        if "participant" in node.attrs:
            attrs["participant"] = author
        if node.attrs.get("category") == "peer":
            attrs["type"] = "peer_msg"
        elif self._phone.memory.person(author) == self._phone.pn:
            attrs["type"] = "sender"
            if "recipient" in node.attrs:
                attrs["recipient"] = node.attrs["recipient"]
        return attrs

    async def _on_stale_list(self, node: Node) -> None:
        """The server says that a message was written to other devices than there are: learn them anew.

        A message that was refused for it (479) is written once more, under the same id.
        """
        self._phone.contacts.forget()
        message_id = node.attrs["id"]
        if node.attrs.get("error") == "479" and message_id not in self._rewritten:
            self._rewritten.add(message_id)
            await self._phone.send_anew(message_id)

    # --- what could not be decrypted ----------------------------------------------------------------------------
    async def _ask_again(self, node: Node, reason: str) -> None:
        message_id = node.attrs["id"]
        count = self._retries.get(message_id, 0) + 1
        self._retries[message_id] = count
        if count > MAX_RETRIES:
            raise PhoneError(f"message {message_id} cannot be decrypted: {reason}")
        retry = {"v": "1", "count": str(count), "id": message_id, "t": node.attrs.get("t", "0")}
        registration = self._phone.keys.registration_id.to_bytes(4, "big")
        attrs = {"id": message_id, "to": node.attrs["from"], "type": "retry"}
        attrs |= {name: node.attrs[name] for name in ("participant", "recipient") if name in node.attrs}
        await self._network.send(Node("receipt", attrs, [Node("retry", retry), Node("registration", {}, registration)]))

    async def _on_receipt(self, node: Node) -> None:
        memory, kind = self._phone.memory, node.attrs.get("type", "delivery")
        memory.learn(node)
        if kind == "retry":
            await self._send_again(node)
            return
        if kind == "server-error":
            await self._upload_again(node)
            return
        listed = node.child("list")
        ids = [node.attrs["id"], *(item.attrs["id"] for item in (listed.children("item") if listed else []))]
        sender, stamp = memory.person(node.attrs.get("participant", node.attrs["from"])), int(node.attrs.get("t", "0"))
        for message_id in ids:
            memory.add_receipt(SeenReceipt(message_id, sender, kind, stamp))

    async def _upload_again(self, node: Node) -> None:
        """A companion of ours found that the media server has a file no more."""
        message_id, request = node.attrs["id"], node.child("encrypt")
        message, file = self._phone.memory.find(message_id), self._phone.memory.files.get(message_id)
        head = {"to": node.attrs["from"], "type": "mediaretry", "id": message_id}
        named = node.child("rmr") or Node("rmr")
        if message is None or file is None or request is None:
            await self._network.send(Node("notification", head, [named, Node("error", {"code": "2"})]))
            return
        key, parts = file["mediaKey"], [request.child("enc_p"), request.child("enc_iv")]
        plain = open_retry(key, message_id, *(part.bytes() if part else b"" for part in parts))
        if decode(SERVER_ERROR_RECEIPT, plain).get("stanzaId") != message_id:
            raise PhoneError(f"the request for the file of {message_id} names another message")
        path = await self._phone.files.upload_again(message.kind, file)
        result = MEDIA_RETRY_SUCCESS if path else MEDIA_RETRY_NOT_FOUND
        facts = {"stanzaId": message_id, "result": result} | ({"directPath": path} if path else {})
        sealed, iv = seal_retry(key, message_id, encode(MEDIA_RETRY, facts))
        answer = Node("encrypt", {}, [Node("enc_p", {}, sealed), Node("enc_iv", {}, iv)])
        await self._network.send(Node("notification", head, [named, answer]))

    async def _send_again(self, node: Node) -> None:
        """Somebody could not decrypt a message of ours: start afresh with that device, under the same id."""
        device = jids.parse(node.attrs.get("participant", node.attrs["from"]))
        known = self._phone.sent.get(node.attrs["id"])
        if device is None or known is None:
            return
        disguise = self._phone.disguises.get(node.attrs["id"])
        hosted = disguise is not None and disguise.is_hosted
        contacts = self._phone.hosted if hosted else self._phone.contacts
        keys = contacts.keys
        chat, body = known
        group, own = chat.endswith(jids.GROUP), self._phone.memory.person(str(device)) == self._phone.pn
        address, bundle, registration = contacts.address(device), node.child("keys"), node.child("registration")
        keys.forget(address)
        self._phone.groups.forget(chat, address)
        if bundle is not None and registration is not None:
            keys.begin(address, Node("user", {}, [registration, *bundle.children()]))
        else:
            await contacts.ensure_sessions([device])
        copy = {"deviceSentMessage": {"destinationJid": chat, "message": body}}
        enc = contacts.encrypt(device, copy if own and not group else body)
        retry = node.child("retry")
        enc.attrs["count"] = retry.attrs.get("count", "1") if retry else "1"
        attrs = {"to": str(device), "id": node.attrs["id"], "type": "text"}
        if group:
            attrs |= {"to": chat, "participant": str(device), "addressing_mode": "lid"}
        elif own:
            attrs["recipient"] = chat
        message = Node("message", attrs, [enc])
        await self._network.send(disguise.put_on(message) if disguise else message)
