"""An instance stops when it is told to, whatever it is doing at that moment."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.instances import SETTINGS, instance, linked, memory_store
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run


@pytest.mark.parametrize("early", [0.0, 1e-9, 1e-3])
def test_a_renewal_under_way_does_not_swallow_the_stop(early: float) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store:
            node = instance(store, clock, engine)
            await node.__aenter__()
            started = clock.boot()
            await linked(node, engine)
            await clock.sleep(started + 4 * SETTINGS.lease.renew - early - clock.boot())
            async with asyncio.timeout(60):
                await node.__aexit__(None, None, None)
            assert engine.live == {}

    run(main)
