"""What waits: ended at its deadline, cancelled, listed with what it waits for, told of, counted against limits."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.domain.caps import Caps
from holdfast.domain.errors import IdempotencyConflict, MessageNotFound, TooLate
from holdfast.domain.outbox import CANCELLED, CANCELLED_IN_DOUBT, EXPIRED, EXPIRED_IN_DOUBT, WAITING
from holdfast.domain.rows import Processed
from tests.contract.conftest import World
from tests.contract.rows import PN, message, outgoing
from tests.support.leases import take_lease

STRANGER = "40700000002@s.whatsapp.net"


async def state(world: World, id: str = "o1") -> tuple[str, int, str]:
    row = await world.store.outbox_get("a", id)
    assert row is not None
    return row.state, row.attempts, row.message


async def told(world: World) -> list[tuple[str, int, str]]:
    events = await world.store.events(0, 100)
    return [(event.payload["id"], event.payload["ack"], event.payload["error"]["code"]) for event in events]


async def ends_in(world: World, seconds: float, id: str = "o1", **more: object) -> None:
    await world.store.enqueue(outgoing(id, expires_at=await world.store.now() + seconds, **more), "f")


async def test_what_waits_ends_at_its_deadline_and_no_sooner(held: World) -> None:
    await ends_in(held, 30, "o1")
    await ends_in(held, 60, "o2")
    await ends_in(held, 20, "o3", send_at=await held.store.now() + 10, chat="2@g.us")
    assert await held.store.expire_outbox() == []
    await held.advance(31)
    assert sorted(await held.store.expire_outbox()) == [("a", "o1"), ("a", "o3")]
    assert await held.store.expire_outbox() == []
    assert await state(held) == ("expired", 0, EXPIRED)
    assert sorted(await told(held)) == [("o1", -1, "expired"), ("o3", -1, "expired")]
    assert (await state(held, "o2"))[0] == "queued"
    assert [row.id for row in await held.store.claim_outbox("a", 1, 5)] == ["o2"]


async def test_what_is_overdue_is_not_sent_and_holds_nobody_up(held: World) -> None:
    await ends_in(held, 30, "o1")
    await held.store.enqueue(outgoing("o2"), "f")
    await held.advance(31)
    assert [row.id for row in await held.store.claim_outbox("a", 1, 5)] == ["o2"]
    await held.store.settle_outbox("a", 1, "o2", "sent")
    row, _ = await held.store.enqueue(outgoing("o3"), "f", epoch=1)
    assert row.state == "sending", "held up by one that is never sent"


async def test_what_is_being_sent_is_left_to_its_sender_until_that_one_is_gone(held: World) -> None:
    await ends_in(held, 5)
    await held.store.claim_outbox("a", 1, 5)
    await held.advance(6)
    assert await held.store.expire_outbox() == []
    await held.advance(20)  # the lease is over, nobody holds the session
    assert await held.store.expire_outbox() == [("a", "o1")]
    assert await state(held) == ("expired", 1, EXPIRED_IN_DOUBT)


async def test_what_an_earlier_holder_left_in_doubt_is_not_tried_past_its_deadline(held: World) -> None:
    await ends_in(held, 5)
    await held.store.claim_outbox("a", 1, 5)
    await take_lease(held.store, "a", "one", 15)
    await held.advance(6)
    assert await held.store.claim_outbox("a", 2, 5) == []
    assert await held.store.expire_outbox() == [("a", "o1")]
    assert (await state(held))[2] == EXPIRED_IN_DOUBT


async def test_two_instances_that_look_at_once_end_it_once(held: World) -> None:
    for number in range(10):
        await ends_in(held, 5, f"o{number}", chat=f"{number}@g.us")
    await held.advance(6)
    found = await asyncio.gather(*(held.store.expire_outbox() for _ in range(4)))
    assert len([id_ for part in found for id_ in part]) == 10
    assert len(await told(held)) == 10


async def test_cancelling(held: World) -> None:
    store = held.store
    await store.enqueue(outgoing("o1", send_at=await store.now() + 60), "f")
    row = await store.cancel_outbox("a", "o1")
    assert (row.state, row.message, row.in_doubt) == ("cancelled", CANCELLED, False)
    assert await store.cancel_outbox("a", "o1") == row, "asked twice, it is done once"
    assert await told(held) == [("o1", -1, "cancelled")]
    await held.advance(61)
    assert await store.claim_outbox("a", 1, 5) == []
    with pytest.raises(MessageNotFound):
        await store.cancel_outbox("a", "none")


@pytest.mark.parametrize(
    ("moves", "says"),
    [([], "being sent"), (["sent"], "is sent"), (["sent", "delivered"], "is delivered"), (["failed"], "is failed")],
)
async def test_too_late_to_cancel(held: World, moves: list[str], says: str) -> None:
    await held.store.enqueue(outgoing(), "f")
    await held.store.claim_outbox("a", 1, 5)
    for move in moves:
        await held.store.settle_outbox("a", 1, "o1", move)
    with pytest.raises(TooLate, match=says):
        await held.store.cancel_outbox("a", "o1")
    assert await told(held) == []


async def test_a_cancelled_one_that_was_tried_may_have_arrived_and_its_chat_goes_on(held: World) -> None:
    store = held.store
    for id_ in ("o1", "o2"):
        await store.enqueue(outgoing(id_), "f")
    await store.claim_outbox("a", 1, 5)
    await store.settle_outbox("a", 1, "o1", "queued", retry_at=await store.now() + 60, in_doubt=True, message="Cut.")
    row = await store.cancel_outbox("a", "o1")
    assert (row.message, row.in_doubt) == (CANCELLED_IN_DOUBT, True)
    assert [row.id for row in await store.claim_outbox("a", 1, 5)] == ["o2"]


async def test_claims_and_cancellations_at_once_never_both_win(held: World) -> None:
    for number in range(20):
        await held.store.enqueue(outgoing(f"o{number}", f"{number}@g.us"), "f")

    async def cancel(id_: str) -> str:
        try:
            return (await held.store.cancel_outbox("a", id_)).id
        except TooLate:
            return ""

    claimed, *cancelled = await asyncio.gather(
        held.store.claim_outbox("a", 1, 50), *(cancel(f"o{number}") for number in range(20))
    )
    assert {row.id for row in claimed}.isdisjoint(cancelled)
    assert len(claimed) + len([id_ for id_ in cancelled if id_]) == 20


async def test_the_story_has_every_state_with_time_attempts_and_reason(held: World) -> None:
    store = held.store
    await store.enqueue(outgoing(), "f")
    await store.claim_outbox("a", 1, 5)
    await held.advance(2)
    await store.settle_outbox("a", 1, "o1", "queued", retry_at=0.0, in_doubt=True, message="Cut off|\nwhile sending.")
    row = (await store.claim_outbox("a", 1, 5))[0]
    assert row.in_doubt
    await store.settle_outbox("a", 1, "o1", "sent")
    await store.apply_inbox("a", 1, Processed(acks=[(PN, "o1", 3)]))
    steps = await store.outbox_story("a", "o1")
    assert [(step.state, step.attempts, step.message) for step in steps] == [
        ("queued", 0, ""),
        ("sending", 1, ""),
        ("queued", 1, "Cut off| while sending."),
        ("sending", 2, ""),
        ("sent", 2, ""),
        ("read", 2, ""),
    ]
    times = [step.at for step in steps]
    assert times[-1] == pytest.approx(await store.now(), abs=5)
    last = await store.outbox_get("a", "o1")
    assert last is not None
    assert (last.in_doubt, last.message) == (False, ""), "acknowledged: no doubt is left"
    assert await store.outbox_story("a", "none") == []


async def test_the_story_of_one_refused_and_of_one_taken_at_once(held: World) -> None:
    await held.store.enqueue(outgoing(), "f", epoch=1)
    await held.store.settle_outbox("a", 1, "o1", "failed", error=463, message="Restricted (463).")
    steps = await held.store.outbox_story("a", "o1")
    assert [(step.state, step.attempts, step.error) for step in steps] == [("sending", 1, 0), ("failed", 1, 463)]
    assert steps[1].message == "Restricted (463)."


async def test_a_story_stays_short_however_often_it_is_tried(held: World) -> None:
    store = held.store
    await store.enqueue(outgoing(), "f")
    for _ in range(80):
        await store.claim_outbox("a", 1, 1)
        await store.settle_outbox("a", 1, "o1", "queued", retry_at=0.0, message="No connection to WhatsApp now.")
    await store.claim_outbox("a", 1, 1)
    await store.settle_outbox("a", 1, "o1", "sent")
    steps = await store.outbox_story("a", "o1")
    assert len(steps) < 160
    assert (steps[-1].state, steps[-1].attempts) == ("sent", 81)


async def test_a_row_left_by_a_crash_is_in_doubt_when_it_is_tried_again(held: World) -> None:
    await held.store.enqueue(outgoing(), "f")
    await held.store.claim_outbox("a", 1, 5)
    await take_lease(held.store, "a", "one", 15)
    (row,) = await held.store.claim_outbox("a", 2, 5)
    assert (row.attempts, row.in_doubt) == (2, True)


async def test_listing(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message("M1", PN)]))
    later = await store.now() + 60
    for id_, chat, due in (("o1", PN, 0.0), ("o2", PN, 0.0), ("o3", STRANGER, 0.0), ("o4", "1@g.us", later)):
        await store.enqueue(outgoing(id_, chat, send_at=due), "f")
    found = {one.row.id: (one.behind, one.answered, one.new) for one in await store.outbox_listing("a", WAITING, 10)}
    assert found == {
        "o4": (False, True, False),
        "o3": (False, False, True),
        "o2": (True, True, False),
        "o1": (False, True, False),
    }
    assert list(found) == ["o4", "o3", "o2", "o1"]
    first, second = await store.outbox_listing("a", WAITING, 2)
    assert [one.row.id for one in await store.outbox_listing("a", WAITING, 9, second.row.seq)] == ["o2", "o1"]
    assert [one.row.id for one in await store.outbox_listing("a", ["queued"], 9, id="o2")] == ["o2"]
    assert await store.outbox_listing("a", ["sent", "failed"], 9) == []
    assert await store.outbox_listing("b", WAITING, 9) == []
    assert first.row == await store.outbox_get("a", "o4")


async def test_an_idempotency_key_is_found_with_its_message(held: World) -> None:
    row, _ = await held.store.enqueue(outgoing(idempotency_key="i"), "f")
    assert await held.store.accepted("a", "i", "f") == row
    assert await held.store.accepted("a", "j", "f") is None
    with pytest.raises(IdempotencyConflict):
        await held.store.accepted("a", "i", "other")


async def test_what_counts_against_limits_is_what_was_claimed_under_them(held: World) -> None:
    store, caps = held.store, Caps(3, 2)
    assert (await store.outbox_lately("a", caps)).sent == []
    await store.apply_inbox("a", 1, Processed(messages=[message("M1", PN)]))
    await store.enqueue(outgoing("free", "9@g.us"), "f")
    await store.claim_outbox("a", 1, 1)
    for number, chat in enumerate((PN, STRANGER, "1@g.us")):
        await store.enqueue(outgoing(f"o{number}", chat), "f")
    assert len(await store.claim_outbox("a", 1, 9, paced=True)) == 3
    lately = await store.outbox_lately("a", caps)
    assert (len(lately.sent), len(lately.opened)) == (3, 1)
    assert lately.last is not None
    assert lately.last[1] in ("o0", "o1", "o2")
    assert lately.now == pytest.approx(await store.now(), abs=5)
    assert len((await store.outbox_lately("a", Caps(2))).sent) == 2, "no more than is asked for"
    await held.advance(61)
    lately = await store.outbox_lately("a", caps)
    assert (lately.sent, len(lately.opened)) == ([], 1)
    await held.advance(86_400)
    assert (await store.outbox_lately("a", caps)).opened == []


async def test_without_new_chats_the_others_go_on_and_an_opened_one_is_tried_again(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message("M1", PN)]))
    await store.enqueue(outgoing("first", "40700000009@s.whatsapp.net"), "f")
    await store.claim_outbox("a", 1, 1, paced=True)
    await store.settle_outbox("a", 1, "first", "queued", retry_at=0.0)
    for id_, chat in (("known", PN), ("new", STRANGER), ("group", "1@g.us")):
        await store.enqueue(outgoing(id_, chat), "f")
    claimed = await store.claim_outbox("a", 1, 9, new_chats=False, paced=True)
    assert {row.id for row in claimed} == {"first", "known", "group"}
    strangers = await store.claim_outbox("a", 1, 9, strangers_only=True)
    assert [row.id for row in strangers] == ["new"]
