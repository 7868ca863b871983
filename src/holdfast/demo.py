"""The demonstration: a simulated WhatsApp, Holdfast on it, and two phones that talk, all in one process tree.

The only place of Holdfast that knows the simulator. Nothing of it outlives the command: the data lies in a temporary
folder that is deleted at the end. Of the environment and `.env` it takes the port and nothing else: a database that is
named there has real sessions, which the simulator would log out.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from rich.console import Console

from holdfast.app import access_of, running, server
from holdfast.config import PortSettings, Settings
from holdfast.ground import bind, ground
from holdfast.runtime.node import Node
from holdfast.setting_sources import read

SHOP, ANA = "40712345678", "40712345601"
SESSION = "shop"
CHATTER = 6.0
SCAN_AFTER = 8.0
"""Seconds that a QR code is on show before a simulated phone scans it: long enough to be seen."""
LINES = (
    "Hello! Are you open today?",
    "Great. Do you have the blue one in stock?",
    "Can you keep one for me until six?",
    "Thank you, see you later!",
)
TIMEOUT = 30.0


class DemoSettings(Settings):
    """Settings that come from the demo alone."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """No environment, no `.env`, no secrets folder."""
        return (init_settings,)


async def run_demo(port: int | None, *, once: bool, console: Console) -> None:
    """Run until Ctrl-C; with `once` link, exchange a message each way, and end. Raises what the parts raise."""
    from wasim.server import WasimServer  # noqa: PLC0415 - the demo alone may know the simulator

    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as folder:
        async with WasimServer(port=0) as wasim:
            console.print(f"WhatsApp, simulated: {wasim.url}   (admin: {wasim.admin_url})", highlight=False)
            settings = read(
                DemoSettings,
                port=read(PortSettings).port if port is None else port,
                data_dir=Path(folder),
                whatsapp_url=wasim.url,
                whatsapp_root_key=wasim.root_key_hex,
                whatsapp_ca_file=str(wasim.ca_file or ""),
                whatsapp_version_url=f"{wasim.admin_url.removesuffix('/admin')}/sw.js",
            )
            listener = bind(settings.host, settings.port)
            port = listener.getsockname()[1]
            async with ground(settings, "demo") as base, running(base, port, adopt_root_key=False) as (node, _):
                access, key = await access_of(node, settings)
                http = await server(node, settings, access)
                http.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
                serving = asyncio.create_task(http.serve(sockets=[listener]))
                stop = _on_signals(http, node)
                try:
                    await _play(wasim, node, console)
                    if not once:
                        _explain(console, port, key)
                        async with asyncio.TaskGroup() as group:
                            group.create_task(_chatter(wasim, stop))
                            group.create_task(_scan_new_sessions(wasim, node, console, stop))
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


def _explain(console: Console, port: int, key: str | None) -> None:
    console.print(
        f"\n[bold green]Look at it:[/] http://localhost:{port}/dashboard   [bold]API key:[/] {key}\n"
        f"  1. Sign in with the key, open the session '{SESSION}': Ana writes every few seconds.\n"
        f"  2. Send her something: to +{ANA}. She answers.\n"
        f"  3. Make another session: its QR code shows within two seconds, and {SCAN_AFTER:.0f} s later a simulated "
        "phone scans it.\n"
        "  4. Ctrl-C ends it all; nothing is kept.\n",
        highlight=False,
        soft_wrap=True,
    )


async def _chatter(wasim: Any, stop: asyncio.Event) -> None:
    """Ana writes now and then, until the end."""
    ana = wasim.phones.get(ANA)
    for turn in range(1, 1_000_000):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), CHATTER)
            return
        await ana.send_text(f"{SHOP}@s.whatsapp.net", LINES[turn % len(LINES)])


async def _scan_new_sessions(wasim: Any, node: Node, console: Console, stop: asyncio.Event) -> None:
    """Link what the user adds: each QR code is scanned by a phone of its own, when it has been on show for a while."""
    shown: dict[str, float] = {}
    phones = {SESSION: SHOP}
    clock = asyncio.get_running_loop().time
    while not stop.is_set():
        waiting = {view.name for view in await node.gateway.sessions() if view.status == "SCAN_QR_CODE"}
        shown = {name: shown.get(name, clock()) for name in waiting}
        for name in [name for name, since in shown.items() if clock() - since >= SCAN_AFTER]:
            pairing = await node.gateway.pairing(name)
            if pairing.qr is None:
                continue
            with contextlib.suppress(ValueError):  # the QR code was replaced meanwhile: the next one is scanned
                account = await wasim.pairings.scan(pairing.qr, phones.get(name))
                phones[name] = account.pn.user
                console.print(f"A phone scanned the QR code of '{name}': +{account.pn.user}.", highlight=False)
                del shown[name]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
