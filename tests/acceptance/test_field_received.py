"""What phones send in the field: one linked session over real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.conversations import SHOP, Talk
from tests.support.field_received import SCENARIOS
from tests.support.processes import Holdfast, Receiver, Wasim


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talk]:
    folder = tmp_path_factory.mktemp("field")
    async with Wasim(folder) as wasim, Receiver() as hook, Holdfast(wasim, folder) as holdfast:
        await holdfast.link(wasim, "shop", SHOP, hook.config())
        yield Talk(wasim, holdfast, hook)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_received(talk: Talk, scenario: str) -> None:
    await SCENARIOS[scenario](talk)
