"""``xmlns=w:g2``: create a group, ask about one, list one's own."""

from __future__ import annotations

from wasim import jid as jids
from wasim.accounts import Device
from wasim.groups import Group
from wasim.hub import Hub
from wasim.wire.nodes import Node

MAX_MEMBERS = 1024


def on_query(hub: Hub, device: Device, iq: Node) -> None:
    """Handle one query about groups."""
    first = iq.first()
    what = first.tag if first else ""
    if what == "create" and first is not None:
        _create(hub, device, iq, first)
    elif what == "participating":
        groups = [group_node(hub, group) for group in hub.groups.of(device.phone)]
        hub.result(device, iq, [Node("groups", {}, groups)])
    elif what == "query":
        group = hub.groups.find(iq.attrs.get("to", ""))
        if group is None:
            hub.refuse(device, iq, 404, "item-not-found")
        elif device.phone not in group.members:
            hub.refuse(device, iq, 403, "forbidden", "not a member of the group")
        else:
            hub.result(device, iq, [group_node(hub, group)])
    else:
        hub.refuse(device, iq, 501, "feature-not-implemented", f"unknown group query <{what}>")


def _create(hub: Hub, device: Device, iq: Node, create: Node) -> None:
    subject = create.attrs.get("subject", "")
    asked = [hub.accounts.find(node.attrs.get("jid", "")) for node in create.children("participant")]
    if not 0 < len(subject) <= 100 or None in asked or len(asked) >= MAX_MEMBERS:
        hub.refuse(device, iq, 406, "not-acceptable", "a group needs a subject, and members who are on WhatsApp")
        return
    now = int(hub.now())
    group = Group(f"1203{hub.rng.randrange(10**14):014d}@{jids.GROUP}", subject, device.phone, now)
    group.members = {device.phone: "superadmin"} | {a.phone: "" for a in asked if a and a.phone != device.phone}
    hub.groups.save(group)
    hub.journal.note("group-created", jid=str(device.pn), id=group.id, members=len(group.members))
    hub.result(device, iq, [group_node(hub, group)])
    told = [d for phone in group.members if (a := hub.accounts.find(f"{phone}@{jids.PN}")) for d in a.devices.values()]
    for target in told:
        if target is not device:
            node = Node("create", {"type": "new", "key": create.attrs.get("key", "")}, [group_node(hub, group)])
            hub.notify(target, "w:gp2", [node], group.id, participant=str(device.lid.bare()))


def group_node(hub: Hub, group: Group) -> Node:
    """Describe a group as the server does (read by ``extractGroupMetadata`` of Baileys 7.0.0-rc14)."""
    creator = hub.accounts.find(f"{group.creator}@{jids.PN}")
    members = []
    for phone, role in group.members.items():
        account = hub.accounts.find(f"{phone}@{jids.PN}")
        if account is not None:
            attrs = {"jid": str(account.lid), "phone_number": str(account.pn)}
            members.append(Node("participant", attrs | ({"type": role} if role else {})))
    attrs = {
        "id": group.id.split("@")[0], "subject": group.subject, "s_t": str(group.created),
        "creation": str(group.created), "addressing_mode": "lid", "size": str(len(members)),
    }  # fmt: skip
    if creator is not None:
        attrs |= {"creator": str(creator.lid), "creator_pn": str(creator.pn), "s_o": str(creator.lid)}
    return Node("group", attrs, members)
