"""Where files lie: a folder and a bucket give the same answers; the bucket's requests are signed as AWS asks."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from holdfast.domain.errors import MediaGone, MediaUnavailable
from holdfast.ports.media import Files
from holdfast.runtime.clock import SystemClock
from holdfast.store.files.bucket import Bucket
from holdfast.store.files.folder import LEFT_FOR, Folder, Room
from holdfast.store.files.signing import Keys, signed

KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "eu-central-1")
NAME = "0" * 40 + ".jpg"
CONTENT = bytes(range(256)) * 3000


@dataclass
class Bucketeer:
    """A little S3, strict: it takes no request whose signature, date or digest is wrong."""

    objects: dict[str, bytes] = field(default_factory=dict)
    failing: list[int] = field(default_factory=list)
    """Statuses with which the next requests are answered."""

    async def serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.failing:
            return web.Response(status=self.failing.pop(0))
        stamp, digest = request.headers["x-amz-date"], request.headers["x-amz-content-sha256"]
        at = time.mktime(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) - time.timezone
        url = f"http://{request.headers['Host']}{request.raw_path}"
        wanted = signed(KEYS, request.method, url, at, digest)["Authorization"]
        if not hmac.compare_digest(wanted, request.headers["Authorization"]) or abs(at - time.time()) > 900:
            return web.Response(status=403)
        if hashlib.sha256(body).hexdigest() != digest:
            return web.Response(status=400)
        if request.method == "PUT":
            self.objects[request.path] = body
        elif request.method == "DELETE":
            self.objects.pop(request.path, None)
            return web.Response(status=204)
        elif request.path not in self.objects:
            return web.Response(status=404)
        else:
            return web.Response(body=self.objects[request.path])
        return web.Response()


@asynccontextmanager
async def bucketeer() -> AsyncIterator[tuple[Bucketeer, str]]:
    s3 = Bucketeer()
    app = web.Application(client_max_size=10**8)
    app.router.add_route("*", "/{path:.*}", s3.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield s3, f"http://127.0.0.1:{runner.addresses[0][1]}/bucket/a%20prefix"
    finally:
        await runner.cleanup()


@pytest.fixture(params=["folder", "bucket"])
async def files(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Files]:
    async with bucketeer() as (_, url):
        found: Files = (
            Folder(tmp_path / "media")
            if request.param == "folder"
            else Bucket(url, KEYS, tmp_path / "room", SystemClock())
        )
        await found.start()
        yield found
        await found.stop()


def under_way(files: Files) -> Path:
    path = files.room() / "x"
    path.write_bytes(CONTENT)
    return path


async def test_files_are_kept_read_and_deleted(files: Files) -> None:
    path = under_way(files)
    await files.put(NAME, path)
    assert not path.exists()
    size, pieces = await files.read(NAME)
    assert (size, b"".join([piece async for piece in pieces])) == (len(CONTENT), CONTENT)
    async with files.local(NAME) as here:
        assert here.read_bytes() == CONTENT
    for _ in range(2):
        await files.delete(NAME)
    assert list(files.room().iterdir()) == []


async def test_what_is_not_there_is_gone(files: Files) -> None:
    with pytest.raises(MediaGone):
        await files.read(NAME)
    with pytest.raises(MediaGone):
        async with files.local(NAME):
            pass


async def test_what_was_left_long_ago_is_removed_at_the_start(files: Files) -> None:
    old, young = under_way(files), files.room() / "young"
    young.write_bytes(b"")
    os.utime(old, (1.0, time.time() - LEFT_FOR - 10))
    assert isinstance(files, Room)
    files.clear()
    assert list(files.room().iterdir()) == [young]


async def test_disk_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("no folder")
    with pytest.raises(MediaUnavailable, match="HOLDFAST_MEDIA_DIR"):
        await Folder(tmp_path / "media").start()


async def test_bucket_that_fails_is_asked_again_and_named(tmp_path: Path) -> None:
    async with bucketeer() as (s3, url):
        bucket = Bucket(url, KEYS, tmp_path, SystemClock())
        await bucket.start()
        s3.failing = [500, 503]
        await bucket.put(NAME, under_way(bucket))
        assert list(s3.objects.values()) == [CONTENT]
        s3.failing = [403, 403, 403]
        with pytest.raises(MediaUnavailable, match="403"):
            await bucket.delete(NAME)
        await bucket.stop()
        wrong = Bucket(url, Keys(KEYS.id, "another", KEYS.region), tmp_path, SystemClock())
        await wrong.start()
        with pytest.raises(MediaUnavailable, match="403"):
            await wrong.read(NAME)
        await wrong.stop()
    gone = Bucket("http://127.0.0.1:1/bucket", KEYS, tmp_path, SystemClock())
    await gone.start()
    with pytest.raises(MediaUnavailable, match="HOLDFAST_MEDIA_S3_URL"):
        await gone.read(NAME)
    await gone.stop()
    assert "another" not in repr(wrong._keys)


@pytest.mark.parametrize(
    ("method", "body", "signature"),
    [
        ("GET", b"", "d24c00dd99735f1b1cfbba8c9254dea505b3ee6acf6d4deb9b4d152e21fa4acc"),
        ("PUT", b"hello", "5559b4395b4fb29fa85a5a519b882bc1366a79ba93e2919c1f3e99199c497772"),
        ("DELETE", b"", "15847c3dca2a5568a1af5f39d4d953b7f123941d09171dab2f126bc4b41757e3"),
    ],
)
def test_signatures_are_those_of_botocore(method: str, body: bytes, signature: str) -> None:
    """Made once by botocore's S3SigV4Auth, at that time."""
    url = "https://s3.eu-central-1.amazonaws.com/examplebucket/prefix/0123abcd.jpg"
    headers = signed(KEYS, method, url, 1_369_353_600, hashlib.sha256(body).hexdigest())
    assert headers["Authorization"].endswith(f"Signature={signature}")
    assert headers["x-amz-date"] == "20130524T000000Z"
