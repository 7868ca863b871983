"""Files of messages: what the store knows of them, and where their bytes lie."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from holdfast.domain.media import MediaRow, State


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was taken in and belongs to no message yet: whoever has it gives it on or discards it. `head`: its
    first bytes; `mimetype` and `filename`: what its sender says.
    """

    path: Path
    head: bytes
    size: int
    sha256: str
    mimetype: str = ""
    filename: str = ""

    @property
    def identity(self) -> str:
        """The same for the same bytes."""
        return self.sha256


@dataclass(frozen=True, slots=True)
class Link:
    """A file that is to be fetched. The URL may hold secrets."""

    url: str = field(repr=False)
    mimetype: str = ""
    filename: str = ""

    @property
    def identity(self) -> str:
        """The same for the same URL, which it does not tell."""
        return hashlib.sha256(self.url.encode()).hexdigest()


class MediaStore(Protocol):
    """A part of `ports.store.Store`. Rows are made before their files and go after them, so that no file is forgotten.

    The row of a received file is made with its message (`Store.apply_inbox`), as `awaited`.
    """

    async def media_stage(self, row: MediaRow) -> None:
        """A file is about to be kept for sending."""
        ...

    async def media(self, name: str) -> MediaRow | None:
        """By name."""
        ...

    async def media_awaited(self, session: str, limit: int) -> tuple[list[MediaRow], float | None]:
        """Files of the session to fetch now, oldest first, and the seconds until the next one is due (None: none)."""
        ...

    async def media_settle(
        self, name: str, state: State, *, size: int = 0, problem: str = "", retry_in: float = 0.0, counted: bool = True
    ) -> None:
        """What came of fetching an `awaited` file: `kept`, `lost` or `awaited` again, one attempt more if `counted`."""
        ...

    async def media_drop(self, name: str) -> None:
        """It is not needed any more: the next look for `media_stale` finds it."""
        ...

    async def media_stale(self, keep: float, limit: int) -> list[str]:
        """Names of files to delete: dropped; kept or lost for longer than `keep` seconds; staged an hour ago for a
        message that is not waiting to be sent.
        """
        ...

    async def media_forget(self, names: Sequence[str]) -> None:
        """The files of these rows are deleted."""
        ...


class Files(Protocol):
    """Where files lie, under their names. Every method raises `domain.errors.MediaUnavailable` when that place cannot
    be reached or written.
    """

    async def start(self) -> None:
        """Make ready."""
        ...

    async def stop(self) -> None:
        """Let go of connections."""
        ...

    def room(self) -> Path:
        """A folder on this machine for files under way; what an earlier run left there was removed at `start`."""
        ...

    async def put(self, name: str, file: Path) -> None:
        """Keep a file of `room`, which is gone after: durably, whole or not at all."""
        ...

    def local(self, name: str) -> AbstractAsyncContextManager[Path]:
        """The file as one of this machine, while the block lasts. Raises `MediaGone` if there is none."""
        ...

    async def read(self, name: str) -> tuple[int, AsyncIterator[bytes]]:
        """Its size and its bytes. Raises `MediaGone` if there is none."""
        ...

    async def delete(self, name: str) -> None:
        """Delete it, if it is there."""
        ...
