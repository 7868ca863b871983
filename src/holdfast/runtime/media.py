"""Files of messages on this instance: taken in for sending, lent to the engine, and deleted when nobody needs them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

import structlog

from holdfast.crash import point
from holdfast.domain.errors import HoldfastError, MediaGone, MediaNotFetched, MediaTooLarge, MediaUnavailable
from holdfast.domain.file_types import file_name
from holdfast.domain.media import HEAD, MediaRow, check_kind, check_type, name_of
from holdfast.domain.proxies import Proxy, Routes, explained
from holdfast.domain.receivers import FILE, Reach, check_url
from holdfast.engines.proxies import ProxyFailed
from holdfast.ports.clock import Clock
from holdfast.ports.media import Files, Link, Upload
from holdfast.ports.store import OutboxRow, Store
from holdfast.runtime.guarded import Clients, unreached
from holdfast.store.files.folder import told

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger(__name__)

REDIRECTS = 5
CONNECT = 15.0
"""Seconds in which a file's server must let us connect."""
ELSEWHERE = (
    "The file is not where this instance keeps files. Instances of one cluster need one folder "
    "(HOLDFAST_MEDIA_DIR) or bucket (HOLDFAST_MEDIA_S3_URL)."
)
PIECE = 256 * 1024
BATCH = 100


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """Times in seconds, sizes in bytes. `keep`: how long received files stay."""

    limit: int = 100_000_000
    keep: float = 14 * 86_400.0
    reach: Reach = field(default_factory=Reach)
    routes: Routes = field(default_factory=Routes)
    timeout: float = 300.0
    factor: float = 1.0


class Media:
    """See the module."""

    def __init__(self, store: Store, files: Files, clock: Clock, settings: MediaSettings) -> None:
        self.settings = settings
        self.files = files
        self._store = store
        self._clock = clock
        self._clients = Clients(settings.reach, settings.timeout, connect=CONNECT)

    async def start(self) -> None:
        """Raises `MediaUnavailable`."""
        await self.files.start()

    async def stop(self) -> None:
        """Let go of connections."""
        await self._clients.stop()
        await self.files.stop()

    # --- taken in -----------------------------------------------------------------------------------------------
    def check_size(self, size: int | None) -> None:
        """Raises `MediaTooLarge`, before a byte is read, if the sender says so itself."""
        if size is not None and size > self.settings.limit:
            raise MediaTooLarge(
                f"The file is larger than {self.settings.limit:,} bytes, the most that HOLDFAST_MEDIA_LIMIT allows."
            )

    async def take(self, pieces: AsyncIterator[bytes], mimetype: str = "", filename: str = "") -> Upload:
        """Write the pieces to a file under way. Raises `MediaTooLarge` as soon as they are, `MediaUnavailable`."""
        path = self.files.room() / self._clock.token(12).hex()
        size, head, digest, unwritten = 0, b"", hashlib.sha256(), bytearray()
        try:
            with told():
                file = await asyncio.to_thread(path.open, "xb")
            with file:
                async for piece in pieces:
                    size += len(piece)
                    self.check_size(size)
                    head = (head + piece)[:HEAD] if len(head) < HEAD else head
                    digest.update(piece)
                    unwritten += piece
                    if len(unwritten) >= PIECE:
                        with told():
                            await asyncio.to_thread(file.write, bytes(unwritten))
                        unwritten.clear()
                with told():
                    await asyncio.to_thread(file.write, bytes(unwritten))
                    await asyncio.to_thread(file.flush)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        point("upload.taken")
        return Upload(path, head, size, digest.hexdigest(), mimetype, filename)

    async def fetch(self, link: Link, proxy: Proxy | None = None) -> Upload:
        """Redirects are followed, each guarded anew. `proxy`: the way to go, for a session that has one.

        Raises `MediaNotFetched`, `MediaTooLarge`, `MediaUnavailable`.
        """
        try:
            async with self._clients.by(proxy, self.settings.routes) as clients:
                return await self._fetch(link, clients)
        except ProxyFailed as error:
            raise MediaNotFetched(explained(error.proxy.name, error.why, "the file's server")) from None

    async def _fetch(self, link: Link, client: Callable[[str], aiohttp.ClientSession]) -> Upload:
        import aiohttp  # noqa: PLC0415 - see `guarded`

        url = link.url
        for _ in range(REDIRECTS + 1):
            check_url(url, self.settings.reach, FILE)
            host = urlsplit(url).hostname or ""
            try:
                async with client(host).get(url, allow_redirects=False) as answer:
                    if answer.status in (301, 302, 303, 307, 308) and answer.headers.get("Location"):
                        url = urljoin(url, answer.headers["Location"])
                        continue
                    if answer.status != 200:
                        raise MediaNotFetched(f"The file's server answered {answer.status}. Check its url.")
                    self.check_size(answer.content_length)
                    pieces = answer.content.iter_chunked(PIECE)
                    return await self.take(pieces, link.mimetype or answer.content_type, link.filename or _last(url))
            except TimeoutError as error:
                raise MediaNotFetched(
                    f"The file's server did not give it in {self.settings.timeout:g} s. Try again, or send its bytes."
                ) from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                said = unreached(error, "the file's server", FILE.setting)
                raise MediaNotFetched(f"{said[0].upper()}{said[1:]}.") from None
        raise MediaNotFetched(f"The file's url redirects more than {REDIRECTS} times.")

    def discard(self, upload: Upload) -> None:
        """It belongs to no message."""
        with contextlib.suppress(OSError):
            upload.path.unlink(missing_ok=True)

    # --- for sending --------------------------------------------------------------------------------------------
    async def attach(self, draft: OutboxRow, source: Upload | Link, config: Mapping[str, Any]) -> OutboxRow:
        """Keep the file for a message that is about to be accepted: it is there before the message is. `config`: of its
        session, whose proxy fetches the file.

        Raises `InvalidProxy`, `InvalidMedia`, `MediaNotFetched`, `MediaTooLarge`, `MediaUnavailable`.
        """
        upload = await self.fetch(source, self.settings.routes.of(config)) if isinstance(source, Link) else source
        try:
            mimetype = check_type(upload.mimetype, upload.head, upload.filename)
            kind = str(draft.content["type"])
            check_kind(kind, upload.head)
            shown = file_name(upload.filename, mimetype) if upload.filename or kind == "file" else ""
            name = name_of(draft.session, draft.id, self._clock.token(12).hex(), mimetype=mimetype)
            facts = {"mimetype": mimetype, "filename": shown or None, "size": upload.size, "file": name}
            row = MediaRow(
                name, draft.session, draft.id, draft.chat, "", True, "staged",
                mimetype=mimetype, filename=shown, size=upload.size,
            )  # fmt: skip
            await self._store.media_stage(row)
            point("upload.staged")
            await self.files.put(name, upload.path)
            point("upload.filed")
        finally:
            self.discard(upload)
        return replace(draft, content={**draft.content, **facts})

    @asynccontextmanager
    async def ready(self, content: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """The content as an engine sends it: with the `path` of its file on this machine, if it has one."""
        if not content.get("file"):
            yield content
            return
        try:
            async with self.files.local(str(content["file"])) as path:
                yield {**content, "path": str(path)}
        except MediaGone as error:
            raise MediaUnavailable(ELSEWHERE) from error

    async def release(self, content: Mapping[str, Any]) -> None:
        """A message was sent, or never will be: its file goes, now or with the next tidying."""
        if not content.get("file"):
            return
        name = str(content["file"])
        try:
            await self._store.media_drop(name)
            point("upload.dropped")
            await self._forget([name])
        except HoldfastError as error:
            log.warning("a sent file was not deleted yet", action="media", code=error.code)

    # --- tidying ------------------------------------------------------------------------------------------------
    async def tidy(self) -> None:
        """Delete what is old or needed no more."""
        while names := await self._store.media_stale(self.settings.keep, BATCH):
            await self._forget(names)

    async def _forget(self, names: list[str]) -> None:
        for name in names:
            await self.files.delete(name)
        await self._store.media_forget(names)


def _last(url: str) -> str:
    """The last part of a URL's path, as a name for the file."""
    return unquote(urlsplit(url).path.rpartition("/")[2])
