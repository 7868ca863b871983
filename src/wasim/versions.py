"""WhatsApp Web's version: which counts as current, where clients look it up, whom the fault ``outdated`` refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wasim.faults import Fault

Version = tuple[int, ...]

WA_VERSION: Version = (2, 3000, 1043857760)
"""The version that counts as current while no fault says otherwise (that of Baileys 7.0.0-rc14)."""
NEXT_VERSION = "2.3000.1043857761"
"""What ``outdated`` asks for if it names nothing."""


def parse(text: str) -> Version | None:
    """Read ``2.3000.1043857760``, or give None."""
    return tuple(map(int, text.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", text) else None


def write(version: Version) -> str:
    """Give a version as text."""
    return ".".join(map(str, version))


def of(payload: dict[str, Any]) -> Version:
    """Give the version that a login payload claims."""
    said = payload.get("userAgent", {}).get("appVersion", {})
    return tuple(int(said.get(part, 0)) for part in ("primary", "secondary", "tertiary"))


def wanted(fault: Fault) -> Version:
    """Give the oldest version that an ``outdated`` fault lets in."""
    return parse(str(fault.options["version"])) or WA_VERSION


def current(faults: Iterable[Fault]) -> Version:
    """Give the version that clients are told."""
    return max((wanted(fault) for fault in faults if fault.kind == "outdated"), default=WA_VERSION)


def service_worker(version: Version) -> str:
    """Write what ``web.whatsapp.com/sw.js`` holds of it (read by ``fetchLatestWaWebVersion`` of Baileys)."""
    return f'self.__swData=JSON.parse("{{\\"dynamic_data\\":{{\\"client_revision\\":{version[2]}}}}}");\n'


def page(version: Version) -> str:
    """Write what the front page holds of it (read by clients that look there)."""
    return f'<!doctype html><title>wasim</title><script>{{"client_revision":{version[2]}}}</script>\n'
