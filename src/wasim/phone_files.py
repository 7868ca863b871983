"""A phone's files: sealed and uploaded to the media server, fetched from it and opened."""

from __future__ import annotations

import base64
from collections import OrderedDict
from typing import Any

import aiohttp

from wasim.media import PHONE_AGENT
from wasim.media_crypto import open_sealed, seal
from wasim.phone_contacts import PhoneError, ask
from wasim.phone_content import Body
from wasim.ports import PhoneNetwork
from wasim.wire.nodes import Node

KEPT = 100
AGENT = {"User-Agent": PHONE_AGENT}


class Files:
    """See the module."""

    def __init__(self, network: PhoneNetwork) -> None:
        self._network = network
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        """What lies on the phone, sealed, by the hash of the encrypted file."""

    def _keep(self, enc_sha256: bytes, data: bytes) -> None:
        self._kept[enc_sha256] = data
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def forget(self) -> int:
        """The person clears the phone's storage; give how many files were there."""
        count = len(self._kept)
        self._kept.clear()
        return count

    async def upload(self, kind: str, plain: bytes) -> dict[str, Any]:
        """Seal and upload a file; give what a message says of it.

        :raises PhoneError: if there is no media server, or it refuses the file
        """
        host, auth = await self._connection()
        sealed = seal(kind, plain)
        found = await self._post(kind, sealed.enc_sha256, sealed.data, (host, auth))
        self._keep(sealed.enc_sha256, sealed.data)
        return {
            "url": found["url"], "directPath": found["direct_path"], "mediaKey": sealed.key,
            "fileSha256": sealed.sha256, "fileEncSha256": sealed.enc_sha256, "fileLength": sealed.length,
        }  # fmt: skip

    async def upload_again(self, kind: str, file: Body) -> str | None:
        """Upload a file that the server has no more; give its new path, or None if the phone has it no more either."""
        data = self._kept.get(file.get("fileEncSha256", b""))
        if data is None:
            return None
        return str((await self._post(kind, file["fileEncSha256"], data, await self._connection()))["direct_path"])

    async def _post(self, kind: str, enc_sha256: bytes, data: bytes, connection: tuple[str, str]) -> dict[str, Any]:
        host, auth = connection
        name = base64.urlsafe_b64encode(enc_sha256).decode().rstrip("=")
        path = "image" if kind == "sticker" else kind
        url = f"https://{host}/mms/{path}/{name}"
        query = {"auth": auth, "token": name}
        async with (
            aiohttp.ClientSession(headers=AGENT) as http,
            http.post(url, params=query, data=data, ssl=self._network.media_tls or True) as answer,
        ):
            if answer.status != 200:
                raise PhoneError(f"the media server refused the file: {answer.status} {await answer.text()}")
            found: dict[str, Any] = await answer.json()
        return found

    async def _connection(self) -> tuple[str, str]:
        """Ask for the media host and what to upload with."""
        connection = (await ask(self._network, "set", "w:m", [Node("media_conn")])).child("media_conn")
        host = connection.child("host") if connection else None
        if connection is None or host is None:
            raise PhoneError("the server named no media host")
        return host.attrs["hostname"], connection.attrs["auth"]

    async def download(self, kind: str, file: Body) -> bytes:
        """Fetch and open a file by what its message says.

        :raises PhoneError: if the media server does not give it
        :raises MediaError: if it is not what the message says
        """
        host, _ = await self._connection()
        url = f"https://{host}{file.get('directPath', '')}"
        async with (
            aiohttp.ClientSession(headers=AGENT) as http,
            http.get(url, ssl=self._network.media_tls or True) as answer,
        ):
            if answer.status != 200:
                raise PhoneError(f"the media server does not give the file: {answer.status} {await answer.text()}")
            data = await answer.read()
        self._keep(file.get("fileEncSha256", b""), data)
        return open_sealed(
            kind, data, file.get("mediaKey", b""), sha256=file.get("fileSha256", b""),
            enc_sha256=file.get("fileEncSha256", b""),
        )  # fmt: skip
