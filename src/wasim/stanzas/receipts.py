"""``<receipt>`` and ``<ack>`` from devices: what they have taken, read, or could not decrypt.

A receipt of any type or an ack ends the waiting of the stanza that it names. Receipts go on to the devices of the other
side and stay queued there until they are acknowledged in turn.
"""

from __future__ import annotations

from wasim import jid as jids
from wasim.accounts import Account, Device
from wasim.hub import Hub, message_key, stanza_key
from wasim.jid import Jid
from wasim.wire.nodes import Node

TO_PHONE = ("peer_msg", "hist_sync", "server-error")
"""The last asks for a file to be uploaded again (Baileys 7.0.0-rc14 ``encryptMediaRetryRequest``)."""
OWN_ONLY = ("sender", "read-self", "played-self")


def on_receipt(hub: Hub, device: Device, node: Node) -> None:
    """Take a receipt: end the waiting of its messages, acknowledge it, pass it on."""
    own = hub.accounts.find(device.pn)
    receipt_id = node.attrs.get("id", "")
    if own is None or not receipt_id:
        hub.note_refusal(device, node, "a receipt needs id")
        return
    to = jids.parse(node.attrs.get("to", "")) or device.pn.bare()
    kind = node.attrs.get("type", "")
    ids = [receipt_id, *_listed_ids(node)]
    chat = hub.accounts.chat(str(to))
    for message_id in ids:
        taken = hub.accounts.dequeue(device, message_key(message_id, chat))
        hub.journal.note(
            "receipt", jid=str(device.pn), to=str(to), id=message_id, type=kind or "delivery",
            first=taken is not None,
        )  # fmt: skip
    attrs = {"class": "receipt", "id": receipt_id, "from": node.attrs.get("to", str(to)), "t": str(int(hub.now()))}
    hub.answer(device, Node("ack", attrs | ({"type": kind} if kind else {})))
    _pass_on(hub, device, own, to, node)


def _listed_ids(node: Node) -> list[str]:
    listed = node.child("list")
    return [item.attrs["id"] for item in listed.children("item") if "id" in item.attrs] if listed else []


def _pass_on(hub: Hub, device: Device, own: Account, to: Jid, node: Node) -> None:
    account = hub.accounts.find(to)
    kind = node.attrs.get("type", "")
    if kind in TO_PHONE:
        if device.id:
            _post(hub, device, own.devices[0], to.server, node=node, extra={})
        return
    if to.server in (jids.GROUP, jids.BROADCAST):
        _to_author(hub, device, to, node)
        return
    if account is None:
        hub.note_refusal(device, node, f"{to} is not on WhatsApp")
        return
    if kind == "retry":
        hosted = to.server in (jids.HOSTED, jids.HOSTED_LID)
        target = account.devices.get(0 if hosted else to.device)
        if target is not None and target is not device:
            extra = {"recipient": node.attrs["recipient"]} if "recipient" in node.attrs else {}
            _post(hub, device, target, to.server, node=node, extra=extra)
        return
    if account is not own and kind not in OWN_ONLY:
        for target in account.devices.values():
            _post(hub, device, target, to.server, node=node, extra={})
    if kind in ("read", "played", "read-self", "played-self"):
        for target in own.devices.values():
            if target is not device:
                _post(hub, device, target, to.server, node=node, extra={"recipient": str(to.bare())})


def _to_author(hub: Hub, device: Device, to: Jid, node: Node) -> None:
    author = jids.parse(node.attrs.get("participant", ""))
    account = hub.accounts.find(author)
    if author is None or account is None:
        return
    retry = node.attrs.get("type") == "retry"
    extra = {"from": str(to), "participant": str(device.address(author.server))}
    for target in account.devices.values():
        if target is not device and (not retry or target.id == author.device):
            _post(hub, device, target, author.server, node=node, extra=extra)


def _post(hub: Hub, device: Device, target: Device, server: str, *, node: Node, extra: dict[str, str]) -> None:
    attrs = {"from": str(device.address(server)), "id": node.attrs["id"], "t": str(int(hub.now()))} | extra
    kind = node.attrs.get("type", "")
    if kind:
        attrs["type"] = kind
    key = stanza_key("receipt", node.attrs["id"], attrs["from"], kind + attrs.get("participant", ""))
    hub.post(target, key, Node("receipt", attrs, node.content))


def on_media_retry(hub: Hub, device: Device, node: Node) -> None:
    """A phone answers a companion that asked for a file again: the server passes it on as a notification."""
    own, to = hub.accounts.find(device.pn), jids.parse(node.attrs.get("to", ""))
    target = own.devices.get(to.device) if own is not None and to is not None else None
    if node.attrs.get("type") != "mediaretry" or device.id or target is None or to is None:
        hub.note_refusal(device, node, "only a phone answers, and only its own companions")
        return
    sender, stanza_id = str(device.address(to.server)), node.attrs["id"]
    attrs = {"from": sender, "type": "mediaretry", "id": stanza_id, "t": str(int(hub.now()))}
    hub.post(target, stanza_key("notification", stanza_id, sender), Node("notification", attrs, node.content))


def on_ack(hub: Hub, device: Device, node: Node) -> None:
    """Take an ack: the stanza that it names waits no longer. An error in it is noted."""
    of, stanza_id, to = (node.attrs.get(name, "") for name in ("class", "id", "to"))
    if of == "message":
        key = message_key(stanza_id, hub.accounts.chat(to))
    else:
        kind = node.attrs.get("type", "") + node.attrs.get("participant", "") if of == "receipt" else ""
        key = stanza_key(of, stanza_id, to, kind)
    taken = hub.accounts.dequeue(device, key)
    hub.journal.note(
        "client-ack", jid=str(device.pn), id=stanza_id, of=of, error=node.attrs.get("error"), first=taken is not None
    )
