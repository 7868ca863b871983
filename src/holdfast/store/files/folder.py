"""Files in a folder, each durable before it is told of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from holdfast.crash import point
from holdfast.domain.errors import MediaGone, MediaUnavailable

PIECE = 256 * 1024
"""Bytes that are read at once."""
LEFT_FOR = 86_400.0
"""Seconds after which a file under way was surely left by an instance that is gone."""
GONE = "The file was deleted: it was older than HOLDFAST_MEDIA_RETENTION allows, or its message was deleted."


class Room:
    """A folder for files under way, for `ports.media.Files`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def room(self) -> Path:
        """See the port."""
        return self._folder

    def clear(self) -> None:
        """Make it, and remove what was left there. Others may use it too: what is young stays."""
        with told():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in self._folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > LEFT_FOR:
                        path.unlink()


class Folder(Room):
    """`ports.media.Files` below `root`. Several instances need one that all of them reach."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "under-way")
        self._root = root.absolute()

    async def start(self) -> None:
        """See the port."""
        await asyncio.to_thread(self.clear)

    async def stop(self) -> None:
        """See the port."""

    def _path(self, name: str) -> Path:
        return self._root / name[:2] / name

    async def put(self, name: str, file: Path) -> None:
        """See the port."""
        await asyncio.to_thread(self._put, self._path(name), file)

    def _put(self, target: Path, file: Path) -> None:
        with told():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _sync(file)
            point("folder.placing")
            file.replace(target)
            point("folder.placed")
            _sync(target.parent)
            _sync(target.parent.parent)

    @asynccontextmanager
    async def local(self, name: str) -> AsyncIterator[Path]:
        """See the port."""
        path = self._path(name)
        if not await asyncio.to_thread(path.is_file):
            raise MediaGone(GONE)
        yield path

    async def read(self, name: str) -> tuple[int, AsyncIterator[bytes]]:
        """See the port."""
        return await read_file(self._path(name))

    async def delete(self, name: str) -> None:
        """See the port."""
        with told():
            await asyncio.to_thread(self._path(name).unlink, missing_ok=True)


async def read_file(path: Path) -> tuple[int, AsyncIterator[bytes]]:
    """Size and bytes of a file; it may be deleted as soon as this returned. Raises `MediaGone`, `MediaUnavailable`."""
    with told():
        file = await asyncio.to_thread(path.open, "rb")

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while piece := await asyncio.to_thread(file.read, PIECE):
                point("folder.reading")
                yield piece
        finally:
            file.close()

    return os.fstat(file.fileno()).st_size, pieces()


@contextmanager
def told() -> Iterator[None]:
    """What went wrong with a file, in our words."""
    try:
        yield
    except FileNotFoundError as error:
        raise MediaGone(GONE) from error
    except OSError as error:
        raise MediaUnavailable(
            f"The folder of files cannot be used ({error.strerror}). See to its disk, or set HOLDFAST_MEDIA_DIR."
        ) from error


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
