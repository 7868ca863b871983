"""The life of linked devices: coming online, being replaced, taking what waited for them, being unlinked."""

from __future__ import annotations

import asyncio
import hashlib

from wasim import jid as jids
from wasim.accounts import Account, Device
from wasim.hub import Hub, Link
from wasim.jid import Jid
from wasim.stanzas.presence import set_available
from wasim.wire.nodes import Node

BATCH_SECONDS = 2.0
"""How long a client that announces nothing is waited for before its offline stanzas are sent."""


def stream_error(attrs: dict[str, str], *content: Node) -> Node:
    """Make a ``<stream:error>``."""
    return Node("stream:error", attrs, list(content))


REPLACED = stream_error({}, Node("conflict", {"type": "replaced"}))
REMOVED = stream_error({"code": "401"}, Node("conflict", {"type": "device_removed"}))


def login(hub: Hub, device: Device, link: Link, version: str) -> None:
    """Bring ``device`` online; a stream that it has already is ended as replaced. ``version`` is what it runs."""
    old = hub.links.get(str(device.pn))
    if old is not None:
        hub.journal.note("replaced", jid=str(device.pn))
        old.end(REPLACED, "replaced")
    link.live = False
    hub.links[str(device.pn)] = link
    hub.journal.note("login", jid=str(device.pn), waiting=len(device.queue), version=version)
    attrs = {
        "t": str(int(hub.now())), "lid": str(device.lid), "display_name": device.push_name, "location": "wasim",
        "props": "27", "companion_enc_static": "wasim", "abprops": "1",
    }  # fmt: skip
    link.send(Node("success", attrs))


def gone(hub: Hub, device: Device, link: Link) -> None:
    """Take ``device`` offline, unless another link took over."""
    if hub.links.get(str(device.pn)) is link:
        del hub.links[str(device.pn)]
        set_available(hub, device, False)


def start_offline(hub: Hub, device: Device, link: Link) -> None:
    """Announce what waited; it is sent when the client asks for the batch, or soon, as not all clients ask."""
    waiting = device.queue.values()
    if not waiting:
        finish_offline(hub, device, link)
        return
    counts = {tag: sum(node.tag == tag for node in waiting) for tag in ("message", "receipt", "notification", "call")}
    attrs = {"count": str(len(waiting)), "appdata": "0"} | {tag: str(count) for tag, count in counts.items()}
    link.send(Node("ib", {"from": jids.SERVER}, [Node("offline_preview", attrs)]))
    hub.journal.note("offline-preview", jid=str(device.pn), count=len(waiting))
    asyncio.get_running_loop().call_later(BATCH_SECONDS, finish_offline, hub, device, link)


def finish_offline(hub: Hub, device: Device, link: Link) -> None:
    """Send what waited, then the end mark; from now on new stanzas go out at once. Done already: nothing happens."""
    if link.live or link.deaf or hub.link(device) is not link:
        return
    count = hub.hand_over(device, link)
    link.send(Node("ib", {"from": jids.SERVER}, [Node("offline", {"count": str(count)})]))
    hub.journal.note("offline-done", jid=str(device.pn), count=count)


def unlink(hub: Hub, device: Device, reason: str) -> None:
    """Remove a companion: its stream ends with 401, the others learn of it, its keys and queue are gone."""
    account = hub.accounts.find(device.pn)
    link = hub.links.pop(str(device.pn), None)
    hub.accounts.remove_device(device, hub.now())
    hub.journal.note("unlinked", jid=str(device.pn), reason=reason)
    for watchers in hub.watchers.values():
        watchers.discard(str(device.pn))
    if account is not None:
        announce(hub, account, "remove", device)
    if link is not None:
        link.end(REMOVED, "device removed")
    hub.state.commit()


def unlist(hub: Hub, device: Device) -> None:
    """Take a companion off its account without a word: its stream stays, its next login is refused (401)."""
    hub.accounts.remove_device(device, hub.now())
    hub.journal.note("unlisted", jid=str(device.pn))
    hub.state.commit()


def media_auth(device: Device) -> str:
    """Give what ``device`` may upload media with."""
    return hashlib.sha256(b"media" + device.identity + device.noise).hexdigest()[:32]


def announce(hub: Hub, account: Account, change: str, device: Device) -> None:
    """Tell the account's own devices and those who know its devices that a device came or went."""
    attrs = {"jid": str(device.pn), "lid": str(device.lid)}
    if change == "add":
        attrs["key-index"] = str(device.key_index)
    t = str(account.devices_changed)
    known_by = [hub.accounts.find(Jid(phone, jids.PN)) for phone in account.known_by]
    for other in (account, *filter(None, known_by)):
        for target in other.devices.values():
            if target is device:
                continue
            content = Node(
                change, {"device_hash": f"2:{t}"}, [Node("device", attrs), Node("key-index-list", {"ts": t})]
            )
            hub.notify(target, "devices", [content], str(account.pn), lid=str(account.lid))
