"""``xmlns=w:sync:app:state``: versioned lists of patches per account and collection.

The patches are sealed with a key that only the account's devices have; the server stays blind. A patch must build on
the current version, else the collection answers 409. There are no snapshots: who starts at version 0 gets all patches.
"""

from __future__ import annotations

from wasim.accounts import MAX_PATCHES, Account, Device
from wasim.hub import Hub
from wasim.wire.nodes import Node

COLLECTIONS = ("critical_block", "critical_unblock_low", "regular_high", "regular_low", "regular")
PAGE = 500  # patches in one answer


def on_query(hub: Hub, device: Device, iq: Node) -> None:
    """Answer each collection with its new patches, after appending the one that came with it."""
    account = hub.accounts.find(device.pn)
    sync = iq.child("sync")
    if account is None or sync is None:
        hub.refuse(device, iq, 400, "bad-request", "an app state query needs <sync>")
        return
    answers = [_collection(hub, device, account, node) for node in sync.children("collection")]
    hub.result(device, iq, [Node("sync", {}, answers)])


def _collection(hub: Hub, device: Device, account: Account, node: Node) -> Node:
    name, asked = node.attrs.get("name", ""), node.attrs.get("version", "0")
    if name not in COLLECTIONS or not asked.isdecimal():
        return _error(hub, device, name, 400, "bad-request")
    version, patches = int(asked), account.patches.get(name, [])
    if version > len(patches):
        return _error(hub, device, name, 409, "conflict")
    patch = node.child("patch")
    if patch is not None:
        if version != len(patches):
            return _error(hub, device, name, 409, "conflict", page=patches[version : version + PAGE])
        if len(patches) >= MAX_PATCHES:
            return _error(hub, device, name, 507, "collection is full")
        version = hub.accounts.add_patch(account, name, patch.bytes())
        hub.journal.note("app-state", jid=str(device.pn), collection=name, version=version)
        for other in account.devices.values():
            if other is not device:
                hub.notify(other, "server_sync", [Node("collection", {"name": name, "version": str(version)})])
        return Node("collection", {"name": name, "version": str(version)})
    page = patches[version : version + PAGE]
    attrs = {"name": name, "version": str(version)}
    if version + len(page) < len(patches):
        attrs["has_more_patches"] = "true"
    return Node("collection", attrs, [_patches(page)] if page else None)


def _patches(page: list[bytes]) -> Node:
    return Node("patches", {}, [Node("patch", {}, patch) for patch in page])


def _error(hub: Hub, device: Device, name: str, code: int, text: str, *, page: list[bytes] | None = None) -> Node:
    hub.journal.note("refused", jid=str(device.pn), tag="collection", id=name, code=code, reason=text)
    parts = [Node("error", {"code": str(code), "text": text})]
    if page:
        parts.append(_patches(page))
    return Node("collection", {"name": name, "type": "error"}, parts)
