"""Small queries: keepalive, props, privacy, block list, status, profile, media connection, unlinking, telemetry."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable

from wasim import devices
from wasim import jid as jids
from wasim.accounts import Account, Device
from wasim.hub import Hub
from wasim.wire.nodes import Node

PRIVACY = {
    "readreceipts": "all", "last": "contacts", "online": "all", "profile": "all", "status": "contacts",
    "groupadd": "all", "calladd": "all", "messages": "all", "defense": "off", "stickers": "contacts",
}  # fmt: skip
MAX_BLOCKED = 5_000


def _ok(hub: Hub, device: Device, iq: Node) -> None:
    hub.result(device, iq)


def _ping(hub: Hub, device: Device, iq: Node) -> None:
    hub.journal.note("ping", jid=str(device.pn))
    hub.result(device, iq)


def _passive(hub: Hub, device: Device, iq: Node) -> None:
    hub.result(device, iq)
    link = hub.link(device)
    if iq.child("active") is not None and link is not None and not link.live:
        devices.start_offline(hub, device, link)
        if device.id and (phone := hub.phones.get(device.phone)):
            phone.welcome(device.id)


def _props(hub: Hub, device: Device, iq: Node) -> None:
    props = {"10518": "true", "9666": "false", "14303": "true"}
    listed = [Node("prop", {"config_code": code, "config_value": value}) for code, value in props.items()]
    listed += [Node("prop", {"name": code, "value": value}) for code, value in props.items()]
    hub.result(device, iq, [Node("props", {"protocol": "1", "hash": "wasim1", "refresh": "86400"}, listed)])


def _privacy(hub: Hub, device: Device, iq: Node) -> None:
    account = hub.accounts.find(device.pn)
    assert account is not None  # a device that speaks belongs to an account
    tokens, wanted = iq.child("tokens"), iq.child("privacy")
    if tokens is not None:
        hub.result(device, iq, _issue_tokens(hub, device, tokens))
        return
    if iq.attrs.get("type") == "set" and wanted is not None:
        for category in wanted.children("category"):
            name = category.attrs.get("name", "")
            if name not in PRIVACY:
                hub.refuse(device, iq, 400, "bad-request", f"unknown privacy category {name!r}")
                return
            account.privacy[name] = category.attrs.get("value", "")
        hub.accounts.save(account)
    values = PRIVACY | account.privacy
    shown = [Node("category", {"name": name, "value": value}) for name, value in values.items()]
    hub.result(device, iq, [Node("privacy", {}, shown)])


def _issue_tokens(hub: Hub, device: Device, tokens: Node) -> list[Node]:
    """Hand a trusted contact's token to that contact, who may then write first; give theirs, where a fault says that
    they are needed.
    """
    own = hub.accounts.find(device.pn)
    fault = hub.faults.find("token_required", device.names)
    theirs: list[Node] = []
    for token in tokens.children("token"):
        contact = hub.accounts.find(token.attrs.get("jid", ""))
        if own is None or contact is None or contact is own:
            continue
        hub.journal.note("token", jid=str(device.pn), to=str(contact.lid))
        t = token.attrs.get("t", str(int(hub.now())))
        secret = _token(hub, own, contact, t)
        if fault is not None and fault.options.get("given", True):
            attrs = {"jid": str(contact.lid), "t": t, "type": "trusted_contact"}
            theirs.append(Node("token", attrs, _token(hub, contact, own, t)))
        content = Node("tokens", {}, [Node("token", {"jid": str(own.lid), "t": t, "type": "trusted_contact"}, secret)])
        for target in contact.devices.values():
            hub.notify(target, "privacy_token", [content], str(own.pn), sender_lid=str(own.lid))
    return [Node("tokens", {}, theirs)] if theirs else []


def _token(hub: Hub, issuer: Account, holder: Account, t: str) -> bytes:
    secret = hmac.digest(issuer.lid_user.encode(), f"{holder.lid_user}|{t}".encode(), hashlib.sha256)[:16]
    issuer.issued[holder.lid_user] = secret.hex()
    hub.accounts.save(issuer)
    return secret


def _blocklist(hub: Hub, device: Device, iq: Node) -> None:
    account = hub.accounts.find(device.pn)
    assert account is not None  # a device that speaks belongs to an account
    for item in iq.children("item"):
        jid, action = item.attrs.get("jid", ""), item.attrs.get("action")
        if jids.parse(jid) is None or action not in ("block", "unblock") or len(account.blocked) >= MAX_BLOCKED:
            hub.refuse(device, iq, 400, "bad-request", "an item needs jid and action=block or unblock")
            return
        account.blocked = [other for other in account.blocked if other != jid] + ([jid] if action == "block" else [])
        hub.accounts.save(account)
        for other in account.devices.values():
            if other is not device:
                hub.notify(other, "account_sync", [Node("blocklist", {}, [item])], str(account.pn))
    items = [Node("item", {"jid": jid}) for jid in account.blocked]
    hub.result(device, iq, [Node("list", {}, items)])


def _status(hub: Hub, device: Device, iq: Node) -> None:
    account, status = hub.accounts.find(device.pn), iq.child("status")
    if account is not None and status is not None:
        account.status = status.text()[:139]
        hub.accounts.save(account)
    hub.result(device, iq)


def _picture(hub: Hub, device: Device, iq: Node) -> None:
    if iq.attrs.get("type") == "set":
        hub.result(device, iq, [Node("picture", {"id": str(int(hub.now()))})])
    else:
        hub.refuse(device, iq, 404, "item-not-found", "the person has no picture")


def _media(hub: Hub, device: Device, iq: Node) -> None:
    if not hub.media_host:
        hub.refuse(device, iq, 503, "service-unavailable", "this wasim runs without a media server")
        return
    host = Node(
        "host", {"hostname": hub.media_host, "maxContentLengthBytes": str(100 * 1024 * 1024), "type": "primary"}
    )
    attrs = {"auth": devices.media_auth(device), "ttl": "21600", "auth_ttl": "21600", "max_buckets": "12"}
    hub.result(device, iq, [Node("media_conn", attrs, [host])])


def _devices(hub: Hub, device: Device, iq: Node) -> None:
    remove = iq.child("remove-companion-device")
    target = hub.accounts.device(remove.attrs.get("jid", "")) if remove else None
    if remove is None or target is None or target.phone != device.phone or target.id == 0:
        hub.refuse(device, iq, 400, "bad-request", "remove-companion-device must name a companion of the account")
        return
    if device.id not in (0, target.id):
        hub.refuse(device, iq, 403, "forbidden", "a companion can only unlink itself")
        return
    hub.result(device, iq)
    devices.unlink(hub, target, remove.attrs.get("reason", "user_initiated"))


def _graph(hub: Hub, device: Device, iq: Node) -> None:
    """Answer ``w:mex``, WhatsApp's GraphQL; only the look at restrictions is known."""
    fault = hub.faults.find("timelock", device.names) or hub.faults.find("ack_error", device.names)
    if fault is not None and fault.kind == "ack_error" and "ends" not in fault.options:
        fault = None
    ends = str(fault.options.get("ends", "0")) if fault else "0"
    data = {"xwa2_fetch_account_reachout_timelock": {"is_active": fault is not None, "time_enforcement_ends": ends}}
    hub.result(device, iq, [Node("result", {}, json.dumps({"data": data}).encode())])


def on_info(hub: Hub, device: Device, node: Node) -> None:
    """Take an ``<ib>``: the request for the offline batch; telemetry is ignored."""
    link = hub.link(device)
    if node.child("offline_batch") is not None and link is not None and not link.live:
        devices.finish_offline(hub, device, link)


QUERIES: dict[str, Callable[[Hub, Device, Node], None]] = {
    "w:p": _ping,
    "urn:xmpp:ping": _ping,
    "passive": _passive,
    "abt": _props,
    "privacy": _privacy,
    "blocklist": _blocklist,
    "status": _status,
    "disappearing_mode": _ok,
    "w:profile:picture": _picture,
    "w:m": _media,
    "md": _devices,
    "w:mex": _graph,
    "w:stats": _ok,
    "w:biz": _ok,
    "bot": _ok,
    "urn:xmpp:whatsapp:dirty": _ok,
    "urn:xmpp:whatsapp:push": _ok,
    "tos": _ok,
}
