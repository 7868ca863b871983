"""``<message>``: from one device to all devices of both sides, to one device, or to a group.

The server never sees plaintext. It checks the list of devices that a message was encrypted for: a device that is not
there, is listed twice, is the sender itself or belongs to a third party is refused (479, as for a malformed stanza),
and so is a list without the recipient's phone; only in a note to self the own devices may be listed twice. A list that
only misses companions is delivered and acknowledged with ``phash``, the hash of the right list, which tells the client
to fetch it again; the log has ``device-list-stale``.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from wasim import jid as jids
from wasim.accounts import Account, Device
from wasim.faults import Fault
from wasim.hub import Hub, message_key
from wasim.jid import Jid
from wasim.stanzas.disguise import TAG as DISGUISE
from wasim.stanzas.disguise import disguised
from wasim.wire.nodes import Node

PASSED_ON = ("type", "category", "edit", "push_priority", "expiration")


@dataclass
class Refusal(Exception):
    """A message that is not taken: the ack's error code, the reason for the log, the right list's hash."""

    code: int
    reason: str
    phash: str | None = None


def on_message(hub: Hub, device: Device, node: Node) -> None:
    """Relay a message and acknowledge it."""
    to = jids.parse(node.attrs.get("to", ""))
    message_id = node.attrs.get("id", "")
    if to is None or not message_id:
        hub.note_refusal(device, node, "a message needs to and id")
        return
    fault = _refused(hub, device, to)
    phash: str | None = None
    error: int | None = None
    try:
        if fault is not None:
            raise Refusal(int(fault.options.get("code", 463)), "fault ack_error")
        phash = _relay(hub, device, to, node)
    except Refusal as refusal:
        error, phash = refusal.code, refusal.phash
        hub.note_refusal(device, node, refusal.reason, refusal.code)
    if error is None:
        hub.journal.note("message", jid=str(device.pn), to=str(to), id=message_id, type=node.attrs.get("type"))
    _acknowledge(hub, device, node, error, phash)


def _refused(hub: Hub, device: Device, to: Jid) -> Fault | None:
    """Use up and give the ``ack_error`` that strikes a message to ``to``: it may be meant for one chat alone."""
    fault = hub.faults.find("ack_error", device.names)
    account = hub.accounts.find(to)
    if fault is None or fault.options.get("to") not in (None, str(to.bare()), account.phone if account else ""):
        return None
    return hub.fault("ack_error", device)


def _acknowledge(hub: Hub, device: Device, node: Node, error: int | None, phash: str | None) -> None:
    message_id = node.attrs["id"]
    if hub.fault("no_ack", device):
        hub.journal.note("ack-withheld", jid=str(device.pn), id=message_id)
        return
    attrs = {"class": "message", "id": message_id, "from": node.attrs["to"], "t": str(int(hub.now()))}
    if error is not None:
        attrs["error"] = str(error)
    if phash is not None:
        attrs["phash"] = phash
    if "participant" in node.attrs:
        attrs["participant"] = node.attrs["participant"]
    hub.answer(device, Node("ack", attrs))
    hub.journal.note("ack", jid=str(device.pn), id=message_id, error=error, phash=phash)


def _relay(hub: Hub, device: Device, to: Jid, node: Node) -> str | None:
    if to.server == jids.GROUP:
        return _to_group(hub, device, to, node)
    if to.server == "broadcast":
        return None  # status updates: taken, shown to nobody
    account = hub.accounts.find(to)
    if to.server not in (jids.PN, jids.LID) or account is None:
        raise Refusal(404, f"{to} is not on WhatsApp")
    if node.attrs.get("category") == "peer" or node.child("participants") is None:
        _to_one(hub, device, account, to, node)
        return None
    return _to_all(hub, device, account, to, node)


# -- one chat


def _to_one(hub: Hub, device: Device, account: Account, to: Jid, node: Node) -> None:
    """Deliver to a single device: peer messages, and messages sent again after a retry receipt."""
    peer = node.attrs.get("category") == "peer"
    if peer and account.phone != device.phone:
        raise Refusal(479, "a peer message can only go to a device of the same account")
    if node.child("enc") is None:
        raise Refusal(479, "a message needs <participants> or <enc>")
    target = account.devices.get(to.device)
    if target is None or target is device:
        raise Refusal(479, f"{to} is not another device of the account")
    recipient = jids.parse(node.attrs.get("recipient", ""))
    attrs = _attrs(hub, device, node, to.server)
    if recipient is not None and account.phone == device.phone and not peer:
        attrs |= {"recipient": str(recipient.bare())}
    _post(hub, device, target, attrs, enc=node.children("enc"), node=node)


def _to_all(hub: Hub, device: Device, account: Account, to: Jid, node: Node) -> str | None:
    own = hub.accounts.find(device.pn)
    assert own is not None  # a device that speaks belongs to an account
    if account is not own:
        _may_write(hub, device, own, account, node)
    expected = {id(d): d for d in (*own.devices.values(), *account.devices.values()) if d is not device}
    right = _phash([d.address(to.server) for d in expected.values()])
    listed = _listed(hub, device, node, right, twice=account is own)
    for address, target, _ in listed:
        if id(target) not in expected:
            raise Refusal(479, f"{address} is not a device of this chat, or the sender itself", right)
    reached = {id(target) for _, target, _ in listed}
    if account.phone != device.phone and id(account.devices[0]) not in reached:
        raise Refusal(479, "the recipient's phone is not among the devices", right)
    blocked = str(own.pn) in account.blocked or str(own.lid) in account.blocked
    for address, target, enc in listed:
        attrs = _attrs(hub, device, node, address.server)
        if target.phone == device.phone:
            # An own device is told who the chat is, not who we are: Baileys takes either for the other side's address.
            attrs.pop("sender_pn" if address.server == jids.LID else "sender_lid", None)
            attrs["recipient"] = str(account.address(address.server))
            alt = "peer_recipient_lid" if address.server == jids.PN else "peer_recipient_pn"
            attrs[alt] = str(account.lid if address.server == jids.PN else account.pn)
        elif blocked:
            hub.journal.note("blocked", jid=str(target.pn), by=str(device.pn), id=node.attrs["id"])
            continue
        _post(hub, device, target, attrs, enc=enc, node=node)
    missing = [d for key, d in expected.items() if key not in reached]
    claimed = node.attrs.get("phash")
    if not missing and claimed in (None, right):
        return None
    hub.journal.note(
        "device-list-stale", jid=str(device.pn), id=node.attrs["id"], missing=[str(d.pn) for d in missing], phash=right
    )
    return right


def _may_write(hub: Hub, device: Device, own: Account, account: Account, node: Node) -> None:
    """Hold a message to a person to the two restrictions that WhatsApp names with one number."""
    if hub.faults.find("timelock", device.names) and account.phone not in own.heard_from:
        raise Refusal(463, "reach-out timelock: this person never wrote")
    if hub.faults.find("token_required", device.names):
        token = node.child("tctoken")
        if token is None or token.bytes().hex() != account.issued.get(own.lid_user):
            raise Refusal(463, "no valid privacy token of this person")
    hub.accounts.hear(account, own.phone)


def _listed(
    hub: Hub, device: Device, node: Node, right: str | None, *, twice: bool = False
) -> list[tuple[Jid, Device, list[Node]]]:
    """Read ``<participants>``: each address, its device, and what was encrypted for it.

    ``twice``: the sender's own devices may be listed twice, as Baileys does in a note to self; the first one counts.
    """
    found: list[tuple[Jid, Device, list[Node]]] = []
    seen: set[int] = set()
    participants = node.child("participants")
    for entry in participants.children("to") if participants else []:
        address = jids.parse(entry.attrs.get("jid", ""))
        target = hub.accounts.device(address)
        if address is None or target is None:
            raise Refusal(479, f"{entry.attrs.get('jid')!r} is no device", right)
        if id(target) in seen:
            if twice and target.phone == device.phone:
                continue
            raise Refusal(479, f"{address} is listed twice", right)
        if not entry.children("enc"):
            raise Refusal(479, f"nothing is encrypted for {address}", right)
        seen.add(id(target))
        found.append((address, target, entry.children("enc")))
    return found


def _attrs(hub: Hub, device: Device, node: Node, server: str) -> dict[str, str]:
    attrs = {"from": str(device.address(server)), "id": node.attrs["id"], "t": str(int(hub.now()))}
    attrs |= {key: node.attrs[key] for key in PASSED_ON if key in node.attrs}
    attrs.setdefault("type", "text")
    own = hub.accounts.find(device.pn)
    if own is not None:
        attrs["sender_pn" if server == jids.LID else "sender_lid"] = str(own.pn if server == jids.LID else own.lid)
        attrs["notify"] = device.push_name or own.name
    return attrs


def _post(hub: Hub, sender: Device, target: Device, attrs: dict[str, str], *, enc: list[Node], node: Node) -> None:
    kept_back = ("participants", "enc", "device-identity", "tctoken", DISGUISE)
    extra = [child for child in node.children() if child.tag not in kept_back]
    attrs = disguised(sender, target, attrs, node)
    identity = node.child("device-identity")
    if identity is not None and any(part.attrs.get("type") == "pkmsg" for part in enc):
        extra.append(identity)
    if target.id and target.phone != sender.phone:
        enc = _spoiled(hub, target, attrs["id"], enc)
    chat = hub.accounts.chat(attrs.get("from", ""))
    hub.post(target, message_key(attrs.get("id", ""), chat), Node("message", attrs, [*enc, *extra]))


def _spoiled(hub: Hub, target: Device, message_id: str, enc: list[Node]) -> list[Node]:
    """What a fault leaves of a message for a companion: garbled, or nothing but the word that the phone has it."""
    fault = hub.fault("unavailable", target) or hub.fault("garble", target)
    if fault is None:
        return enc
    hub.journal.note("spoiled", jid=str(target.pn), id=message_id, by=fault.kind)
    if fault.kind == "unavailable":
        return [Node("unavailable")]
    last, data = enc[-1], bytearray(enc[-1].bytes())
    data[len(data) * 3 // 4] ^= 1  # under the MAC or the signature, in every kind
    return [*enc[:-1], Node(last.tag, last.attrs, bytes(data))]


def _phash(addresses: list[Jid]) -> str:
    """Hash a device list (Baileys ``generateParticipantHashV2``: sorted, joined, SHA-256, six base64 characters)."""
    digest = hashlib.sha256("".join(sorted(map(str, addresses))).encode()).digest()
    return "2:" + base64.b64encode(digest).decode()[:6]


# -- groups


def _to_group(hub: Hub, device: Device, to: Jid, node: Node) -> str | None:
    group = hub.groups.find(str(to))
    if group is None or device.phone not in group.members:
        raise Refusal(403 if group else 404, f"{to} is no group of the sender")
    if group.announcement and not group.is_admin(device.phone):
        raise Refusal(403, f"only admins may write in {to}")
    members = [account for phone in group.members if (account := hub.accounts.find(f"{phone}@{jids.PN}"))]
    expected = {id(d): d for account in members for d in account.devices.values() if d is not device}
    right = _phash([d.lid for d in expected.values()])
    keys = {id(target): enc for _, target, enc in _listed(hub, device, node, right)}
    keys.pop(id(device), None)  # Baileys 7.0.0-rc14 lists its own device by LID (``extractDeviceJids``), and may
    if keys.keys() - expected.keys():
        raise Refusal(479, "a device that is not in the group is listed", right)
    only = hub.accounts.device(node.attrs.get("participant"))
    attrs = _attrs(hub, device, node, jids.LID) | {
        "from": str(to), "participant": str(device.lid), "participant_pn": f"{device.phone}@{jids.PN}",
        "addressing_mode": "lid",
    }  # fmt: skip
    attrs.pop("sender_pn", None)
    shared = node.children("enc")
    for key, target in expected.items():
        if only is None or target is only:
            _post(hub, device, target, attrs, enc=[*keys.get(key, []), *shared], node=node)
    return right if node.attrs.get("phash", right) != right else None
