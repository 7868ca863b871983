"""``xmlns=w:g2``: create a group, ask about it, change its members, name and settings, invite, join, leave.

Who is no member learns nothing (403), and members who are no admins change nothing that is an admin's (403). A change
of members is answered for each of them, with ``error`` where it was refused; all devices of the group are notified,
those of who was removed too, but the one that asked.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from wasim import jid as jids
from wasim.accounts import Account, Device
from wasim.groups import Group
from wasim.hub import Hub
from wasim.wire.nodes import Node

MAX_MEMBERS = 1024
MAX_SUBJECT = 100
MAX_DESCRIPTION = 2048
FORBIDDEN, NOT_FOUND, NOT_ACCEPTABLE, CONFLICT, FULL = 403, 404, 406, 409, 419
CHANGES = ("add", "remove", "promote", "demote")


def on_query(hub: Hub, device: Device, iq: Node) -> None:
    """Handle one query about groups."""
    first = iq.first()
    what = first.tag if first else ""
    to = iq.attrs.get("to", "")
    if first is None or what not in _ANYWHERE | _IN_GROUP.keys():
        hub.refuse(device, iq, 501, "feature-not-implemented", f"unknown group query <{what}>")
    elif what == "create":
        _create(hub, device, iq, first)
    elif what == "participating":
        groups = [group_node(hub, group) for group in hub.groups.of(device.phone)]
        hub.result(device, iq, [Node("groups", {}, groups)])
    elif what == "leave":
        _leave(hub, device, iq, first)
    elif what == "invite" and "code" in first.attrs:
        _by_invitation(hub, device, iq, first.attrs["code"])
    else:
        group = hub.groups.find(to)
        if group is None:
            hub.refuse(device, iq, NOT_FOUND, "item-not-found")
        elif device.phone not in group.members:
            hub.refuse(device, iq, FORBIDDEN, "forbidden", "not a member of the group")
        else:
            _IN_GROUP[what](hub, device, iq, group)


def _create(hub: Hub, device: Device, iq: Node, create: Node) -> None:
    subject = create.attrs.get("subject", "")
    asked = [hub.accounts.find(node.attrs.get("jid", "")) for node in create.children("participant")]
    if not 0 < len(subject) <= MAX_SUBJECT or None in asked or len(asked) >= MAX_MEMBERS:
        hub.refuse(
            device, iq, NOT_ACCEPTABLE, "not-acceptable", "a group needs a subject, and members who are on WhatsApp"
        )
        return
    now = int(hub.now())
    group = Group(f"1203{hub.rng.randrange(10**14):014d}@{jids.GROUP}", subject, device.phone, now)
    group.members = {device.phone: "superadmin"} | {a.phone: "" for a in asked if a and a.phone != device.phone}
    hub.groups.save(group)
    hub.journal.note("group-created", jid=str(device.pn), id=group.id, members=len(group.members))
    hub.result(device, iq, [group_node(hub, group)])
    told = Node("create", {"type": "new", "key": create.attrs.get("key", "")}, [group_node(hub, group)])
    _tell(hub, device, group, told)


def _describe(hub: Hub, device: Device, iq: Node, group: Group) -> None:
    hub.result(device, iq, [group_node(hub, group)])


# -- members


def _change(hub: Hub, device: Device, iq: Node, group: Group) -> None:
    asked = iq.first()
    assert asked is not None  # on_query has looked
    if not group.is_admin(device.phone):
        hub.refuse(device, iq, FORBIDDEN, "forbidden", f"only an admin can <{asked.tag}>")
        return
    before = set(group.members)
    if asked.tag == "add" and len(before) + len(asked.children("participant")) > MAX_MEMBERS:
        hub.refuse(device, iq, FULL, "resource-limit", f"a group has at most {MAX_MEMBERS} members")
        return
    answers, done = [], []
    for node in asked.children("participant"):
        account = hub.accounts.find(node.attrs.get("jid", ""))
        error = NOT_FOUND if account is None else _refusal(group, asked.tag, account.phone)
        attrs = {"jid": node.attrs.get("jid", "")}
        answers.append(Node("participant", attrs | ({"error": str(error)} if error else {})))
        if account is not None and not error:
            _move(group, asked.tag, account.phone)
            done.append(account)
    hub.groups.save(group)
    hub.result(device, iq, [Node(asked.tag, {"participant": str(device.lid.bare())}, answers)])
    if done:
        listed = [_participant(account, group.members.get(account.phone, "")) for account in done]
        _tell(hub, device, group, Node(asked.tag, {}, listed), also=before)


def _refusal(group: Group, change: str, phone: str) -> int:
    role = group.members.get(phone)
    if change == "add":
        return 0 if role is None else CONFLICT
    if role is None:
        return NOT_FOUND
    if role == "superadmin":
        return NOT_ACCEPTABLE  # who made the group stays its admin
    return CONFLICT if (change == "promote") == bool(role) and change != "remove" else 0


def _move(group: Group, change: str, phone: str) -> None:
    if change == "remove":
        del group.members[phone]
    else:
        group.members[phone] = "admin" if change == "promote" else ""


def _leave(hub: Hub, device: Device, iq: Node, leave: Node) -> None:
    answers = []
    for node in leave.children("group"):
        group = hub.groups.find(node.attrs.get("id", ""))
        error = NOT_FOUND if group is None or device.phone not in group.members else 0
        answers.append(Node("group", {"id": node.attrs.get("id", "")} | ({"error": str(error)} if error else {})))
        if group is not None and not error:
            before, role = set(group.members), group.members.pop(device.phone)
            if role == "superadmin" and group.members and not any(group.members.values()):
                group.members[next(iter(group.members))] = "admin"
            hub.groups.save(group)
            account = hub.accounts.find(device.pn)
            assert account is not None  # a device that speaks belongs to an account
            _tell(hub, device, group, Node("remove", {}, [_participant(account, "")]), also=before)
    hub.result(device, iq, [Node("leave", {}, answers)])


# -- invitations


def _invite(hub: Hub, device: Device, iq: Node, group: Group) -> None:
    """Give the code; asked with ``set``, make a new one."""
    if not group.is_admin(device.phone):
        hub.refuse(device, iq, 401, "not-authorized", "only an admin can invite")
        return
    if iq.attrs.get("type") == "set" or not group.invite:
        group.invite = f"{hub.rng.getrandbits(110):022X}"[:22]
        hub.groups.save(group)
    hub.result(device, iq, [Node("invite", {"code": group.invite})])


def _by_invitation(hub: Hub, device: Device, iq: Node, code: str) -> None:
    group = hub.groups.invited(code)
    if group is None:
        hub.refuse(device, iq, 410, "gone", "the invitation is not valid")
    elif iq.attrs.get("type") == "get":
        _describe(hub, device, iq, group)
    elif device.phone in group.members:
        hub.refuse(device, iq, CONFLICT, "conflict", "is a member of the group already")
    elif len(group.members) >= MAX_MEMBERS:
        hub.refuse(device, iq, FULL, "resource-limit", f"a group has at most {MAX_MEMBERS} members")
    else:
        group.members[device.phone] = ""
        hub.groups.save(group)
        hub.result(device, iq, [Node("group", {"jid": group.id})])
        account = hub.accounts.find(device.pn)
        assert account is not None  # a device that speaks belongs to an account
        _tell(hub, device, group, Node("add", {"reason": "invite"}, [_participant(account, "")]))


# -- name and settings


def _subject(hub: Hub, device: Device, iq: Node, group: Group) -> None:
    node = iq.child("subject")
    text = node.text() if node else ""
    if group.locked and not group.is_admin(device.phone):
        hub.refuse(device, iq, FORBIDDEN, "forbidden", "only an admin can rename this group")
    elif not 0 < len(text) <= MAX_SUBJECT:
        hub.refuse(device, iq, NOT_ACCEPTABLE, "not-acceptable", f"a subject has 1 to {MAX_SUBJECT} characters")
    else:
        group.subject = text
        hub.groups.save(group)
        hub.result(device, iq)
        told = {"subject": text, "s_o": str(device.lid.bare()), "s_t": str(int(hub.now()))}
        _tell(hub, device, group, Node("subject", told))


def _description(hub: Hub, device: Device, iq: Node, group: Group) -> None:
    node = iq.child("description")
    assert node is not None  # on_query has looked
    body = node.child("body")
    text = body.text() if body else ""
    if group.locked and not group.is_admin(device.phone):
        hub.refuse(device, iq, FORBIDDEN, "forbidden", "only an admin can describe this group")
    elif node.attrs.get("prev", "") != group.description_id:
        hub.refuse(device, iq, CONFLICT, "conflict", "the description was changed meanwhile")
    elif len(text) > MAX_DESCRIPTION or bool(text) == (node.attrs.get("delete") == "true"):
        hub.refuse(device, iq, NOT_ACCEPTABLE, "not-acceptable", "a description has a body, or delete=true")
    else:
        group.description, group.description_id = text, node.attrs.get("id", "")
        hub.groups.save(group)
        hub.result(device, iq)
        content = [Node("body", {}, text.encode())] if text else [Node("delete")]
        _tell(hub, device, group, Node("description", {"id": group.description_id}, content))


def _ephemeral(hub: Hub, device: Device, iq: Node, group: Group) -> None:
    """Set the timer of disappearing messages: any member may, unless only admins may change the group."""
    first = iq.first()
    assert first is not None  # on_query has looked
    expiration = first.attrs.get("expiration", "") if first.tag == "ephemeral" else "0"
    if group.locked and not group.is_admin(device.phone):
        hub.refuse(device, iq, FORBIDDEN, "forbidden", "only an admin can set this group's timer")
    elif not expiration.isdecimal() or (first.tag == "ephemeral") != (int(expiration) > 0):
        hub.refuse(device, iq, 400, "bad-request", "ephemeral needs expiration, in seconds")
    else:
        group.ephemeral = int(expiration)
        hub.groups.save(group)
        hub.result(device, iq)
        _tell(hub, device, group, Node(first.tag, {"expiration": expiration} if group.ephemeral else {}))


def _setting(hub: Hub, device: Device, iq: Node, group: Group) -> None:
    first = iq.first()
    assert first is not None  # on_query has looked
    if not group.is_admin(device.phone):
        hub.refuse(device, iq, FORBIDDEN, "forbidden", f"only an admin can <{first.tag}>")
        return
    if first.tag.endswith("announcement"):
        group.announcement = first.tag == "announcement"
    else:
        group.locked = first.tag == "locked"
    hub.groups.save(group)
    hub.result(device, iq)
    _tell(hub, device, group, Node(first.tag))


# -- telling


def _tell(hub: Hub, device: Device, group: Group, change: Node, also: AbstractSet[str] = frozenset()) -> None:
    """Notify all devices of the group, and of those who were ``also`` in it, but the one that made the change."""
    hub.journal.note("group-changed", jid=str(device.pn), id=group.id, change=change.tag)
    for phone in sorted(group.members.keys() | also):
        account = hub.accounts.find(f"{phone}@{jids.PN}")
        for target in account.devices.values() if account else ():
            if target is not device:
                by = {"participant": str(device.lid.bare()), "participant_pn": str(device.pn.bare())}
                hub.notify(target, "w:gp2", [change], group.id, **by)


def _participant(account: Account, role: str) -> Node:
    attrs = {"jid": str(account.lid), "phone_number": str(account.pn)}
    return Node("participant", attrs | ({"type": role} if role else {}))


def group_node(hub: Hub, group: Group) -> Node:
    """Describe a group as the server does (read by ``extractGroupMetadata`` of Baileys 7.0.0-rc14)."""
    creator = hub.accounts.find(f"{group.creator}@{jids.PN}")
    found = [(hub.accounts.find(f"{phone}@{jids.PN}"), role) for phone, role in group.members.items()]
    content = [_participant(account, role) for account, role in found if account is not None]
    attrs = {
        "id": group.id.split("@")[0], "subject": group.subject, "s_t": str(group.created),
        "creation": str(group.created), "addressing_mode": "lid", "size": str(len(content)),
    }  # fmt: skip
    if creator is not None:
        attrs |= {"creator": str(creator.lid), "creator_pn": str(creator.pn), "s_o": str(creator.lid)}
    if group.description:
        body = Node("body", {}, group.description.encode())
        content.append(Node("description", {"id": group.description_id, "t": str(group.created)}, [body]))
    if group.ephemeral:
        content.append(Node("ephemeral", {"expiration": str(group.ephemeral)}))
    content += [Node(tag) for tag, on in (("announcement", group.announcement), ("locked", group.locked)) if on]
    return Node("group", attrs, content)


_ANYWHERE = frozenset({"create", "participating", "leave"})
_IN_GROUP: dict[str, Callable[[Hub, Device, Node, Group], None]] = {
    "query": _describe,
    "invite": _invite,
    "subject": _subject,
    "description": _description,
    **dict.fromkeys(CHANGES, _change),
    **dict.fromkeys(("ephemeral", "not_ephemeral"), _ephemeral),
    **dict.fromkeys(("announcement", "not_announcement", "locked", "unlocked"), _setting),
}
