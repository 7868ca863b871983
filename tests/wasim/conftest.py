from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.wasim.plain import PlainClient
from tests.wasim.signing_phone import SigningPhone
from wasim.server import WasimServer

ALICE, BOB = "40712345678", "40722222222"


@pytest.fixture
async def wasim() -> AsyncIterator[WasimServer]:
    async with WasimServer(media_port=None, phone_factory=SigningPhone) as server:
        yield server


@pytest.fixture
async def alice(wasim: WasimServer) -> AsyncIterator[PlainClient]:
    async with PlainClient(wasim, keepalive_ms=1000) as client:
        await client.pair(ALICE)
        yield client
