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


@pytest.mark.parametrize(("answer", "state"), [(3.0, "sent"), (3600.0, "sending")])
def test_a_send_in_flight_finishes_before_the_socket_closes_but_holds_up_no_stop(answer: float, state: str) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store:
            node = instance(store, clock, engine)
            await node.__aenter__()
            await linked(node, engine)
            engine.latency = answer
            sent = await node.gateway.send(
                "shop", "40722000111@s.whatsapp.net", {"type": "text", "text": "x"}, wait=1.0
            )
            assert (sent.state, len(engine.sent)) == ("sending", 1)
            engine.latency = 0.1
            before, began = len(engine.log), clock.boot()
            stopping = asyncio.create_task(node.__aexit__(None, None, None))
            await clock.sleep(1.0)
            assert engine.log[before:] == [], "closed under a message"
            await stopping
            assert clock.boot() - began < 7.0
            assert engine.live == {}
            found = await store.outbox_get("shop", sent.id)
            assert found is not None
            assert found.state == state, "in doubt: the next holder tries again under the same id"
            assert (await store.holders(["shop"])) == {}

    run(main)
