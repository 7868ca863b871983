"""G1 and G2 at the store: who may hold, until when, and that nobody else writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from holdfast.domain.errors import StaleEpoch
from holdfast.domain.media import name_of
from holdfast.domain.rows import Backlog, ConsumerFacts, EngineWrite, Holder, Lease, NewEvent, Processed, Won
from holdfast.ports.store import Store
from tests.contract.conftest import World
from tests.contract.rows import entry, message, outgoing, received, told
from tests.support.leases import take_lease

TTL = 15.0


async def test_unknown_session_cannot_be_claimed(world: World) -> None:
    assert await take_lease(world.store, "nobody", "one", TTL) is None


async def test_claim_raises_the_epoch_and_dates_the_lease_in_database_time(world: World) -> None:
    await world.store.create_session("a", "baileys", {}, "running")
    before = await world.store.now()
    lease = await take_lease(world.store, "a", "one", TTL)
    after = await world.store.now()
    assert isinstance(lease, Lease)
    assert lease.epoch == 1
    assert before + TTL <= lease.expires_at <= after + TTL
    row = await world.store.session("a")
    assert row is not None
    assert row.epoch == 1


async def test_a_valid_lease_is_in_the_way_with_its_holders_address(held: World) -> None:
    await held.store.register_instance("one", "http://127.0.0.1:1", "0.1")
    holder = await take_lease(held.store, "a", "two", TTL)
    assert isinstance(holder, Holder)
    assert (holder.instance, holder.epoch, holder.valid, holder.url) == ("one", 1, True, "http://127.0.0.1:1")
    assert (await held.store.holders(["a"]))["a"] == holder
    assert await held.store.holders(["b"]) == {}


async def backlog(held: World) -> Backlog:
    won = (await held.store.claim(["a"], "one", TTL))["a"]
    assert isinstance(won, Won)
    return won.backlog


async def test_a_claim_tells_what_there_is_to_do(held: World) -> None:
    store, nothing = held.store, Backlog(inbox=False, files=False, consumers=False)
    assert await backlog(held) == nothing
    await store.write_engine("a", 2, EngineWrite(inbox=[received()]))
    assert await backlog(held) == replace(nothing, inbox=True)
    (row,) = await store.inbox_pending("a", 10)
    name = name_of("m1", mimetype="image/jpeg")
    body = {"media": {"file": name, "mimetype": "image/jpeg", "size": 5.0, "filename": None}}
    await store.apply_inbox("a", 3, Processed(messages=[message(kind="image", body=body, raw=b"x")], done=[row.seq]))
    assert await backlog(held) == replace(nothing, files=True)
    await store.media_settle(name, "awaited", retry_in=600)
    assert await backlog(held) == replace(nothing, files=True)
    await store.media_settle(name, "kept", size=5)
    await store.set_consumers("a", [ConsumerFacts("webhook:a:x", "http://127.0.0.1/", "")])
    assert await backlog(held) == replace(nothing, consumers=True)


async def test_own_lease_can_be_claimed_again_and_fences_the_old_epoch(held: World) -> None:
    lease = await take_lease(held.store, "a", "one", TTL)
    assert isinstance(lease, Lease)
    assert lease.epoch == 2
    assert await held.store.renew("one", {"a": 1}, TTL) == {"a": False}
    assert await held.store.renew("one", {"a": 2}, TTL) == {"a": True}


async def test_lease_expires_at_its_edge_and_not_before(held: World) -> None:
    await held.advance(TTL - 1.0)
    assert isinstance(await take_lease(held.store, "a", "two", TTL), Holder)
    await held.advance(1.0)
    lease = await take_lease(held.store, "a", "two", TTL)
    assert isinstance(lease, Lease)
    assert lease.epoch == 2
    assert await held.store.renew("one", {"a": 1}, TTL) == {"a": False}


async def test_renewal_moves_the_expiry(held: World) -> None:
    await held.advance(10.0)
    assert await held.store.renew("one", {"a": 1, "unknown": 4}, TTL) == {"a": True, "unknown": False}
    await held.advance(10.0)
    assert isinstance(await take_lease(held.store, "a", "two", TTL), Holder)


async def test_renewal_of_nothing_is_only_a_heartbeat(world: World) -> None:
    await world.store.register_instance("one", "u", "v")
    await world.advance(20.0)
    before = (await world.store.instances())[0]["heartbeat_at"]
    assert await world.store.renew("one", {}, TTL) == {}
    assert (await world.store.instances())[0]["heartbeat_at"] >= before + 20.0 - 1.0


async def test_release_lets_the_next_claim_win_at_once(held: World) -> None:
    await held.store.release("a", "two", 1)
    await held.store.release("a", "one", 7)
    assert isinstance(await take_lease(held.store, "a", "two", TTL), Holder)
    await held.store.release("a", "one", 1)
    lease = await take_lease(held.store, "a", "two", TTL)
    assert isinstance(lease, Lease)
    assert lease.epoch == 2


async def test_row_deleted_by_hand_can_be_claimed_one_ttl_after_it_was_seen_missing(held: World) -> None:
    await held.sql("DELETE FROM session_lock")
    await held.advance(100.0)
    first = await take_lease(held.store, "a", "two", TTL)
    assert isinstance(first, Holder)
    assert not first.valid
    assert first.expires_at == pytest.approx(await held.store.now() + TTL, abs=1.0)
    await held.advance(TTL - 1.0)
    assert isinstance(await take_lease(held.store, "a", "three", TTL), Holder)
    await held.advance(1.0)
    lease = await take_lease(held.store, "a", "two", TTL)
    assert isinstance(lease, Lease)
    assert lease.epoch == 2


async def test_row_deleted_by_hand_is_left_for_the_ttl_of_its_holder_where_that_is_longer(held: World) -> None:
    """Instances with different settings on one database: who claims must not believe that all are like itself."""
    await held.sql("DELETE FROM session_lock")
    first = await take_lease(held.store, "a", "two", TTL / 10)
    assert isinstance(first, Holder)
    assert first.expires_at == pytest.approx(await held.store.now() + TTL, abs=1.0)
    await held.advance(TTL - 1.0)
    assert isinstance(await take_lease(held.store, "a", "two", TTL / 10), Holder)
    await held.advance(1.0)
    assert isinstance(await take_lease(held.store, "a", "two", TTL / 10), Lease)
    await held.sql("DELETE FROM session_lock")
    short = await take_lease(held.store, "a", "one", TTL / 100)
    assert isinstance(short, Holder)
    assert short.expires_at == pytest.approx(await held.store.now() + TTL / 10, abs=1.0)


async def test_row_deleted_by_hand_is_lost_for_its_holder(held: World) -> None:
    await held.sql("DELETE FROM session_lock")
    assert await held.store.renew("one", {"a": 1}, TTL) == {"a": False}


async def test_one_of_many_concurrent_claims_wins(world: World) -> None:
    await world.store.create_session("a", "baileys", {}, "running")
    answers = await asyncio.gather(*(take_lease(world.store, "a", f"i{n}", TTL) for n in range(12)))
    won = [answer for answer in answers if isinstance(answer, Lease)]
    assert [lease.epoch for lease in won] == [1]
    assert sum(isinstance(answer, Holder) for answer in answers) == 11


async def test_dead_instance_gives_up_all_its_leases(held: World) -> None:
    await held.store.create_session("b", "baileys", {}, "running")
    await take_lease(held.store, "b", "two", TTL)
    assert await held.store.expire_instance("one") == ["a"]
    assert isinstance(await take_lease(held.store, "a", "three", TTL), Lease)
    assert isinstance(await take_lease(held.store, "b", "three", TTL), Holder)


async def test_instances_show_what_they_hold(held: World) -> None:
    await held.store.register_instance("one", "u", "v")
    await held.store.register_instance("two", "u2", "v")
    shown = {row["id"]: row for row in await held.store.instances()}
    assert shown["one"]["sessions"] == ["a"]
    assert shown["two"]["sessions"] == []
    await held.advance(TTL)
    assert {row["id"]: row["sessions"] for row in await held.store.instances()} == {"one": [], "two": []}


async def test_epochs_never_repeat_not_even_after_deletion(held: World) -> None:
    await held.store.release("a", "one", 1)
    assert await held.store.delete_session("a")
    await held.store.create_session("a", "baileys", {}, "running")
    lease = await take_lease(held.store, "a", "two", TTL)
    assert isinstance(lease, Lease)
    assert lease.epoch > 1


async def test_session_deleted_under_a_holder_waits_for_that_holders_lease(held: World) -> None:
    await held.store.delete_session("a")
    await held.store.create_session("a", "baileys", {}, "running")
    assert isinstance(await take_lease(held.store, "a", "two", TTL), Holder)
    await held.advance(TTL)
    assert isinstance(await take_lease(held.store, "a", "two", TTL), Lease)


WRITES: dict[str, Callable[[Store, int], Awaitable[object]]] = {
    "save_state": lambda s, e: s.save_state(
        "a", e, {"phase": "x"}, me={"phone": "1"}, timeline=entry(), events=[NewEvent("session.status", {})],
        clear_credentials=True,
    ),
    "write_engine": lambda s, e: s.write_engine("a", e, EngineWrite({("session", "1"): b"bad"}, [received("k2")])),
    "apply_inbox": lambda s, e: s.apply_inbox("a", e, Processed([1], [message()], events=[told(message())])),
    "claim_outbox": lambda s, e: s.claim_outbox("a", e, 10),
    "settle_outbox": lambda s, e: s.settle_outbox("a", e, "o1", "sent", sent=message("o1", from_me=True)),
}  # fmt: skip


@pytest.mark.parametrize("epoch", [0, 1, 3], ids=["never", "older", "future"])
@pytest.mark.parametrize("method", WRITES)
async def test_stale_holder_writes_nothing(held: World, method: str, epoch: int) -> None:
    store = held.store
    await store.write_engine("a", 1, EngineWrite({("creds", ""): b"c", ("session", "1"): b"good"}, [received()]))
    await store.enqueue(outgoing(), "f")
    await take_lease(store, "a", "one", TTL)
    with pytest.raises(StaleEpoch):
        await WRITES[method](store, epoch)
    row = await store.session("a")
    assert row is not None
    assert (row.state, row.me, row.has_credentials) == ({}, {}, True)
    assert await store.read_keys("a", [("session", "1")]) == {("session", "1"): b"good"}
    assert [found.key for found in await store.inbox_pending("a", 10)] == ["k1"]
    assert await store.messages("a", None, 10, 0) == []
    assert await store.events(0, 10) == []
    assert await store.timeline("a", 10) == []
    queued = await store.outbox_get("a", "o1")
    assert queued is not None
    assert (queued.state, queued.attempts) == ("queued", 0)


@pytest.mark.parametrize("method", WRITES)
async def test_a_missing_epoch_also_means_no(held: World, method: str) -> None:
    await held.sql("DELETE FROM session_epoch")
    with pytest.raises(StaleEpoch):
        await WRITES[method](held.store, 1)


@pytest.mark.parametrize("method", WRITES)
async def test_deleting_a_session_fences_its_holder(held: World, method: str) -> None:
    await held.store.delete_session("a")
    with pytest.raises(StaleEpoch):
        await WRITES[method](held.store, 1)


async def test_no_claim_slips_between_check_and_commit(held: World) -> None:
    """Writers and claims race; every write that succeeded did so under the epoch that was current at its commit."""
    store = held.store
    wrote: list[int] = []

    async def write(epoch: int) -> None:
        try:
            while True:
                await store.write_engine("a", epoch, EngineWrite({("epoch", "of-last-write"): b"%d" % epoch}))
                wrote.append(epoch)
                await asyncio.sleep(0)
        except StaleEpoch:
            pass

    writers = [asyncio.create_task(write(1))]
    for n in range(2, 12):
        lease = await take_lease(store, "a", "one", TTL)
        assert isinstance(lease, Lease)
        found = await store.read_keys("a", [("epoch", "of-last-write")])
        assert int(found.get(("epoch", "of-last-write"), b"0")) < lease.epoch == n
        writers.append(asyncio.create_task(write(n)))
        for _ in range(3):
            await asyncio.sleep(0)
    await store.clear_credentials("a")
    await asyncio.gather(*writers)
    assert wrote == sorted(wrote)
    assert await store.read_keys("a", [("epoch", "of-last-write")]) == {}
