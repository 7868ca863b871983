"""`import-baileys`: sessions of a program that used Baileys itself move in, without a new QR."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from holdfast.commands.options import DataDir, out, settings_of
from holdfast.commands.reach import check_root_key, opened
from holdfast.config import Settings
from holdfast.domain.errors import BadRequest, HoldfastError, SessionExists
from holdfast.domain.identity import valid_session_name
from holdfast.domain.jids import mask
from holdfast.engines.baileys.multifile import (
    DamagedCredentials,
    Folder,
    find_folders,
    identity_of,
    read_folder,
    session_name,
)
from holdfast.ports.store import Store

INTERRUPTED = 130


class SameDevice(HoldfastError):
    """Another session has the same credentials: two connections with them would push each other out."""

    code = "same_device"


def import_baileys(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of useMultiFileAuthState, or of many.")],
    name: Annotated[str | None, typer.Option(help="The session's name; default: the folder's.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the credentials of sessions that exist.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Import credentials that Baileys kept in folders: no new QR is needed. Stop the program that used them first."""
    settings = settings_of(data_dir=data_dir)
    folders = find_folders(directory.resolve())
    if name is not None:
        valid_session_name(name)
    if name is not None and len(folders) > 1:
        raise BadRequest(f"--name is for one folder, and {directory} holds {len(folders)}.")
    columns = (TextColumn("Importing"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        moving = Moving(replace, progress)
        asyncio.run(moving.all(settings, folders, name))
    moving.conclude(len(folders))


class Moving:
    """One run of the command: session after session, each in a transaction of its own."""

    def __init__(self, over: bool, progress: Progress) -> None:
        self._over = over
        self._progress = progress
        self._imported = self._refused = self._done = 0
        self._stop = False

    async def all(self, settings: Settings, folders: list[Path], name: str | None) -> None:
        """Import one after the other; Ctrl-C ends it after the present one."""
        task = self._progress.add_task("", total=len(folders))
        async with opened(settings) as store:
            await check_root_key(settings, store)
            devices = await _devices(store)
            with self._until_interrupted():
                for folder in folders:
                    if self._stop:
                        break
                    await self._one(store, folder, name, devices)
                    self._done += 1
                    self._progress.advance(task)

    @contextmanager
    def _until_interrupted(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            self._stop = True
            loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C does not wait

        loop.add_signal_handler(signal.SIGINT, stop)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def _one(self, store: Store, path: Path, name: str | None, devices: dict[str, str]) -> None:
        try:
            name = name or session_name(path)
            folder = await asyncio.to_thread(read_folder, path)
            owner = devices.get(folder.identity)
            if owner == name and not self._over:
                self._tell(f"[dim]is here[/]   {escape(name)}: it has these credentials already; nothing was changed.")
                return
            await self._move_in(store, name, folder, owner)
        except HoldfastError as error:
            self._refused += 1
            files = error.facts.get("files") if isinstance(error, DamagedCredentials) else None
            for sentence in files.values() if files else [error.sentence]:
                self._tell(f"[red]refused[/]   {escape(path.name)}: {escape(sentence)} [dim]({error.code})[/]")
            return
        devices[folder.identity] = name
        self._imported += 1
        self._tell(f"[green]imported[/]  {escape(name)}: {mask(folder.moved.phone)}, {len(folder.moved.keys) - 1} keys")
        if folder.left_out:
            self._tell(f"          not Baileys' files, left out: {escape(', '.join(folder.left_out))}")

    async def _move_in(self, store: Store, name: str, folder: Folder, owner: str | None) -> None:
        if owner not in (None, name):
            raise SameDevice(
                f"Session '{owner}' has these credentials already, and two connections with them would push each "
                f"other out. Delete one of the two, or link this number with a new QR code: `holdfast pair {name}`."
            )
        try:
            await store.move_in(name, "baileys", folder.moved, over=self._over)
        except SessionExists as error:
            if self._over:
                raise
            raise SessionExists(
                f"A session named '{name}' exists already. Give --replace to put these credentials in place of its "
                "own, or import this folder alone with --name."
            ) from error

    def _tell(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, soft_wrap=True)

    def conclude(self, wanted: int) -> None:
        """The sum, and what to do next. Ends the command with 130 after Ctrl-C, with 1 if something was refused."""
        self._tell(f"{self._imported} imported, {self._refused} refused.")
        if self._imported:
            self._tell(
                "A running server connects them within seconds, `holdfast serve` at its start. Do not start the "
                "program that they came from again: WhatsApp lets only one of the two be connected."
            )
        if self._done < wanted:
            self._tell(f"Stopped before the last {wanted - self._done}. Run it again: what is here is passed over.")
            raise typer.Exit(INTERRUPTED)
        if self._refused:
            raise typer.Exit(1)


async def _devices(store: Store) -> dict[str, str]:
    """Whose credentials are here: session names by identity."""
    found: dict[str, str] = {}
    for row in await store.sessions():
        creds = (await store.read_keys(row.name, [("creds", "")])).get(("creds", ""))
        identity = identity_of(creds) if creds is not None else None
        if identity is not None:
            found[identity] = row.name
    return found
