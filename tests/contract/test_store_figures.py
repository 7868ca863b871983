"""What operators are told: what waits, and which alerts stand."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Connection

from holdfast.domain.errors import StaleEpoch
from holdfast.domain.rows import Alike, EngineWrite, Processed, Queue
from holdfast.store import figures
from tests.contract.conftest import World
from tests.contract.rows import message, outgoing, received


async def test_queues_and_the_inbox_are_counted_by_what_is_open(held: World) -> None:
    store = held.store
    assert (await store.figures()).queues == {}
    await store.enqueue(outgoing("first", "1@g.us"), "f")
    await store.enqueue(outgoing("gone", "2@g.us"), "f")
    await held.advance(30)
    await store.enqueue(outgoing("later", "3@g.us", send_at=await store.now() + 3600), "f")
    await store.claim_outbox("a", 1, 10)
    await store.settle_outbox("a", 1, "gone", "sent")
    queue = (await store.figures()).queues["a"]
    assert (queue.depth, queue.oldest) == (2, pytest.approx(30, abs=2))
    await store.settle_outbox("a", 1, "first", "queued", retry_at=await store.now() + 600)
    assert (await store.figures()).queues["a"].oldest == pytest.approx(30, abs=2), "a retry made it younger"
    await store.claim_outbox("a", 1, 10)
    await store.settle_outbox("a", 1, "first", "failed")
    assert (await store.figures()).queues == {"a": Queue(1, 0.0)}, "what is scheduled does not wait yet"
    await held.advance(3700)
    assert (await store.figures()).queues["a"].oldest == pytest.approx(100, abs=2)


async def test_unprocessed_rows_are_counted(held: World) -> None:
    await held.store.write_engine("a", 1, EngineWrite({}, [received("k1"), received("k2")]))
    assert (await held.store.figures()).unprocessed == 2
    first = (await held.store.inbox_pending("a", 1))[0]
    await held.store.apply_inbox("a", 1, Processed([first.seq], [message()]))
    assert (await held.store.figures()).unprocessed == 1


async def test_sessions_of_others_are_counted_by_how_they_stand(held: World) -> None:
    store = held.store
    now = 1_800_000_000.0
    state = {"phase": "working", "code": "working", "live": True, "failed": False, "verified_at": now, "epoch": 1}
    await store.save_state("a", 1, state, me=None, timeline=None)
    await store.write_engine("a", 1, EngineWrite({("creds", ""): b"{}"}))
    for name in ("b", "c"):
        await store.create_session(name, "baileys", {}, "stopped")
    idle = Alike("stopped", "", "stopped", False, False, False, False, False, 2)
    working = Alike("running", "working", "working", False, True, True, True, True, 1)
    by_phase = lambda found: sorted(found, key=lambda alike: alike.phase)  # noqa: E731
    assert by_phase(await store.alike("two", now - 30)) == [idle, working]
    assert await store.alike("one", now - 30) == [idle], "its own it knows itself"
    assert by_phase(await store.alike("two", now))[1].verified is False
    await store.note_verified({"a": (1, now + 10)})
    assert by_phase(await store.alike("two", now))[1].verified is True
    await held.advance(60)
    assert by_phase(await store.alike("one", now))[1].held is False


async def test_what_nobody_holds_and_needs_a_person_is_found(held: World) -> None:
    store = held.store
    gone = {"phase": "terminal", "code": "logged_out", "epoch": 1}
    await store.save_state("a", 1, gone, me=None, timeline=None)
    await store.create_session("b", "baileys", {}, "stopped")
    assert await store.unheld() == ([], [])
    await held.advance(60)
    rows, left = await store.unheld()
    assert ([(row.name, row.state["code"], row.epoch) for row in rows], left) == ([("a", "logged_out", 1)], [])
    await store.save_alerts("b", 0, [{"id": "x"}])
    assert [row.name for row in (await store.unheld())[0]] == ["a", "b"]
    await store.delete_session("b")
    rows, left = await store.unheld()
    assert ([row.name for row in rows], left) == (["a"], ["b"])


@pytest.mark.parametrize("query", [figures._QUEUES, figures._UNPROCESSED])
@pytest.mark.parametrize("kind", ["inline", "sqlite"])  # PostgreSQL plans by what its tables hold
async def test_history_is_never_scanned(held: World, query: object) -> None:
    def plan(c: Connection) -> list[str]:
        lines = c.exec_driver_sql("EXPLAIN QUERY PLAN " + query.lite)  # type: ignore[attr-defined]
        return [str(line[-1]) for line in lines]

    found = await held.store._driver.read(plan)
    used = ("INDEX outbox_queue", "INDEX outbox_open", "INDEX inbox_pending", "INDEX inbox_done")
    assert any(name in line for line in found for name in used), found
    assert not [
        line for line in found if line.split()[:2] in (["SCAN", "outbox"], ["SCAN", "inbox"]) and "INDEX" not in line
    ]


async def test_alerts_stand_until_they_are_replaced(held: World) -> None:
    store = held.store
    assert await store.alerts() == {}
    await store.put_setting("alert", "no alert, whatever its name")
    await store.save_alerts("a", 1, [{"id": "x", "message": "Ünïcode"}])
    assert await store.alerts() == {"a": [{"id": "x", "message": "Ünïcode"}]}
    await store.save_alerts("a", 1, [])
    assert await store.alerts() == {}


async def test_only_who_knows_the_session_as_it_is_replaces_its_alerts(held: World) -> None:
    store = held.store
    await store.save_alerts("a", 1, [{"id": "x"}])
    for epoch in (0, 2, None):
        with pytest.raises(StaleEpoch):
            await store.save_alerts("a", epoch, [])
    await store.delete_session("a")
    with pytest.raises(StaleEpoch):
        await store.save_alerts("a", 1, [])
    assert await store.alerts() == {"a": [{"id": "x"}]}
    await store.save_alerts("a", None, [])
    assert await store.alerts() == {}


async def test_what_is_known_of_a_receiver_is_changed_only_by_who_knows_it(world: World) -> None:
    store = world.store
    one, two = {"receiver": "hooks.test", "n": 1.25}, {"receiver": "hooks.test", "n": [2, "ü"]}
    assert not await store.swap_outage("hooks.test", one, two), "there is none yet"
    tried = await asyncio.gather(*(store.swap_outage("hooks.test", None, one) for _ in range(4)))
    assert sorted(tried) == [False, False, False, True]
    assert not await store.swap_outage("hooks.test", two, one)
    tried = await asyncio.gather(*(store.swap_outage("hooks.test", one, two) for _ in range(4)))
    assert sorted(tried) == [False, False, False, True]
    assert await store.outages() == {"hooks.test": two}
    assert await store.alerts() == {}
    assert (await store.unheld())[1] == [], "no alerts of a session that was deleted"
    assert not await store.swap_outage("hooks.test", one, None)
    assert await store.swap_outage("hooks.test", two, None)
    assert await store.outages() == {}
