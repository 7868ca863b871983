"""What is sent arrives as WhatsApp's apps send it, or is refused in words: one linked session over real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.conversations import SHOP, Talk
from tests.support.outgoing_cases import CASES
from tests.support.processes import Holdfast, Receiver, Wasim


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talk]:
    folder = tmp_path_factory.mktemp("sending")
    async with Wasim(folder) as wasim, Receiver() as hook, Holdfast(wasim, folder) as holdfast:
        await holdfast.link(wasim, "shop", SHOP, hook.config())
        yield Talk(wasim, holdfast, hook)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES)
async def test_sent(talk: Talk, case: str) -> None:
    _, play = CASES[case]
    await play(talk)
