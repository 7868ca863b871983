"""``xmlns=encrypt``: upload, count, digest and rotation of pre-keys, and the bundles that others fetch.

Shapes as Baileys 7.0.0-rc14 sends and reads them (``lib/Utils/signal.js``, ``lib/Socket/socket.js``).
"""

from __future__ import annotations

import hashlib

from wasim import curve
from wasim.accounts import Device, SignedPreKey
from wasim.hub import Hub
from wasim.wire.nodes import Node

LOW = 5  # with fewer one-time keys than this the server asks for more; Baileys uploads below 5


class KeysError(ValueError):
    """Keys that the server does not take; the message says why."""


def on_query(hub: Hub, device: Device, iq: Node) -> None:
    """Handle one query about keys."""
    first = iq.first()
    what = first.tag if first else ""
    try:
        if iq.attrs.get("type") == "get" and first is not None and what == "key":
            hub.result(device, iq, [Node("list", {}, [_bundle(hub, device, user) for user in first.children("user")])])
        elif what == "count":
            hub.result(device, iq, [Node("count", {"value": str(len(device.pre_keys))})])
        elif what == "digest":
            _digest(hub, device, iq)
        elif what == "rotate" and first is not None:
            device.signed_pre_key = read_signed_pre_key(first.child("skey"), device.identity)
            hub.accounts.save_device(device)
            hub.journal.note("prekeys-rotated", jid=str(device.pn), key=device.signed_pre_key.id)
            hub.result(device, iq)
        elif iq.attrs.get("type") == "set":
            _upload(hub, device, iq)
            hub.result(device, iq)
        else:
            hub.refuse(device, iq, 400, "bad-request", f"unknown key query <{what}>")
    except KeysError as error:
        hub.refuse(device, iq, 406, "not-acceptable", str(error))


def _need(node: Node, tag: str, size: int) -> bytes:
    child = node.child(tag)
    if child is None or len(child.bytes()) != size:
        found = "missing" if child is None else f"{len(child.bytes())} bytes"
        raise KeysError(f"<{tag}> in <{node.tag}> must have {size} bytes, it is {found}")
    return child.bytes()


def read_signed_pre_key(node: Node | None, identity: bytes) -> SignedPreKey:
    """Read ``<skey>`` and check its signature.

    :raises KeysError: if it is incomplete or not signed by ``identity``
    """
    if node is None:
        raise KeysError("<skey> is missing")
    public, signature = _need(node, "value", 32), _need(node, "signature", 64)
    if not curve.verify(identity, curve.KEY_TYPE + public, signature):
        raise KeysError("the signed pre-key is not signed by the device's identity key")
    return SignedPreKey(int.from_bytes(_need(node, "id", 3), "big"), public, signature)


def _upload(hub: Hub, device: Device, iq: Node) -> None:
    identity = _need(iq, "identity", 32)
    if device.identity and identity != device.identity:
        raise KeysError("the identity key is not the one that the device was linked with")
    if _need(iq, "type", 1) != curve.KEY_TYPE:
        raise KeysError("the key type must be 5")
    registration = int.from_bytes(_need(iq, "registration", 4), "big")
    if device.registration_id and registration != device.registration_id:
        raise KeysError("the registration id is not the one that the device was linked with")
    signed = read_signed_pre_key(iq.child("skey"), identity)
    listed = iq.child("list")
    fresh: dict[int, bytes] = {}
    for key in listed.children("key") if listed else []:
        number = int.from_bytes(_need(key, "id", 3), "big")
        public = _need(key, "value", 32)
        if number in device.used_pre_keys:
            raise KeysError(f"pre-key {number} was used up before; ids are not used twice")
        if fresh.get(number, device.pre_keys.get(number, public)) != public:
            raise KeysError(f"pre-key {number} is there already, with another key")
        fresh[number] = public
    if not fresh:
        raise KeysError("the upload holds no one-time pre-keys")
    device.identity, device.registration_id, device.signed_pre_key = identity, registration, signed
    device.asked_for_pre_keys = False
    hub.accounts.save_device(device)
    for number, public in fresh.items():
        hub.accounts.add_pre_key(device, number, public)
    hub.journal.note("prekeys-uploaded", jid=str(device.pn), count=len(fresh), total=len(device.pre_keys))


def _key_node(tag: str, number: int, public: bytes, signature: bytes | None = None) -> Node:
    parts = [Node("id", {}, number.to_bytes(3, "big")), Node("value", {}, public)]
    if signature is not None:
        parts.append(Node("signature", {}, signature))
    return Node(tag, {}, parts)


def _digest(hub: Hub, device: Device, iq: Node) -> None:
    signed = device.signed_pre_key
    if signed is None:
        hub.refuse(device, iq, 404, "item-not-found", "the device uploaded no keys yet")
        return
    digest = hashlib.sha1(usedforsecurity=False)
    for part in (device.identity, signed.public, signed.signature, *device.pre_keys.values()):
        digest.update(part)
    parts = [
        Node("registration", {}, device.registration_id.to_bytes(4, "big")),
        Node("type", {}, curve.KEY_TYPE),
        Node("identity", {}, device.identity),
        _key_node("skey", signed.id, signed.public, signed.signature),
        Node("list", {}, [Node("id", {}, number.to_bytes(3, "big")) for number in device.pre_keys]),
        Node("hash", {}, digest.digest()),
    ]
    hub.result(device, iq, [Node("digest", {}, parts)])


def _bundle(hub: Hub, asker: Device, user: Node) -> Node:
    address = user.attrs.get("jid", "")
    device = hub.accounts.device(address)
    if device is None or device.signed_pre_key is None:
        reason = "no such device" if device is None else "the device has no keys yet"
        hub.journal.note("refused", jid=str(asker.pn), tag="key", to=address, code=404, reason=reason)
        return Node("user", {"jid": address}, [Node("error", {"code": "404", "text": "item-not-found"})])
    signed, one_time = device.signed_pre_key, hub.accounts.take_pre_key(device)
    hub.journal.note(
        "prekey-taken", jid=str(device.pn), by=str(asker.pn), key=one_time[0] if one_time else None,
        left=len(device.pre_keys),
    )  # fmt: skip
    parts = [
        Node("registration", {}, device.registration_id.to_bytes(4, "big")),
        Node("type", {}, curve.KEY_TYPE),
        Node("identity", {}, device.identity),
        _key_node("skey", signed.id, signed.public, signed.signature),
    ]
    if one_time is not None:
        parts.append(_key_node("key", *one_time))
    if len(device.pre_keys) < LOW and not device.asked_for_pre_keys:
        device.asked_for_pre_keys = True
        hub.notify(device, "encrypt", [Node("count", {"value": str(len(device.pre_keys))})])
    return Node("user", {"jid": address}, parts)
