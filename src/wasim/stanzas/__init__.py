"""What the server does with each stanza, by topic.

A handler is a function of the hub, the device that sent the stanza, and the stanza. ``dispatch`` picks it: by tag, and
an ``iq`` by its ``xmlns``. Unknown queries are refused as the real server does (501), and noted.
"""

from __future__ import annotations

from collections.abc import Callable

from wasim.accounts import Device
from wasim.hub import Hub
from wasim.stanzas import appstate, groups, keys, messages, presence, receipts, settings, usync
from wasim.wire.nodes import Node

Handler = Callable[[Hub, Device, Node], None]

QUERIES: dict[str, Handler] = {
    "encrypt": keys.on_query,
    "usync": usync.on_query,
    "w:sync:app:state": appstate.on_query,
    "w:g2": groups.on_query,
    **settings.QUERIES,
}

STANZAS: dict[str, Handler] = {
    "message": messages.on_message,
    "receipt": receipts.on_receipt,
    "notification": receipts.on_media_retry,
    "ack": receipts.on_ack,
    "presence": presence.on_presence,
    "chatstate": presence.on_chatstate,
    "ib": settings.on_info,
}


def dispatch(hub: Hub, device: Device, node: Node) -> None:
    """Handle one stanza of a logged-in device or a phone."""
    if node.tag == "iq":
        _on_iq(hub, device, node)
    elif handler := STANZAS.get(node.tag):
        handler(hub, device, node)
    else:
        hub.note_refusal(device, node, f"there is no stanza <{node.tag}>")
    hub.state.commit()


def _on_iq(hub: Hub, device: Device, node: Node) -> None:
    if node.attrs.get("type") in ("result", "error"):
        return  # answers to the server's own queries
    if not node.attrs.get("id"):
        hub.refuse(device, node, 400, "bad-request", "an iq needs an id")
        return
    xmlns = node.attrs.get("xmlns", "")
    handler = QUERIES.get(xmlns)
    if (fault := hub.faults.find("refuse_query", device.names)) is not None and fault.options["xmlns"] == xmlns:
        hub.fault("refuse_query", device)
        hub.refuse(device, node, int(fault.options["code"]), "refused", "fault refuse_query")
    elif handler is None:
        hub.refuse(device, node, 501, "feature-not-implemented", f"unknown xmlns {node.attrs.get('xmlns')!r}")
    else:
        handler(hub, device, node)
