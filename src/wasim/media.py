"""The media server: takes and gives encrypted files over TLS, as WhatsApp's ``mmg`` hosts do.

The server sees ciphertext only. An upload names the base64url SHA-256 of what it sends (Baileys 7.0.0-rc14,
``getWAUploadToServer`` in lib/Utils/messages-media.js: ``POST /mms/image/<hash>?auth=…&token=<hash>``); a body of
another hash is refused. The answer's ``direct_path`` is what messages carry and what others fetch.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from wasim.log import Journal, peer_of
from wasim.media_tls import client_context, ensure_certificates, server_context

UPLOAD_PATHS = (
    "/mms/image", "/mms/video", "/mms/document", "/mms/audio", "/mms/md-app-state", "/product/image",
    "/pps/biz-cover-photo",
)  # fmt: skip
"""Where clients upload each kind (Baileys 7.0.0-rc14 ``MEDIA_PATH_MAP``)."""
DIRECT_PATH = "/v/t62.7118-24/"
MAX_UPLOAD = 100 * 1024 * 1024
SECRET_FILE = "link.key"  # noqa: S105 - a file name
HASH_SIZE = 32
PHONE_AGENT = "wasim-phone"
"""How the simulator's own phones name themselves: the log tells their requests from those of clients."""


class MediaServer:
    """One TLS listener with a folder of encrypted files.

    :param port: 0 picks a free one; ``port`` then has it
    :param folder: keeps files and certificates over restarts; None for one that is deleted by ``stop``
    :param fault: gives the status with which an ``upload`` or a ``download`` is refused; 0: it is not
    :param journal: where each request is noted
    :param authorised: whether an upload's ``auth`` was given out by ``media_conn``; None takes any that is not empty
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        folder: Path | None = None,
        authorised: Callable[[str], bool] | None = None,
        fault: Callable[[str], int] = lambda _: 0,
        journal: Journal | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._authorised = authorised or bool
        self._fault = fault
        self._journal = journal
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="wasim-media-")
        self._folder = folder or Path(self._temporary.name if self._temporary else "")
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Make the certificates if there are none, and listen. Raises OSError if the port is taken."""
        key_file = await asyncio.to_thread(self._prepare)
        app = web.Application(client_max_size=MAX_UPLOAD)
        for path in UPLOAD_PATHS:
            app.router.add_post(path + "/{name}", self._upload)
        app.router.add_get(DIRECT_PATH + "{name}", self._download)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port, ssl_context=server_context(key_file)).start()
        except OSError:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]

    def _prepare(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.ca_file, key_file = ensure_certificates(self._folder)
        secret = self._folder / SECRET_FILE
        if not secret.exists():
            secret.write_bytes(secrets.token_bytes(32))
        self._secret = secret.read_bytes()
        return key_file

    async def stop(self) -> None:
        """Close the listener; a folder of its own is deleted."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._temporary is not None:
            await asyncio.to_thread(self._temporary.cleanup)

    def client_tls(self) -> ssl.SSLContext:
        """Give what a client in this process connects with."""
        return client_context(self.ca_file)

    def expire(self) -> int:
        """Delete all files, as WhatsApp does after some weeks; give how many."""
        files = list(self._folder.glob("*.enc"))
        for file in files:
            file.unlink()
        return len(files)

    # -- requests

    def _note(self, what: str, request: web.Request) -> None:
        if self._journal is not None:
            by = "phone" if request.headers.get("User-Agent") == PHONE_AGENT else None
            self._journal.note("media", what=what, peer=peer_of(request), by=by)

    async def _upload(self, request: web.Request) -> web.Response:
        self._note("upload", request)
        if status := self._fault("upload"):
            return _refusal(status, "fault media_error")
        name = request.match_info["name"]
        claimed = _hash(name)
        if not self._authorised(request.query.get("auth", "")):
            return _refusal(401, "the auth is not the one that media_conn gave out")
        if claimed is None or request.query.get("token") != name:
            return _refusal(400, "path and token must both be the base64url SHA-256 of the encrypted file")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refusal(413, f"a file may have {MAX_UPLOAD} bytes")
        if await asyncio.to_thread(self._keep, claimed, body):
            path = f"{DIRECT_PATH}{name}?ccb=11-4&oh={self._signature(name)}&_nc_sid=5e03e0"
            return web.json_response(
                {"url": f"https://localhost:{self.port}{path}&mms3=true", "direct_path": path, "handle": name}
            )
        return _refusal(400, "the body is not the file that path and token name: its SHA-256 is another")

    def _keep(self, claimed: bytes, body: bytes) -> bool:
        """Store a file under its hash; whole or not at all."""
        if hashlib.sha256(body).digest() != claimed:
            return False
        target = self._folder / f"{claimed.hex()}.enc"
        part = target.with_suffix(f".{secrets.token_hex(4)}.part")
        part.write_bytes(body)
        part.replace(target)
        return True

    def _signature(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()[:32]

    async def _download(self, request: web.Request) -> web.StreamResponse:
        self._note("download", request)
        if status := self._fault("download"):
            return _refusal(status, "fault media_error")
        name = request.match_info["name"]
        wanted = _hash(name)
        if wanted is None or not hmac.compare_digest(
            request.query.get("oh", "").encode(), self._signature(name).encode()
        ):
            return _refusal(403, "the link's signature does not fit its file")
        file = self._folder / f"{wanted.hex()}.enc"
        if not await asyncio.to_thread(file.exists):
            return _refusal(410, "the file is not here any more")
        return web.FileResponse(file, headers={"Content-Type": "application/octet-stream"})


def _hash(name: str) -> bytes | None:
    try:
        found = base64.b64decode(name + "=" * (-len(name) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == HASH_SIZE else None


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": reason}}, status=status)
