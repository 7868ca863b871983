"""Credentials that another program had: taken in whole, fenced, and never over a connection that may be open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.domain.errors import SessionExists, SessionNotFound, SessionRunning, StaleEpoch, WrongNumber
from holdfast.domain.rows import EngineWrite, Lease, MovedIn, Processed
from holdfast.domain.state import Phase, State
from tests.contract.conftest import World
from tests.contract.rows import message
from tests.support.leases import take_lease

PHONE = "40712345678"
KEYS = {("creds", ""): b"new", ("pre-key", "1"): b"one"}
MOVED = MovedIn(KEYS, PHONE, "777@lid", "Ana")
STOPPED = State(phase=Phase.STOPPED, connection=7, generation=9, command_seq=1, phone=PHONE)


async def _left(world: World, state: State) -> None:
    """What a holder left behind: credentials, an order that was carried out, and this state."""
    store = world.store
    await store.order("a", "stopped", {"kind": "logout"})
    await store.write_engine("a", 1, EngineWrite({("creds", ""): b"old", ("session", "x.0"): b"old"}))
    await store.save_state("a", 1, state.to_json(), me={"phone": PHONE}, timeline=None)


async def test_a_new_session_comes_with_its_account_and_is_to_run(world: World) -> None:
    row = await world.store.move_in("new", "baileys", MOVED, over=False)
    assert (row.desired, row.has_credentials, row.me["phone"], row.me["push_name"]) == ("running", True, PHONE, "Ana")
    assert State.from_json(row.state).phone == PHONE
    assert await world.store.read_keys("new", list(KEYS)) == KEYS
    assert [entry.code for entry in await world.store.timeline("new", 5)] == ["imported"]
    assert list((await world.store.attention("one", 30.0)).free) == ["new"]
    assert isinstance(await take_lease(world.store, "new", "one", 15), Lease)


async def test_an_existing_session_is_left_as_it_was(held: World) -> None:
    await _left(held, STOPPED)
    await held.store.add_alias("other", "a")
    for name in ("a", "other"):
        with pytest.raises(SessionExists):
            await held.store.move_in(name, "baileys", MOVED, over=False)
    with pytest.raises(SessionExists):
        await held.store.move_in("other", "baileys", MOVED, over=True)
    assert await held.store.read_keys("a", [("creds", ""), ("pre-key", "1")]) == {("creds", ""): b"old"}
    await held.store.write_engine("a", 1, EngineWrite({("x", "1"): b"the holder goes on"}))


async def test_over_a_stopped_one_the_old_keys_go_and_its_holder_is_fenced(held: World) -> None:
    await _left(held, STOPPED)
    await held.store.apply_inbox("a", 1, Processed(messages=[message()]))
    row = await held.store.move_in("a", "baileys", MOVED, over=True)
    assert await held.store.read_keys("a", [*KEYS, ("session", "x.0")]) == KEYS
    with pytest.raises(StaleEpoch):
        await held.store.write_engine("a", 1, EngineWrite({("creds", ""): b"back"}))
    assert await held.store.renew("one", {"a": 1}, 15) == {"a": False}
    assert [m.id for m in await held.store.messages("a", None, 10, 0)] == ["m1"]
    assert row.command == {}, "the logout of before would be carried out again"
    state = State.from_json(row.state)
    assert (state.connection, state.generation) == (7, 9), "numbers of connections must not repeat"
    assert (await held.store.attention("one", 30.0)).ordered == [], "no order is left"
    await held.advance(16)
    assert list((await held.store.attention("one", 30.0)).free) == ["a"]
    again = await held.store.order("a", None, {"kind": "stop"})
    assert again.command["seq"] > state.command_seq


@pytest.mark.parametrize(
    "state",
    [
        replace(STOPPED, phase=Phase.WORKING, live=True),
        replace(STOPPED, phase=Phase.WAITING),
        replace(STOPPED, command_seq=0),
    ],
    ids=["connected", "about to connect", "an order not carried out"],
)
async def test_a_running_one_is_refused_until_its_lease_ends(held: World, state: State) -> None:
    await _left(held, state)
    with pytest.raises(SessionRunning, match="Stop it there first"):
        await held.store.move_in("a", "baileys", MOVED, over=True)
    assert await held.store.read_keys("a", list(KEYS)) == {("creds", ""): b"old"}
    assert await held.store.renew("one", {"a": 1}, 15) == {"a": True}, "the holder is not disturbed"
    await held.advance(16)
    assert (await held.store.move_in("a", "baileys", MOVED, over=True)).has_credentials


async def test_another_number_is_refused_with_both_masked(held: World) -> None:
    await _left(held, STOPPED)
    with pytest.raises(WrongNumber) as raised:
        await held.store.move_in("a", "baileys", replace(MOVED, phone="40798765432"), over=True)
    assert "+407****78" in raised.value.sentence
    assert "+407****32" in raised.value.sentence
    assert await held.store.read_keys("a", list(KEYS)) == {("creds", ""): b"old"}


async def test_a_deleted_session_may_come_back(held: World) -> None:
    await held.store.delete_session("a")
    with pytest.raises(SessionNotFound):
        await held.store.update_config("a", {})
    row = await held.store.move_in("a", "baileys", MOVED, over=True)
    assert row.epoch > 1
