"""Files in a bucket of an S3-compatible store (AWS, MinIO, R2, Ceph ...): PUT, GET and DELETE of whole objects."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from holdfast.domain.errors import MediaGone, MediaUnavailable
from holdfast.ports.clock import Clock
from holdfast.store.files.folder import GONE, PIECE, Room, told
from holdfast.store.files.signing import EMPTY, Keys, signed

PATIENCE = aiohttp.ClientTimeout(total=600.0, sock_connect=10.0, sock_read=60.0)
TRIES = 3


class Bucket(Room):
    """`ports.media.Files` below `url` (endpoint, bucket and prefix). `folder` is for files under way."""

    def __init__(self, url: str, keys: Keys, folder: Path, clock: Clock) -> None:
        super().__init__(folder)
        self._url = url.rstrip("/")
        self._keys = keys
        self._clock = clock
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """See the port."""
        await asyncio.to_thread(self.clear)
        self._http = aiohttp.ClientSession(timeout=PATIENCE, auto_decompress=False)

    async def stop(self) -> None:
        """See the port."""
        if self._http is not None:
            await self._http.close()

    async def put(self, name: str, file: Path) -> None:
        """See the port."""
        with told():
            size, digest = await asyncio.to_thread(_measured, file)
        await self._done("PUT", name, file=file, headers={"Content-Length": str(size)}, payload=digest)
        with told():
            await asyncio.to_thread(file.unlink)

    async def delete(self, name: str) -> None:
        """See the port."""
        await self._done("DELETE", name)

    async def _done(self, method: str, name: str, *, file: Path | None = None, **more: Any) -> None:
        for left in reversed(range(TRIES)):
            try:
                if file is None:
                    answer = await self._ask(method, name, **more)
                else:
                    with told():
                        body = await asyncio.to_thread(file.open, "rb")
                    with body:
                        answer = await self._ask(method, name, data=body, **more)
                answer.release()
                if answer.status < 300 or (method == "DELETE" and answer.status == 404):
                    return
                raise self._refused(answer.status)
            except MediaUnavailable:
                if not left:
                    raise
                await self._clock.sleep(0.5)

    async def read(self, name: str) -> tuple[int, AsyncIterator[bytes]]:
        """See the port."""
        answer = await self._ask("GET", name)
        if answer.status != 200:
            answer.release()
            raise MediaGone(GONE) if answer.status == 404 else self._refused(answer.status)

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in answer.content.iter_chunked(PIECE):
                    yield piece
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise MediaUnavailable from error
            finally:
                answer.close()

        return int(answer.headers["Content-Length"]), pieces()

    @asynccontextmanager
    async def local(self, name: str) -> AsyncIterator[Path]:
        """See the port."""
        path = self.room() / f"{self._clock.token(12).hex()}-{name}"
        try:
            size, pieces = await self.read(name)
            with told():
                file = await asyncio.to_thread(path.open, "wb")
                with file:
                    async for piece in pieces:
                        await asyncio.to_thread(file.write, piece)
            if path.stat().st_size != size:
                raise MediaUnavailable
            yield path
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _ask(
        self, method: str, name: str, *, data: Any = None, headers: dict[str, str] | None = None, payload: str = EMPTY
    ) -> aiohttp.ClientResponse:
        assert self._http is not None, "not started"
        url = f"{self._url}/{name}"
        all_headers = {**(headers or {}), **signed(self._keys, method, url, self._clock.now(), payload)}
        try:
            return await self._http.request(method, url, data=data, headers=all_headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise MediaUnavailable(
                f"The store of files cannot be reached ({type(error).__name__}). See to HOLDFAST_MEDIA_S3_URL."
            ) from error

    @staticmethod
    def _refused(status: int) -> MediaUnavailable:
        return MediaUnavailable(
            f"The store of files answered {status}. See to HOLDFAST_MEDIA_S3_URL, its region and its keys."
        )


def _measured(file: Path) -> tuple[int, str]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return os.fstat(opened.fileno()).st_size, digest
