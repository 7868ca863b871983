"""`export`: a session's whole history in a file, from a running server or from the store itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from holdfast.client import Client, Refused
from holdfast.commands.options import DataDir, Key, Url, err, settings_of
from holdfast.commands.reach import opened, server_if_any
from holdfast.config import Settings
from holdfast.domain.errors import BadRequest

CUT = "The export ended before it was whole, and nothing was kept of it. Try again."


def export(
    name: Annotated[str, typer.Argument(help="The session.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: NAME.jsonl.")] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Export a session's history as JSON lines: contacts, chats, messages. Credentials are no part of it."""
    settings = settings_of(data_dir=data_dir)
    target = output or Path(f"{name}.jsonl")
    with server_if_any(settings, url, key) as client, _whole(target) as file, _shown() as progress:
        writer = Writer(file, progress)
        if client:
            _from_server(client, name, writer)
        else:
            asyncio.run(_from_store(settings, name, writer))
        if not writer.whole:
            raise Refused(CUT)
    err.print(f"Written to {target}: {writer.messages:,} messages.", markup=False, highlight=False, soft_wrap=True)


class Writer:
    """Writes lines as they are, and shows how far it came."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._lines = 0
        self.messages = 0
        self.whole = False

    def add(self, line: bytes) -> None:
        """One line, with its end. Raises `Refused` for one that is not whole or not ours, `BadRequest`."""
        try:
            told: dict[str, Any] = json.loads(line)
            kind = told["type"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(CUT) from error
        with written():
            self._file.write(line)
        if kind == "history":
            total = sum(told["counts"].values()) + 2
            self._progress.update(self._task, total=total, description=f"'{told['session']}'")
        self.whole = kind == "end" and told["lines"] == self._lines
        self.messages += kind == "message"
        self._lines += 1
        self._progress.advance(self._task)


def _shown() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True)


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """A file that appears when it is complete, and only then: neither Ctrl-C nor a full disk leaves half of it."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with written():
            file = part.open("xb")
        with file:
            yield file
            with written():
                file.flush()
                os.fsync(file.fileno())
        with written():
            part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def written() -> Iterator[None]:
    """Raises `BadRequest` where the disk does not take it."""
    try:
        yield
    except OSError as error:
        raise BadRequest(f"The file cannot be written ({error.strerror}). Give another with --output.") from error


def _from_server(client: Client, name: str, writer: Writer) -> None:
    for line in client.lines("GET", f"/api/holdfast/sessions/{quote(name)}/export"):
        writer.add(line)


async def _from_store(settings: Settings, name: str, writer: Writer) -> None:
    from holdfast.runtime.history import exported  # noqa: PLC0415 - `--help` stays fast

    async with opened(settings) as store:
        async for line in await exported(store, name):
            writer.add(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n")
