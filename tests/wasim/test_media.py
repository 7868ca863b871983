"""The media server over real TLS, and the sealing of files."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasim.media import MediaServer
from wasim.media_crypto import MediaError, open_sealed, seal

AUTH = "given-out"


@pytest.fixture
async def media(tmp_path: Path) -> AsyncIterator[MediaServer]:
    server = MediaServer(folder=tmp_path / "media", authorised=lambda auth: auth == AUTH)
    await server.start()
    yield server
    await server.stop()


def name_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def upload_url(media: MediaServer, name: str, *, auth: str = AUTH, token: str | None = None) -> str:
    return f"https://localhost:{media.port}/mms/image/{name}?auth={quote(auth)}&token={token or name}"


async def post(media: MediaServer, url: str, data: bytes) -> tuple[int, dict[str, str]]:
    async with aiohttp.ClientSession() as http, http.post(url, data=data, ssl=media.client_tls()) as answer:
        return answer.status, await answer.json()


async def get(media: MediaServer, path: str, **headers: str) -> tuple[int, bytes]:
    url = f"https://localhost:{media.port}{path}"
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers, ssl=media.client_tls()) as answer:
        return answer.status, await answer.read()


async def test_what_is_uploaded_can_be_fetched_whole_and_in_part(media: MediaServer) -> None:
    data = bytes(range(256)) * 40
    status, answer = await post(media, upload_url(media, name_of(data)), data)
    assert status == 200
    assert answer["url"].startswith(f"https://localhost:{media.port}{answer['direct_path']}")
    assert await get(media, answer["direct_path"]) == (200, data)
    assert await get(media, answer["direct_path"], Range="bytes=16-31") == (206, data[16:32])


@pytest.mark.parametrize(
    ("url", "status", "reason"),
    [
        ({"auth": "made-up"}, 401, "media_conn"),
        ({"auth": ""}, 401, "media_conn"),
        ({"token": "other"}, 400, "token"),
        ({"name": "too-short"}, 400, "token"),
        ({"name": name_of(b"another file")}, 400, "SHA-256 is another"),
    ],
)
async def test_a_wrong_upload_is_refused(media: MediaServer, url: dict[str, str], status: int, reason: str) -> None:
    data = b"file"
    name = url.pop("name", name_of(data))
    got, answer = await post(media, upload_url(media, name, **url), data)
    assert got == status
    assert reason in answer["error"]["message"]  # type: ignore[index]


async def test_a_link_that_was_not_given_out_is_refused(media: MediaServer) -> None:
    _, answer = await post(media, upload_url(media, name_of(b"file")), b"file")
    forged = answer["direct_path"].replace("oh=", "oh=0")
    assert (await get(media, forged))[0] == 403
    assert (await get(media, answer["direct_path"].replace("ccb=11-4&", "").split("&_nc")[0]))[0] == 200


async def test_a_client_that_does_not_know_the_ca_does_not_connect(media: MediaServer) -> None:
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        async with aiohttp.ClientSession() as http:
            await http.get(f"https://localhost:{media.port}/", ssl=ssl.create_default_context())


async def test_files_links_and_certificates_survive_a_restart(tmp_path: Path) -> None:
    first = MediaServer(folder=tmp_path)
    await first.start()
    trusted = first.ca_file.read_bytes()
    _, answer = await post(first, upload_url(first, name_of(b"kept")), b"kept")
    await first.stop()
    second = MediaServer(folder=tmp_path)
    await second.start()
    try:
        assert second.ca_file.read_bytes() == trusted
        assert await get(second, answer["direct_path"]) == (200, b"kept")
    finally:
        await second.stop()


async def test_a_folder_of_its_own_is_deleted(media: MediaServer) -> None:
    server = MediaServer()
    await server.start()
    ca_file = server.ca_file
    assert ca_file.exists()
    await server.stop()
    assert not ca_file.parent.exists()


@given(plain=st.binary(max_size=300))
def test_a_sealed_file_opens_to_the_same(plain: bytes) -> None:
    sealed = seal("image", plain)
    opened = open_sealed("image", sealed.data, sealed.key, sha256=sealed.sha256, enc_sha256=sealed.enc_sha256)
    assert opened == plain
    assert sealed.length == len(plain)


def test_a_changed_file_is_refused_by_name() -> None:
    sealed = seal("image", b"picture")
    changed = bytes([sealed.data[0] ^ 1]) + sealed.data[1:]
    with pytest.raises(MediaError, match="encrypted file has another hash"):
        open_sealed("image", changed, sealed.key, sha256=sealed.sha256, enc_sha256=sealed.enc_sha256)
    enc = hashlib.sha256(changed).digest()
    with pytest.raises(MediaError, match="MAC"):
        open_sealed("image", changed, sealed.key, sha256=sealed.sha256, enc_sha256=enc)
    with pytest.raises(MediaError, match=r"^the file has another hash"):
        open_sealed("image", sealed.data, sealed.key, sha256=bytes(32), enc_sha256=sealed.enc_sha256)
