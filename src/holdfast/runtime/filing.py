"""The files' part of `ports.gateway.Gateway`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.domain.errors import MediaGone, MediaNotFound, MediaUnavailable
from holdfast.domain.media import NAME, MediaRow
from holdfast.ports.media import Upload
from holdfast.runtime.media import ELSEWHERE, Media
from holdfast.runtime.views import Views


class Filing(Views):
    """See the port for outcomes and errors."""

    def _kept(self) -> Media:
        if self._media is None:
            raise MediaUnavailable("This instance keeps no files.")
        return self._media

    def check_file_size(self, size: int | None) -> None:
        """See the port."""
        self._kept().check_size(size)

    async def take_file(self, pieces: AsyncIterator[bytes], mimetype: str = "", filename: str = "") -> Upload:
        """See the port."""
        return await self._kept().take(pieces, mimetype, filename)

    def discard_file(self, upload: Upload) -> None:
        """See the port."""
        self._kept().discard(upload)

    async def file(self, session: str, name: str, wait: float) -> tuple[MediaRow, int, AsyncIterator[bytes]]:
        """See the port."""
        media = self._kept()
        row = await self._store.media(name) if NAME.fullmatch(name) else None

        async def fetched() -> bool:
            nonlocal row
            row = await self._store.media(name)
            return row is None or row.state != "awaited"

        if row is not None and row.session == session and row.state == "awaited":
            await self._until(f"file:{name}", fetched, wait)
        if row is None or row.session != session or row.state in ("staged", "dropped"):
            raise MediaNotFound("There is no such file. Files are kept as long as HOLDFAST_MEDIA_RETENTION says.")
        if row.state == "lost":
            raise MediaGone(row.problem)
        if row.state == "awaited":
            raise MediaUnavailable(f"The file is not fetched yet. {row.problem}".strip())
        try:
            size, pieces = await media.files.read(name)
        except MediaGone as error:
            raise MediaUnavailable(ELSEWHERE) from error
        return row, size, pieces
