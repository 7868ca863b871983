"""`rotate-key`: a new API key, and everybody must sign in again."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated

import typer
from rich.markup import escape

from holdfast.commands.options import DataDir, out, settings_of
from holdfast.commands.reach import opened
from holdfast.config import Settings
from holdfast.domain.access import key_hash
from holdfast.domain.errors import InvalidSettings
from holdfast.key_file import path_of, write_key


def rotate_key(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Replace the generated API key and end all sessions of the dashboard, with the server running or stopped."""
    settings = settings_of(data_dir=data_dir)
    if settings.api_key is not None:
        raise InvalidSettings(
            "HOLDFAST_API_KEY gives the API key. Change it there, on all instances, and restart them: that ends all "
            "sessions of the dashboard, too."
        )
    if not yes:
        typer.confirm("Replace the API key? Clients that use the old one are refused, all sign-ins end.", abort=True)
    key = secrets.token_urlsafe(24)
    ended = asyncio.run(_rotate(settings, key))
    out.print(f"[bold]API key:[/] {key}", highlight=False, soft_wrap=True)
    path = path_of(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_key(path, key)
    out.print(
        f"It is also in {escape(str(path))}, readable by you only. {ended} dashboard sessions ended. Running "
        "instances accept the new key within a second and refuse the old one within 5 s, except those that were "
        "started with HOLDFAST_API_KEY.",
        highlight=False,
        soft_wrap=True,
    )


async def _rotate(settings: Settings, key: str) -> int:
    async with opened(settings) as store:
        return await store.rotate_key(key_hash(key))
