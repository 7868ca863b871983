"""Consumers of the event log: one owner at a time, a cursor that passes nothing undelivered, what it left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.domain.errors import DeliveryNotFound
from holdfast.domain.rows import Busy, ConsumerFacts, EventRow, NewEvent, Settled, Taken, Undelivered
from tests.contract.conftest import World
from tests.support.leases import take_lease

DAY = 86_400.0
HOOK = ConsumerFacts("webhook:a:1", "one.test", "s1")
OTHER = ConsumerFacts("webhook:a:2", "two.test", "s2")


def new(n: int, chat: str = "c") -> NewEvent:
    return NewEvent("message", {"n": n}, chat)


def stuck(event: EventRow, **facts: object) -> Undelivered:
    return replace(Undelivered(event, "retrying", 1, problem="the receiver answered 500", status=500), **facts)  # type: ignore[arg-type]


@pytest.fixture
async def hooked(world: World) -> World:
    """A session `a` that nobody holds, with one consumer, owned by instance `one` for 15 s."""
    await world.store.create_session("a", "baileys", {}, "stopped")
    await world.store.set_consumers("a", [HOOK])
    assert await world.store.take_consumer(HOOK.consumer, "one", 15) == Taken(0, "s1", frozenset())
    return world


async def test_a_consumer_begins_at_the_logs_end_and_moves_only_on(world: World) -> None:
    store = world.store
    await store.create_session("a", "baileys", {}, "stopped")
    rows = await store.append_events("a", [new(1), new(2)])
    await store.set_consumers("a", [HOOK])
    assert await store.take_consumer(HOOK.consumer, "one", 15) == Taken(rows[1].seq, "s1", frozenset())
    later = await store.append_events("a", [new(3)])
    assert await store.settle_deliveries(HOOK.consumer, "one", Settled(upto=later[0].seq))
    assert await store.settle_deliveries(HOOK.consumer, "one", Settled(upto=rows[0].seq))
    assert await store.take_consumer(HOOK.consumer, "one", 15) == Taken(later[0].seq, "s1", frozenset())
    assert await store.take_consumer("webhook:a:unknown", "one", 15) is None


async def test_one_owner_until_it_lapses_leaves_or_is_replaced(hooked: World) -> None:
    store, name = hooked.store, HOOK.consumer
    (event,) = await store.append_events("a", [new(1)])
    busy = await store.take_consumer(name, "two", 15)
    assert isinstance(busy, Busy)
    assert (busy.owner, 0 < busy.left <= 15) == ("one", True)
    assert await store.waiting_consumers("one") == [(name, "a")]
    assert await store.waiting_consumers("two") == []
    await hooked.advance(10)
    assert await store.keep_consumers("one", [name, "other"], 15) == {name: "s1"}
    assert await store.keep_consumers("two", [name], 15) == {}
    await hooked.advance(10)
    assert isinstance(await store.take_consumer(name, "two", 15), Busy)
    await hooked.advance(6)
    assert await store.waiting_consumers("two") == [(name, "a")]
    assert isinstance(await store.take_consumer(name, "two", 15), Taken)
    assert not await store.settle_deliveries(name, "one", Settled(upto=event.seq, rows=[(stuck(event), 1.0)]))
    assert await store.deliveries() == []
    assert await store.keep_consumers("one", [name], 15) == {}
    await store.leave_consumers("one")
    assert isinstance(await store.take_consumer(name, "one", 15), Busy)
    await store.leave_consumers("two", [name])
    assert await store.take_consumer(name, "one", 15) == Taken(0, "s1", frozenset())


async def test_the_sessions_holder_goes_first(hooked: World) -> None:
    store, name = hooked.store, HOOK.consumer
    await store.append_events("a", [new(1)])
    lease = await take_lease(store, "a", "two", 60)
    assert lease is not None
    assert await store.keep_consumers("one", [name], 15) == {}, "it must give way"
    assert isinstance(await store.take_consumer(name, "two", 15), Busy), "but is the owner until it lapses"
    await hooked.advance(16)
    assert await store.waiting_consumers("one") == []
    assert await store.take_consumer(name, "one", 15) == Busy("one", 0.0)
    assert await store.waiting_consumers("two") == [(name, "a")]
    assert isinstance(await store.take_consumer(name, "two", 15), Taken)
    await store.leave_consumers("two")
    await store.release("a", "two", lease.epoch)
    assert isinstance(await store.take_consumer(name, "one", 15), Taken)


async def test_rows_keep_what_the_cursor_passed_and_come_when_they_are_due(hooked: World) -> None:
    store, name = hooked.store, HOOK.consumer
    first, second, other = await store.append_events("a", [new(1), new(2), new(3, "d")])
    rows = [(stuck(first), 60.0), (Undelivered(second), None)]
    assert await store.settle_deliveries(name, "one", Settled(other.seq, rows))
    assert await store.settle_deliveries(name, "one", Settled(other.seq, rows)), "repeating it changes nothing"
    due, left = await store.due_deliveries(name, 10)
    assert due == []
    assert left is not None
    assert 50 < left <= 60
    assert await store.waiting_consumers("one") == []
    await hooked.advance(61)
    assert await store.waiting_consumers("one") == [(name, "a")]
    taken = await store.take_consumer(name, "one", 15)
    assert taken == Taken(other.seq, "s1", frozenset({"c"}))
    due, left = await store.due_deliveries(name, 10)
    assert [(row.event.seq, row.state, row.attempts, row.status) for row in due] == [(first.seq, "retrying", 1, 500)]
    assert 60 < due[0].failing_for < 70
    assert left is None
    lane, untold = await store.delivery_lane(name, "c", 10)
    assert [(row.event.seq, row.state) for row in lane] == [(first.seq, "retrying"), (second.seq, "waiting")]
    assert untold == []
    # the first is delivered: the one behind it is due by itself
    assert await store.settle_deliveries(name, "one", Settled(done=[due[0]]))
    due, _ = await store.due_deliveries(name, 10)
    assert [(row.event.seq, row.state, row.failing_for) for row in due] == [(second.seq, "waiting", 0.0)]
    assert await store.settle_deliveries(name, "one", Settled(done=due))
    assert await store.take_consumer(name, "one", 15) == Taken(other.seq, "s1", frozenset())
    assert await store.deliveries() == []


async def test_since_is_the_first_refusal_and_a_new_event_wakes_what_held_too_long(hooked: World) -> None:
    store, name = hooked.store, HOOK.consumer
    first, second, third = await store.append_events("a", [new(1), new(2), new(3)])
    await store.settle_deliveries(name, "one", Settled(first.seq, [(stuck(first), 5.0)]))
    await hooked.advance(100)
    await store.settle_deliveries(name, "one", Settled(rows=[(stuck(first, attempts=2, failing_for=0.0), 300.0)]))
    await store.settle_deliveries(name, "one", Settled(second.seq, [(Undelivered(second), None)], hold=900))
    assert (await store.due_deliveries(name, 10))[0] == []
    await hooked.advance(801)
    assert [row.attempts for row in (await store.due_deliveries(name, 10))[0]] == [2]
    await store.settle_deliveries(name, "one", Settled(rows=[(stuck(first, attempts=3), 300.0)]))
    await store.settle_deliveries(name, "one", Settled(third.seq, [(Undelivered(third), None)], hold=900))
    (due,), _ = await store.due_deliveries(name, 10)
    assert due.event.seq == first.seq
    assert due.failing_for > 900


async def test_dead_ones_wait_for_their_gap_to_be_told(hooked: World) -> None:
    store, name = hooked.store, HOOK.consumer
    first, second = await store.append_events("a", [new(1), new(2)])
    dead = stuck(first, state="dead", told=False)
    await store.settle_deliveries(name, "one", Settled(first.seq, [(dead, None)]))
    assert (await store.due_deliveries(name, 10)) == ([], None)
    assert await store.take_consumer(name, "one", 15) == Taken(first.seq, "s1", frozenset({"c"}))
    await store.settle_deliveries(name, "one", Settled(second.seq, [(Undelivered(second), None)]))
    lane, untold = await store.delivery_lane(name, "c", 10)
    assert ([row.event for row in lane], [row.event for row in untold]) == ([second], [first])
    await store.settle_deliveries(name, "one", Settled(done=lane, told=untold))
    assert await store.delivery_lane(name, "c", 10) == ([], [])
    assert await store.take_consumer(name, "one", 15) == Taken(second.seq, "s1", frozenset())


async def test_listing_and_replay(hooked: World) -> None:
    store, name = hooked.store, HOOK.consumer
    one, two, three = await store.append_events("a", [new(1, "x"), new(2, "y"), new(3, "y")])
    rows = [(stuck(one, state="dead"), None), (stuck(two), 100.0), (Undelivered(three), None)]
    await store.settle_deliveries(name, "one", Settled(three.seq, rows))
    every = await store.deliveries()
    assert [(d.event, d.state, d.receiver, d.session) for d in every] == [
        (three.id, "waiting", "one.test", "a"),
        (two.id, "retrying", "one.test", "a"),
        (one.id, "dead", "one.test", "a"),
    ]
    assert every[2].since is not None
    assert [d.event for d in await store.deliveries(limit=1)] == [three.id]
    assert [d.event for d in await store.deliveries(before=every[0].id, limit=1)] == [two.id]
    (dead,) = await store.deliveries(states=["dead"], session="a", consumer=name)
    assert await store.deliveries(states=["dead"], session="b") == []
    again = await store.replay_delivery(dead.id)
    assert (again.state, again.attempts) == ("parked", 0)
    assert [row.event for row in (await store.due_deliveries(name, 10))[0]] == [one]
    with pytest.raises(DeliveryNotFound):
        await store.replay_delivery(99_999)
    assert await store.replay_deliveries(consumer="webhook:a:unknown") == 0
    assert await store.replay_deliveries(states=["retrying", "waiting"], session="a", consumer=name) == 1
    assert {row.event.seq for row in (await store.due_deliveries(name, 10))[0]} == {one.seq, two.seq}
    waiting = every[0]
    assert (await store.replay_delivery(waiting.id)).state == "waiting"


async def test_a_receiver_that_is_back_is_given_everything_now(hooked: World) -> None:
    store, name = hooked.store, HOOK.consumer
    one, two, three = await store.append_events("a", [new(1, "x"), new(2, "y"), new(3, "z")])
    rows = [(stuck(one), 300.0), (stuck(two, state="parked"), 300.0), (stuck(three, state="dead"), None)]
    await store.settle_deliveries(name, "one", Settled(three.seq, rows))
    await store.revive_deliveries(name)
    due, left = await store.due_deliveries(name, 10)
    assert ({row.event.seq for row in due}, left) == ({one.seq, two.seq}, None)
    assert len((await store.due_deliveries(name, 1))[0]) == 1


async def test_a_webhook_that_takes_anothers_place_goes_on_where_that_one_stood(hooked: World) -> None:
    store = hooked.store
    first, second = await store.append_events("a", [new(1), new(2)])
    await store.settle_deliveries(HOOK.consumer, "one", Settled(first.seq, [(stuck(first), 5.0)]))
    moved = ConsumerFacts("webhook:a:9", "nine.test", "s9")
    await store.set_consumers("a", [moved])
    assert await store.take_consumer(HOOK.consumer, "one", 15) is None
    assert not await store.settle_deliveries(HOOK.consumer, "one", Settled(second.seq))
    assert await store.take_consumer(moved.consumer, "two", 15) == Taken(first.seq, "s9", frozenset({"c"}))
    assert [d.receiver for d in await store.deliveries()] == ["nine.test"]
    # one more is new; one less loses its rows; others are not touched
    await store.set_consumers("a", [OTHER, moved])
    assert await store.take_consumer(OTHER.consumer, "two", 15) == Taken(second.seq, "s2", frozenset())
    await store.set_consumers("a", [OTHER])
    assert await store.deliveries() == []
    assert await store.take_consumer(OTHER.consumer, "two", 15) == Taken(second.seq, "s2", frozenset())
    await store.set_consumers("a", [replace(OTHER, settings="s3")])
    assert await store.keep_consumers("two", [OTHER.consumer], 15) == {OTHER.consumer: "s3"}


async def test_a_deleted_session_leaves_nothing_to_deliver(hooked: World) -> None:
    store = hooked.store
    (event,) = await store.append_events("a", [new(1)])
    await store.settle_deliveries(HOOK.consumer, "one", Settled(event.seq, [(stuck(event), 0.0)]))
    assert await store.delete_session("a")
    assert await store.deliveries() == []
    assert await store.waiting_consumers("one") == []
    assert await store.take_consumer(HOOK.consumer, "one", 15) is None


async def test_nothing_is_forgotten_before_it_was_delivered(hooked: World) -> None:
    store, name = hooked.store, HOOK.consumer
    done, dead, behind = await store.append_events("a", [new(1, "x"), new(2, "y"), new(3, "z")])
    (elsewhere,) = await store.append_events("b", [new(4)])
    await store.settle_deliveries(name, "one", Settled(dead.seq, [(stuck(dead, state="dead"), None)]))
    await hooked.advance(15 * DAY)
    assert await store.prune(14 * DAY, events=20 * DAY) == 1, "the dead letter"
    assert await store.prune(14 * DAY, dead=30 * DAY) == 3
    assert [row.seq for row in await store.events(0, 10)] == [behind.seq]
    assert {done.seq, elsewhere.seq} & {behind.seq} == set()
