"""`pair` and `sessions`: what a running server is asked about its sessions."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.commands.options import DataDir, Key, Url, out, settings_of


def pair(
    name: Annotated[str, typer.Argument(help="Session to link; made if it does not exist.")] = "default",
    code: Annotated[str | None, typer.Option(help="Phone number: show a code to type instead of a QR.")] = None,
    engine: Annotated[str | None, typer.Option(help="Where a new session lives: baileys or waha.")] = None,
    server: Annotated[str | None, typer.Option(help="The WAHA server of a new session.")] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Link a WhatsApp number: show its QR here, until it is scanned."""
    from holdfast.client import Client, pair_in_terminal  # noqa: PLC0415 - `--help` stays fast

    settings = settings_of(data_dir=data_dir)
    with Client.of(settings, url, key) as client:
        place = {key: value for key, value in (("engine", engine), ("server", server)) if value}
        pair_in_terminal(client, name, code, place, out)


def sessions(
    name: Annotated[str | None, typer.Argument(help="One session with its timeline; default: all.")] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """List sessions, or show one with its timeline."""
    from holdfast.client import Client, show_sessions  # noqa: PLC0415 - `--help` stays fast

    settings = settings_of(data_dir=data_dir)
    with Client.of(settings, url, key) as client:
        show_sessions(client, name, out)
