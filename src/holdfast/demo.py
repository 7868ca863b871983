"""The demonstration: a simulated WhatsApp, Holdfast on it, and two phones that talk, all in one process tree.

The only place of Holdfast that knows the simulator. Nothing of it outlives the command: the data lies in a temporary
folder that is deleted at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from holdfast.app import api_key, running, server
from holdfast.config import Settings, load
from holdfast.ground import bind, ground
from holdfast.runtime.node import Node

SHOP, ANA = "40712345678", "40712345601"
SESSION = "shop"
CHATTER = 6.0
LINES = (
    "Hello! Are you open today?",
    "Great. Do you have the blue one in stock?",
    "Can you keep one for me until six?",
    "Thank you, see you later!",
)
TIMEOUT = 30.0


async def run_demo(port: int, *, once: bool, console: Console) -> None:
    """Run until Ctrl-C; with `once` link, exchange a message each way, and end. Raises what the parts raise."""
    from wasim.server import WasimServer  # noqa: PLC0415 - the demo alone may know the simulator

    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as folder:
        async with WasimServer(port=0) as wasim:
            console.print(f"WhatsApp, simulated: {wasim.url}   (admin: {wasim.admin_url})", highlight=False)
            settings = load(
                port=port,
                data_dir=Path(folder),
                whatsapp_url=wasim.url,
                whatsapp_root_key=wasim.root_key_hex,
                whatsapp_ca_file=str(wasim.ca_file or ""),
            )
            listener = bind(settings.host, settings.port)
            async with ground(settings, "demo") as base, running(base, port) as (node, store):
                hashed, key = await api_key(settings, store)
                http = await server(node, settings, hashed)
                http.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
                serving = asyncio.create_task(http.serve(sockets=[listener]))
                stop = _on_signals(http, node)
                try:
                    await _play(wasim, node, console)
                    if not once:
                        _explain(console, settings, listener.getsockname()[1], key)
                        await _chatter(wasim, stop)
                finally:
                    node.stop_waiting()
                    http.should_exit = True
                    await serving
    if once:
        console.print("[bold green]All is well.[/] Linked, received, sent, acknowledged.")


def _on_signals(http: Any, node: Node) -> asyncio.Event:
    stop = asyncio.Event()

    def ask() -> None:
        node.stop_waiting()
        http.should_exit = True
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ask)
    http.capture_signals = contextlib.nullcontext
    return stop


async def _play(wasim: Any, node: Node, console: Console) -> None:
    """Link the shop's number, and let Ana write to it once and be answered."""
    gateway = node.gateway
    await gateway.create(SESSION, {}, engine="baileys", start=True)
    pairing = await gateway.pairing(SESSION, wait=TIMEOUT)
    console.print("The shop's phone scans the QR code …")
    await wasim.pairings.scan(pairing.qr, SHOP)
    view = await gateway.wait_status(SESSION, until=frozenset({"WORKING"}), timeout=TIMEOUT)
    console.print(f"Session '{SESSION}' is {view.status}: {view.message}")
    ana = await wasim.phones.of(wasim.hub.accounts.create(ANA, "Ana"))
    ana.auto_reply = "Thanks!"
    await ana.send_text(f"{SHOP}@s.whatsapp.net", LINES[0])
    async for event in gateway.subscribe(SESSION, 0):
        if event.kind == "message" and not event.payload["message"]["from_me"]:
            break
    row = await gateway.send(SESSION, f"{ANA}@c.us", {"type": "text", "text": "Yes, until six."}, wait=TIMEOUT)
    console.print(f"Ana wrote, the shop answered: {row.state}.")


def _explain(console: Console, settings: Settings, port: int, key: str | None) -> None:
    console.print(
        f"\n[bold green]Look at it:[/] http://localhost:{port}/dashboard   [bold]API key:[/] {key}\n"
        f"  1. Sign in with the key, open the session '{SESSION}': Ana writes every few seconds.\n"
        f"  2. Send her something: to +{ANA}. She answers.\n"
        "  3. Make another session: its QR shows within two seconds. A simulated phone scans it with\n"
        "     [dim]curl -X POST --data-binary 'THE QR TEXT' .../admin/mock-phone/scan-qr[/] (README of wasim).\n"
        "  4. Ctrl-C ends it all; nothing is kept.\n",
        highlight=False,
    )
    del settings


async def _chatter(wasim: Any, stop: asyncio.Event) -> None:
    """Ana writes now and then, until the end."""
    ana = wasim.phones.get(ANA)
    for turn in range(1, 1_000_000):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), CHATTER)
            return
        await ana.send_text(f"{SHOP}@s.whatsapp.net", LINES[turn % len(LINES)])
