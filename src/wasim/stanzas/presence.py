"""``<presence>`` and ``<chatstate>``: who is there, who writes. Nothing of it is kept for later."""

from __future__ import annotations

from wasim import jid as jids
from wasim.accounts import Account, Device
from wasim.hub import Hub
from wasim.wire.nodes import Node

MAX_WATCHERS = 5_000  # devices that may watch one account


def on_presence(hub: Hub, device: Device, node: Node) -> None:
    """Take a device's presence or name, or let it watch someone."""
    own = hub.accounts.find(device.pn)
    assert own is not None  # a device that speaks belongs to an account
    kind = node.attrs.get("type", "available")
    if kind in ("subscribe", "unsubscribe"):
        _watch(hub, device, node, kind == "subscribe")
        return
    if kind not in ("available", "unavailable"):
        hub.note_refusal(device, node, f"unknown presence {kind!r}")
        return
    name = node.attrs.get("name", "")
    if name and name != device.push_name:
        device.push_name = name
        hub.accounts.save_device(device)
    if "type" in node.attrs:
        set_available(hub, device, kind == "available")


def set_available(hub: Hub, device: Device, available: bool) -> None:
    """Change whether a device counts as there, and tell those who watch."""
    if device.available == available:
        return
    device.available = available
    hub.journal.note("presence", jid=str(device.pn), type="available" if available else "unavailable")
    account = hub.accounts.find(device.pn)
    if account is None:
        return
    for address in list(hub.watchers.get(account.phone, ())):
        watcher = hub.accounts.device(address)
        if watcher is not None:
            _tell(hub, watcher, account, jids.PN)


def _watch(hub: Hub, device: Device, node: Node, wanted: bool) -> None:
    to = jids.parse(node.attrs.get("to", ""))
    account = hub.accounts.find(to)
    if to is None or account is None:
        return  # as the real server: no answer for groups and unknown people
    watchers = hub.watchers.setdefault(account.phone, set())
    if not wanted or len(watchers) >= MAX_WATCHERS:
        watchers.discard(str(device.pn))
        return
    watchers.add(str(device.pn))
    _tell(hub, device, account, to.server)


def _tell(hub: Hub, watcher: Device, account: Account, server: str) -> None:
    attrs = {"from": str(account.address(server))}
    if not any(device.available for device in account.devices.values()):
        attrs |= {"type": "unavailable", "last": str(int(hub.now()))}
    hub.send(watcher, Node("presence", attrs))


def on_chatstate(hub: Hub, device: Device, node: Node) -> None:
    """Pass on that someone writes, records or has stopped, to those devices that are online."""
    to = jids.parse(node.attrs.get("to", ""))
    if to is None:
        hub.note_refusal(device, node, "a chat state needs to")
        return
    hub.journal.note("chatstate", jid=str(device.pn), to=str(to), type=first.tag if (first := node.first()) else None)
    if to.server == jids.GROUP:
        group = hub.groups.find(str(to))
        for phone in group.members if group else ():
            member = hub.accounts.find(f"{phone}@{jids.PN}")
            if member is not None and phone != device.phone:
                _pass_on(hub, member, node, {"from": str(to), "participant": str(device.lid.bare())})
        return
    account = hub.accounts.find(to)
    if account is not None and account.phone != device.phone:
        _pass_on(hub, account, node, {"from": str(device.address(to.server).bare())})


def _pass_on(hub: Hub, account: Account, node: Node, attrs: dict[str, str]) -> None:
    for target in account.devices.values():
        hub.send(target, Node("chatstate", attrs, node.content))
