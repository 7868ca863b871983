"""Addresses: phone (``@s.whatsapp.net``), LID (``@lid``), group (``@g.us``), with or without a device."""

from __future__ import annotations

import re
from dataclasses import dataclass

SERVER = "@s.whatsapp.net"
PN = "s.whatsapp.net"
LID = "lid"
HOSTED, HOSTED_LID = "hosted", "hosted.lid"
"""Servers of the devices that Meta hosts for an account ("coexistence"): the same people as by number and by LID."""
GROUP = "g.us"
BROADCAST = "broadcast"
_JID = re.compile(r"([0-9A-Za-z_.\-]*)(?::([0-9]{1,5}))?@([a-z.]+)")
_PHONE = re.compile(r"[1-9][0-9]{6,14}")


@dataclass(frozen=True, slots=True)
class Jid:
    """One address; device 0 is the phone itself and is not written."""

    user: str
    server: str
    device: int = 0

    def __str__(self) -> str:
        return f"{self.user}:{self.device}@{self.server}" if self.device else f"{self.user}@{self.server}"

    def bare(self) -> Jid:
        """Give the address of the person, without the device."""
        return Jid(self.user, self.server)


def parse(text: str) -> Jid | None:
    """Read an address, or None if it is none. ``@c.us``, the old name of the phone server, is understood."""
    match = _JID.fullmatch(text)
    if match is None:
        return None
    server = PN if match[3] == "c.us" else match[3]
    return Jid(match[1], server, int(match[2] or 0))


_SPELLINGS = (
    (re.compile(r"55(\d\d)9(\d{8})"), r"55\1\2"),
    (re.compile(r"55(\d\d)(\d{8})"), r"55\g<1>9\2"),
    (re.compile(r"521(\d{10})"), r"52\1"),
    (re.compile(r"52(\d{10})"), r"521\1"),
    (re.compile(r"549(\d{10})"), r"54\1"),
    (re.compile(r"54(\d{10})"), r"549\1"),
)
"""Brazil's ninth digit, and what Mexico and Argentina put before mobile numbers: WhatsApp takes both, and keeps one."""


def other_spelling(number: str) -> str:
    """Give how else people write a number; empty for one that is written in one way."""
    return next((match.expand(other) for form, other in _SPELLINGS if (match := form.fullmatch(number))), "")


def phone_number(text: str) -> str | None:
    """Read a phone number as people write it (``+40 712 345 678``) or as an address; digits, or None."""
    head = text.split("@", 1)[0].split(":", 1)[0]
    digits = re.sub(r"[+\s().-]", "", head)
    return digits if _PHONE.fullmatch(digits) else None
