"""A folder as programs on Baileys leave it: the npm Baileys itself links, talks and keeps its files in it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.support.processes import Wasim
from tests.wasim.plain import PlainClient
from wasim.server import WasimServer

FRIEND = "40712345601"


def client(wasim: Wasim, folder: Path) -> PlainClient:
    """The npm Baileys on that simulator, with its files in `folder`."""

    async def scan(qr: str, phone: str) -> None:
        await wasim.post("mock-phone/scan-qr", text=qr, phone=phone)

    facts = SimpleNamespace(
        url=wasim.url,
        root_key_hex=wasim.root_key,
        ca_file=None if wasim.ca_file == "-" else wasim.ca_file,
        pairings=SimpleNamespace(scan=scan),
    )
    return PlainClient(cast(WasimServer, facts), folder=folder)


async def make(wasim: Wasim, folder: Path, phone: str) -> None:
    """Link `phone`, get messages from a friend and answer, and stop: the folder then has keys of most kinds."""
    async with client(wasim, folder) as plain:
        await plain.pair(phone)
        await wasim.post("inject", {"from": FRIEND, "to": phone, "text": "before the move"})
        await plain.until("message", text="before the move")
        await plain.ask("send", to=f"{FRIEND}@s.whatsapp.net", text="answered")
        await leave(plain)


async def leave(plain: PlainClient) -> None:
    """Close the connection, and wait until the files are written."""
    await plain.ask("close")
    await plain.until("close")
    await plain.ask("settled")


async def held_by(wasim: Wasim) -> list[dict[str, Any]]:
    """Records of connections that WhatsApp ended because another one came."""
    found: list[dict[str, Any]] = await wasim.get("log", since=0, kind="replaced")
    return found
