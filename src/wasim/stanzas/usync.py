"""``xmlns=usync``: device lists, LIDs, who is on WhatsApp (``lib/WAUSync`` of Baileys 7.0.0-rc14)."""

from __future__ import annotations

from collections.abc import Callable

from wasim import jid as jids
from wasim.accounts import Account, Device
from wasim.hub import Hub
from wasim.wire.nodes import Node

Answer = Callable[[Hub, Account, Node], Node]


def on_query(hub: Hub, device: Device, iq: Node) -> None:
    """Answer for each listed user what the query's protocols ask."""
    usync = iq.child("usync")
    query = usync.child("query") if usync else None
    listed = usync.child("list") if usync else None
    if usync is None or query is None or listed is None:
        hub.refuse(device, iq, 400, "bad-request", "usync needs <query> and <list>")
        return
    asked = [node.tag for node in query.children()]
    unknown = [tag for tag in asked if tag not in ANSWERS]
    if unknown:
        hub.journal.note("usync-unknown", jid=str(device.pn), protocols=unknown)
    users = [_user(hub, device, user, [tag for tag in asked if tag in ANSWERS]) for user in listed.children("user")]
    echoed = ("sid", "mode", "context", "last", "index")
    attrs: dict[str, str] = {key: usync.attrs[key] for key in echoed if key in usync.attrs}
    result = Node("result", {}, [Node(tag) for tag in asked])
    hub.result(device, iq, [Node("usync", attrs, [result, Node("list", {}, users)])])


def _user(hub: Hub, device: Device, user: Node, asked: list[str]) -> Node:
    contact = user.child("contact")
    address = user.attrs.get("jid", "")
    if not address and contact is not None:  # by number: only then other spellings are understood
        number = jids.phone_number(contact.text())
        spelled = hub.accounts.spelled(number) if number else None
        address = str(spelled.pn) if spelled else f"{number}@{jids.PN}" if number else ""
    parsed = jids.parse(address)
    account = hub.accounts.find(parsed)
    if account is None or parsed is None:
        out = [Node("contact", {"type": "out"}, contact.bytes() if contact else None)] if "contact" in asked else []
        return Node("user", {"jid": address} if address else {}, out)
    if "devices" in asked:
        hub.accounts.know(account, device.phone)
    answers = [ANSWERS[tag](hub, account, user) for tag in asked]
    return Node("user", {"jid": str(account.address(parsed.server))}, answers)


def _devices(hub: Hub, account: Account, user: Node) -> Node:
    devices = []
    for number, device in sorted(account.devices.items()):
        attrs = {"id": str(number)}
        if number:
            attrs["key-index"] = str(device.key_index)
        devices.append(Node("device", attrs))
    parts = [Node("device-list", {}, devices)]
    phone = hub.phones.get(account.phone)
    if account.companions and phone is not None and (signed := phone.key_index_list()):
        parts.append(Node("key-index-list", {"ts": str(account.devices_changed)}, signed))
    return Node("devices", {}, parts)


def _lid(hub: Hub, account: Account, user: Node) -> Node:
    return Node("lid", {"val": str(account.lid)})


def _contact(hub: Hub, account: Account, user: Node) -> Node:
    asked = user.child("contact")
    return Node("contact", {"type": "in"}, asked.bytes() if asked and asked.bytes() else None)


def _status(hub: Hub, account: Account, user: Node) -> Node:
    return Node("status", {"t": "0"}, account.status.encode() or None)


def _disappearing(hub: Hub, account: Account, user: Node) -> Node:
    return Node("disappearing_mode", {"duration": "0", "t": "0"})


def _empty(tag: str) -> Answer:
    def answer(hub: Hub, account: Account, user: Node) -> Node:
        return Node(tag)

    return answer


ANSWERS: dict[str, Answer] = {
    "devices": _devices,
    "lid": _lid,
    "contact": _contact,
    "status": _status,
    "disappearing_mode": _disappearing,
    "picture": _empty("picture"),
    "business": _empty("business"),
    "username": _empty("username"),
}
