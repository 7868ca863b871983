"""WhatsApp's addresses: parsing and comparing them.

A JID is `user[_agent][:device]@server`. Servers: `s.whatsapp.net` (phone number), `lid` (the number-hiding identity),
`g.us` (group), `newsletter`, `broadcast`. A device that Meta hosts for an account ("coexistence", device 99) has the
servers `hosted` and `hosted.lid`: the same person. Seen in Baileys 7.0.0-rc14 lib/WABinary/jid-utils.js.
"""

from __future__ import annotations

PN = "s.whatsapp.net"
LID = "lid"
GROUP = "g.us"
STATUS_BROADCAST = "status@broadcast"
_SAME_PERSON = {"c.us": PN, "hosted": PN, "hosted.lid": LID}


def split(jid: str) -> tuple[str, int, str]:
    """(user, device, server); device 0 is the phone itself."""
    user, _, server = jid.partition("@")
    user, _, device = user.partition(":")
    user = user.partition("_")[0]
    return user, int(device) if device.isdecimal() else 0, _SAME_PERSON.get(server, server)


def bare(jid: str) -> str:
    """The address of the account, without its device."""
    user, _, server = split(jid)
    return f"{user}@{server}" if server else user


def is_group(jid: str) -> bool:
    """Whether the address is a group's."""
    return jid.endswith("@g.us")


def is_lid(jid: str) -> bool:
    """Whether the address hides the phone number."""
    return split(jid)[2] == LID


def is_broadcast_list(jid: str) -> bool:
    """Whether the address is a list to which somebody writes, each of whose members gets a message of their own."""
    return jid.endswith("@broadcast") and jid != STATUS_BROADCAST


def phone_of(jid: str) -> str:
    """The digits of a phone number address; empty for any other."""
    user, _, server = split(jid)
    return user if server == PN else ""


def mask(phone: str) -> str:
    """A phone number as logs may show it: `+407****97`."""
    digits = "".join(c for c in phone if c.isdigit())
    return f"+{digits[:3]}****{digits[-2:]}" if len(digits) > 5 else "+****"
