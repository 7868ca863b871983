"""A phone: a person's primary device, with keys of its own. It decrypts, answers, reads, links companions.

It speaks the same stanzas as a companion (see ``wasim.ports``). Messages go to all devices of both sides, by LID as
today's WhatsApp does; what cannot be decrypted is asked for again, and what others could not decrypt is sent again.
What a person does stands here; what arrives is taken in ``phone_receiving``.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wasim import jid as jids
from wasim import phone_more
from wasim.jid import Jid
from wasim.phone_book import Memory, PhoneMessage, SeenReceipt
from wasim.phone_contacts import Contacts, PhoneError, asked, bare
from wasim.phone_content import FILES, Body
from wasim.phone_files import Files
from wasim.phone_groups import GroupKeys
from wasim.phone_keys import Hosted, KeyRing
from wasim.phone_linking import Linking
from wasim.phone_receiving import Receiving
from wasim.phone_welcome import Welcome
from wasim.ports import PhoneNetwork, QrData
from wasim.stanzas.disguise import Disguise
from wasim.wire.nodes import Node
from wasim.wire.schema import MESSAGE_EDIT, REVOKE

__all__ = ["Phone", "PhoneError", "PhoneMessage", "SeenReceipt"]

RESENDABLE = 1_000
"""Sent messages that are kept for who could not decrypt them."""
WAIT = 30.0
TYPING = ("composing", "paused", "recording")


class Phone:
    """See the module. ``pn`` and ``lid`` are bare JIDs; the server feeds ``on_node`` one stanza at a time.

    ``auto_reply`` is a text, or gives one for a message; ``read_receipts`` says whether it reads at once what comes;
    ``by_phone``, whether it addresses people by number instead of by LID.
    """

    def __init__(self, pn: str, lid: str, network: PhoneNetwork) -> None:
        self.pn, self.lid = pn, lid
        self.auto_reply: str | Callable[[PhoneMessage], str | None] | None = None
        self.read_receipts = False
        self.by_phone = False
        self.memory = Memory(network)
        self.memory.pair(lid, pn)
        self.keys = KeyRing(network)
        self.groups = GroupKeys(network)
        self.contacts = Contacts(self.memory, self.keys, network)
        hosted: Any = Hosted(network)
        self.hosted = Contacts(self.memory, KeyRing(hosted), hosted)
        """Whom the account's hosted device can write to, with its own keys."""
        self.sent: OrderedDict[str, tuple[str, Body]] = OrderedDict()
        self.disguises: dict[str, Disguise] = {}
        """What sent messages looked like on the wire, by id: what is sent again looks the same."""
        self._network = network
        self.files = Files(network)
        self.linking = Linking(self.keys.identity, network)
        self.companions = Welcome(pn, self.memory, self.contacts, network)
        self.received = phone_more.Received()
        self._receiving = Receiving(self, network)

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
            await self.upload_keys()
            self._network.store("uploaded", True)

    async def upload_keys(self) -> None:
        """Give the server fresh one-time keys."""
        await asked(self._network, self.keys.upload())

    async def on_node(self, node: Node) -> None:
        """Take one stanza that is for this phone."""
        await self._receiving.take(node)

    async def until_message(self, timeout: float = WAIT, **facts: Any) -> PhoneMessage:
        """Give the newest message with these facts, waiting for it. Raises TimeoutError after ``timeout`` seconds."""
        return await self.memory.until(lambda: _newest(self.memory.messages, facts), timeout)

    async def until_receipt(self, timeout: float = WAIT, **facts: Any) -> SeenReceipt:
        """Give the newest receipt with these facts, waiting for it. Raises TimeoutError after ``timeout`` seconds."""
        return await self.memory.until(lambda: _newest(self.memory.receipts, facts), timeout)

    # --- linking ------------------------------------------------------------------------------------------------
    def link_device(self, qr: QrData) -> bytes:
        """See ``Linking.sign``."""
        return self.linking.sign(qr)

    def confirm_device(self, identity: bytes) -> None:
        """See ``Linking.confirm``."""
        self.linking.confirm(identity)

    def key_index_list(self) -> bytes:
        """See ``Linking.key_index_list``."""
        return self.linking.key_index_list()

    def enter_code(self, code: str, wrapped: bytes) -> tuple[bytes, bytes]:
        """See ``Linking.enter_code``."""
        return self.linking.enter_code(code, wrapped)

    def finish_code(self, bundle: bytes, companion_identity: bytes) -> bytes:
        """See ``Linking.finish_code``."""
        return self.linking.finish_code(bundle, companion_identity)

    def welcome(self, device: int) -> None:
        """See ``Welcome.greet``."""
        self.companions.greet(device)

    # --- writing ------------------------------------------------------------------------------------------------
    async def send_text(self, to: str, text: str, id: str | None = None) -> str:
        """Write to a person (by number or LID) or a group; give the message id."""
        body = {"conversation": text, "messageContextInfo": {"messageSecret": secrets.token_bytes(32)}}
        return await self.send(to, body, kind="text", text=text, message_id=id)

    async def send_image(self, to: str, data: bytes, caption: str = "", mimetype: str = "image/jpeg") -> str:
        """Upload a picture and send it; give the message id. Raises ``PhoneError`` without a media server."""
        file = await self.files.upload("image", data) | {"mimetype": mimetype}
        file["mediaKeyTimestamp"] = int(self._network.now())
        body = {"imageMessage": file | ({"caption": caption} if caption else {})}
        body["messageContextInfo"] = {"messageSecret": secrets.token_bytes(32)}
        return await self.send(to, body, kind="image", text=caption, attrs={"type": "media", "mediatype": "image"})

    async def download(self, message_id: str) -> bytes:
        """Fetch the file of a message, sent or received. Raises ``PhoneError``, ``MediaError``."""
        file, message = self.memory.files.get(message_id), self.memory.find(message_id)
        if file is None or message is None:
            raise PhoneError(f"message {message_id} has no file, or it is too long ago")
        return await self.files.download(message.kind, file)

    async def react(self, chat: str, message_id: str, emoji: str) -> str:
        """React to a message of the chat; an empty emoji takes the reaction back. Raises ``PhoneError``."""
        if self.memory.find(message_id) is None:
            raise PhoneError(f"there is no message {message_id} in {chat}")
        key = await self.key_of(chat, message_id)
        body = {"reactionMessage": {"key": key, "text": emoji, "senderTimestampMs": int(self._network.now() * 1000)}}
        return await self.send(
            chat, body, kind="reaction", text=emoji, target=message_id, attrs={"type": "reaction"}
        )  # fmt: skip

    async def edit(self, chat: str, message_id: str, text: str) -> str:
        """Change a message of our own."""
        key = await self.key_of(chat, message_id)
        stamp = int(self._network.now() * 1000)
        protocol = {"key": key, "type": MESSAGE_EDIT, "editedMessage": {"conversation": text}, "timestampMs": stamp}
        return await self.send(
            chat, {"protocolMessage": protocol}, kind="edited", text=text, target=message_id, attrs={"edit": "1"}
        )

    async def revoke(self, chat: str, message_id: str) -> str:
        """Delete a message of our own for everyone."""
        protocol = {"key": await self.key_of(chat, message_id), "type": REVOKE}
        return await self.send(
            chat, {"protocolMessage": protocol}, kind="revoked", text="", target=message_id, attrs={"edit": "7"}
        )

    def now_ms(self) -> int:
        """Milliseconds, as messages carry them."""
        return int(self._network.now() * 1000)

    async def key_of(self, chat: str, message_id: str) -> Body:
        """How a message of the chat is named in messages about it."""
        known = self.memory.find(message_id)
        mine = known.from_me if known else True
        group = chat.endswith(jids.GROUP)
        key = {"remoteJid": chat if group else await self.contacts.lid_of(chat), "fromMe": mine, "id": message_id}
        if group and known is not None and not mine:
            key["participant"] = self.memory.lid(known.sender) or known.sender
        return key

    async def mark_read(self, chat: str, ids: Sequence[str]) -> None:
        """Read messages of a chat: blue ticks for who wrote them. In a group they must be of one author."""
        if not ids:
            return
        items = [Node("list", {}, [Node("item", {"id": message_id}) for message_id in ids[1:]])] if ids[1:] else None
        attrs = {"id": ids[0], "type": "read", "t": str(int(self._network.now()))}
        if chat.endswith(jids.GROUP):
            known = self.memory.find(ids[0])
            if known is None:
                raise PhoneError(f"there is no message {ids[0]} in {chat}")
            attrs |= {"to": chat, "participant": await self.contacts.lid_of(known.sender)}
        else:
            attrs["to"] = str(bare(await self.contacts.lid_of(chat)))
        await self._network.send(Node("receipt", attrs, items))

    async def typing(self, chat: str, state: str = "composing") -> None:
        """Show that the person writes (``composing``), speaks (``recording``) or stopped (``paused``)."""
        if state not in TYPING:
            raise PhoneError(f"{state!r} is not one of {', '.join(TYPING)}")
        to = chat if chat.endswith(jids.GROUP) else await self.contacts.lid_of(chat)
        content = Node("composing", {"media": "audio"}) if state == "recording" else Node(state)
        await self._network.send(Node("chatstate", {"to": to}, [content]))

    async def available(self, there: bool = True) -> None:
        """Show that the person looks at WhatsApp, or left."""
        await self._network.send(Node("presence", {"type": "available" if there else "unavailable"}))

    # --- groups -------------------------------------------------------------------------------------------------
    async def create_group(self, subject: str, members: Sequence[str]) -> str:
        """See ``phone_more.create_group``."""
        return await phone_more.create_group(self, self._network, subject, members)

    async def change_group(self, group: str, change: str, members: Sequence[str]) -> None:
        """See ``phone_more.change_group``."""
        await phone_more.change_group(self, self._network, group, change, members)

    async def rename_group(self, group: str, subject: str) -> None:
        """See ``phone_more.rename_group``."""
        await phone_more.rename_group(self._network, group, subject)

    async def expire_group(self, group: str, seconds: int) -> None:
        """See ``phone_more.expire_group``."""
        await phone_more.expire_group(self._network, group, seconds)

    async def leave_group(self, group: str) -> None:
        """See ``phone_more.leave_group``."""
        await phone_more.leave_group(self._network, group)

    # --- sending ------------------------------------------------------------------------------------------------
    async def send(
        self, to: str, body: Body, *, kind: str, text: str, message_id: str | None = None, target: str = "",
        attrs: Mapping[str, str] | None = None, disguise: Disguise | None = None,
    ) -> str:  # fmt: skip
        """Send any message; give its id. Raises ``PhoneError`` if it cannot be sent."""
        message_id = message_id or f"3A{secrets.token_hex(9).upper()}"
        stanza = {"id": message_id, "type": "text", **(attrs or {})}
        media = stanza.pop("mediatype", None)
        chat = to if to.endswith(jids.GROUP) else await self.contacts.lid_of(to)
        contacts = self.hosted if disguise and disguise.is_hosted else self.contacts
        message = await self._written(chat, body, stanza, contacts)
        if self.by_phone and not chat.endswith(jids.GROUP):
            message.attrs["to"] = self.memory.person(chat)
        if media:
            _mark(message.children(), media)
        if disguise:
            self.disguises[message_id] = disguise
            message = disguise.put_on(message)
        self._show(message_id, chat, body, kind=kind, text=text, target=target)
        await self._network.send(message)
        return message_id

    async def send_anew(self, message_id: str) -> None:
        """Write a message once more, to the devices that there are now; one that is too old is let go."""
        if known := self.sent.get(message_id):
            chat, body = known
            stanza = {"id": message_id, "type": "text"}
            await self._network.send(await self._written(chat, body, stanza, self.contacts))

    async def _written(self, chat: str, body: Body, stanza: Mapping[str, str], contacts: Contacts) -> Node:
        if chat.endswith(jids.GROUP):
            attrs = {"to": chat, **stanza, "addressing_mode": "lid"}
            return Node("message", attrs, await self._for_group(chat, body))
        return Node("message", {"to": chat, **stanza}, await self._for_person(chat, body, contacts))

    async def _for_person(self, chat: str, body: Body, contacts: Contacts) -> list[Node]:
        own = set(await contacts.devices_of(self.lid))
        devices = self._others([*await contacts.devices_of(chat), *own])
        await contacts.ensure_sessions(devices)
        copy = {"deviceSentMessage": {"destinationJid": chat, "message": body}}
        return [
            Node(
                "participants",
                {},
                [
                    Node(
                        "to",
                        {"jid": self._named(device)},
                        [contacts.encrypt(device, copy if device in own else body)],
                    )
                    for device in devices
                ],
            )
        ]

    async def _for_group(self, group: str, body: Body) -> list[Node]:
        members = await self.contacts.members(group)
        devices = self._others(await self.contacts.devices_of(*members))
        addresses = {self.contacts.address(device): device for device in devices}
        lacking = self.groups.without(group, addresses)
        await self.contacts.ensure_sessions([addresses[address] for address in lacking])
        handed = self.groups.distribution(group)
        participants = [
            Node("to", {"jid": str(addresses[address])}, [self.contacts.encrypt(addresses[address], handed)])
            for address in lacking
        ]
        return [Node("participants", {}, participants), self.groups.encrypt(group, body, lacking)]

    def _named(self, device: Jid) -> str:
        person = jids.parse(self.memory.person(str(device.bare())))
        return str(Jid(person.user, person.server, device.device) if self.by_phone and person else device)

    def _others(self, devices: Sequence[Jid]) -> list[Jid]:
        return [device for device in dict.fromkeys(devices) if str(device) != self.lid]

    def _show(self, message_id: str, chat: str, body: Body, *, kind: str, text: str, target: str) -> None:
        self.sent[message_id] = (chat, body)
        while len(self.sent) > RESENDABLE:
            self.disguises.pop(self.sent.popitem(last=False)[0], None)
        for field in FILES.keys() & body.keys():
            self.memory.keep_file(message_id, body[field])
        person, now = self.memory.person(chat), int(self._network.now())
        self.memory.add(PhoneMessage(message_id, person, self.pn, True, kind, text, now, target))


def _newest(kept: Sequence[Any], facts: Mapping[str, Any]) -> Any:
    wanted = facts.items()
    return next((one for one in reversed(kept) if all(getattr(one, name) == value for name, value in wanted)), None)


def _mark(parts: Sequence[Node], media: str) -> None:
    """Say on each ciphertext what kind of file it is about, as clients do."""
    for part in parts:
        if part.tag == "enc":
            part.attrs["mediatype"] = media
        _mark(part.children(), media)
