"""What is received keeps its meaning: one linked session over real processes, and people who do what people do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.conversations import SCENARIOS, SHOP, Talk
from tests.support.processes import Holdfast, Receiver, Wasim


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talk]:
    folder = tmp_path_factory.mktemp("receiving")
    async with Wasim(folder) as wasim, Receiver() as hook, Holdfast(wasim, folder) as holdfast:
        await holdfast.link(wasim, "shop", SHOP, hook.config())
        yield Talk(wasim, holdfast, hook)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_received(talk: Talk, scenario: str) -> None:
    await SCENARIOS[scenario](talk)
