"""`clear-auth`: credentials that are no good any more go, and a new QR is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

import typer
from rich.markup import escape

from holdfast.client import Client
from holdfast.commands.options import DataDir, Key, Url, out, settings_of
from holdfast.commands.reach import opened, server_if_any
from holdfast.config import Settings
from holdfast.domain.errors import BadRequest, HoldfastError, SessionNotFound

PAIRING = ("STARTING", "SCAN_QR_CODE")


def clear_auth(
    name: Annotated[str | None, typer.Argument(help="The session.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All sessions.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Clear the credentials of a session, or of all, and ask for a new QR. Conversations and contacts stay."""
    if (name is None) != every:
        raise BadRequest("Name one session, or give --all.")
    settings = settings_of(data_dir=data_dir)
    with server_if_any(settings, url, key) as client:
        names = _at_the_server(client, name) if client else asyncio.run(_stored(settings, name))
        if not names:
            out.print("There are no sessions.")
            return
        _ask(names, yes)
        _clear(names, (lambda one: _clear_there(client, one)) if client else (lambda one: _in_store(settings, one)))


def _at_the_server(client: Client, name: str | None) -> list[str]:
    """The one session, found by an alias too, or all."""
    if name is not None:
        return [client.get("GET", f"/api/holdfast/sessions/{quote(name, safe='')}")["name"]]
    return [view["name"] for view in client.get("GET", "/api/holdfast/sessions")]


async def _stored(settings: Settings, name: str | None) -> list[str]:
    async with opened(settings) as store:
        if name is None:
            return [row.name for row in await store.sessions()]
        row = await store.session(name)
        if row is None:
            raise SessionNotFound(f"There is no session '{name}'.")
        return [row.name]


def _ask(names: list[str], yes: bool) -> None:
    which = f"'{names[0]}'" if len(names) == 1 else f"all {len(names)} sessions"
    question = f"Clear the credentials of {which}? Each must be linked again with a new QR code."
    if not yes:
        typer.confirm(question, abort=True)


def _clear(names: list[str], clear: Callable[[str], str]) -> None:
    """One after the other; what fails does not keep the others from their turn."""
    failed = 0
    for name in names:
        try:
            out.print(f"{escape(name)}: {escape(clear(name))}", highlight=False, soft_wrap=True)
        except HoldfastError as error:
            failed += 1
            out.print(f"[red]{escape(name)}[/]: {escape(error.sentence)}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _clear_there(client: Client, name: str) -> str:
    view = client.get("POST", f"/api/holdfast/sessions/{quote(name, safe='')}/clear-auth")
    how = f" Show it with `holdfast pair {name}`, or in the dashboard." if view["status"] in PAIRING else ""
    return f"cleared. {view['message']}{how}"


def _in_store(settings: Settings, name: str) -> str:
    """The epoch is raised first: an instance that runs all the same writes nothing back, and closes."""

    async def clear() -> str:
        async with opened(settings) as store:
            row = await store.session(name)
            count = await store.clear_credentials(name)
            if row is None or row.desired != "running":
                return f"{count} keys cleared. It stays stopped; started, it asks for a QR code."
            await store.order(name, "running", {"kind": "pair", "phone": None, "new_number": False})
            return f"{count} keys cleared. The server asks for a QR code at its next start."

    return asyncio.run(clear())
