"""What is forgotten, and what never is."""

from __future__ import annotations

from holdfast.domain.rows import ConsumerFacts, EngineWrite, NewEvent, Processed, Settled
from tests.contract.conftest import World
from tests.contract.rows import message, outgoing, received

DAY = 86_400.0


async def test_only_what_is_old_and_dealt_with_is_forgotten(held: World) -> None:
    store = held.store
    await store.set_consumers("a", [ConsumerFacts("webhook", "", "")])
    await store.take_consumer("webhook", "one", 15)
    await store.write_engine("a", 1, EngineWrite({}, [received("done"), received("pending")]))
    done = (await store.inbox_pending("a", 1))[0]
    await store.apply_inbox("a", 1, Processed([done.seq], [message()]))
    await store.enqueue(outgoing("sent", "1@g.us"), "f")
    await store.enqueue(outgoing("open", "2@g.us"), "f")
    await store.claim_outbox("a", 1, 1)
    await store.settle_outbox("a", 1, "sent", "sent")
    behind, ahead = await store.append_events("a", [NewEvent("x", {}), NewEvent("y", {})])
    await store.settle_deliveries("webhook", "one", Settled(upto=behind.seq))
    assert await store.prune(14 * DAY) == 0
    await held.advance(15 * DAY)
    assert await store.prune(14 * DAY) == 3
    assert await store.prune(14 * DAY) == 0
    assert await store.inbox_find("a", "done") is None
    assert [row.key for row in await store.inbox_pending("a", 10)] == ["pending"]
    assert await store.outbox_get("a", "sent") is None
    assert await store.outbox_get("a", "open") is not None
    assert [row.seq for row in await store.events(0, 10)] == [ahead.seq]
    assert len(await store.messages("a", None, 10, 0)) == 1
