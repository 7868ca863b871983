"""`demo`: Holdfast without a WhatsApp account."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from holdfast import logs
from holdfast.commands.options import Port, out


def demo(
    port: Port = None,
    once: Annotated[bool, typer.Option(help="Link, exchange a message, and end: a check of the installation.")] = False,
) -> None:
    """See it all without a WhatsApp account: a simulated WhatsApp, Holdfast, and two phones that talk."""
    from holdfast.demo import run_demo  # noqa: PLC0415 - only the demo needs the simulator

    logs.setup(level="warning", style="console", instance="demo")
    asyncio.run(run_demo(port, once=once, console=out))
