"""G4: order per chat, forward only, one id for ever."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.domain.errors import DuplicateMessageId, IdempotencyConflict, SessionNotFound
from holdfast.domain.outbox import may_move
from holdfast.domain.rows import NewEvent, OutboxRow, Processed
from holdfast.store import open_store
from tests.contract.conftest import MovedClock, World
from tests.contract.rows import message, outgoing
from tests.support.leases import take_lease

OTHER = "1@g.us"


async def claimed(world: World, epoch: int = 1, limit: int = 10) -> list[str]:
    return [row.id for row in await world.store.claim_outbox("a", epoch, limit)]


async def test_accepted_message_is_stored_as_it_is(held: World) -> None:
    row, new = await held.store.enqueue(outgoing(send_at=5.0, expires_at=7.0, idempotency_key="i"), "f")
    assert new
    assert (row.state, row.content, row.send_at, row.expires_at, row.attempts) == ("queued", {"text": "x"}, 5.0, 7.0, 0)
    assert row.created_at == pytest.approx(await held.store.now(), abs=5.0)
    assert await held.store.outbox_get("a", "o1") == row
    assert await held.store.outbox_get("a", "o2") is None


async def test_idempotency(held: World) -> None:
    store = held.store
    first, _ = await store.enqueue(outgoing("o1", idempotency_key="i"), "f")
    assert await store.enqueue(outgoing("o2", idempotency_key="i"), "f") == (first, False)
    with pytest.raises(IdempotencyConflict):
        await store.enqueue(outgoing("o3", idempotency_key="i"), "other")
    with pytest.raises(DuplicateMessageId):
        await store.enqueue(outgoing("o1"), "f")
    with pytest.raises(DuplicateMessageId):
        await store.enqueue(outgoing("o1", idempotency_key="j"), "f")
    assert await store.outbox_counts("a") == {"queued": 1, "oldest": 0}


async def test_ten_at_once_with_one_key_are_one_message(held: World) -> None:
    answers = await asyncio.gather(
        *(held.store.enqueue(outgoing(f"o{n}", idempotency_key="i"), "f") for n in range(10))
    )
    assert len({row.id for row, _ in answers}) == 1
    assert sum(new for _, new in answers) == 1


async def test_unknown_session(held: World) -> None:
    row = outgoing()
    with pytest.raises(SessionNotFound):
        await held.store.enqueue(OutboxRow(**{**{f: getattr(row, f) for f in row.__slots__}, "session": "b"}), "f")


async def test_one_per_chat_in_order_and_chats_do_not_wait_for_each_other(held: World) -> None:
    for id_, chat in (("o1", "x@g.us"), ("o2", "x@g.us"), ("o3", "y@g.us"), ("o4", "x@g.us")):
        await held.store.enqueue(outgoing(id_, chat), "f")
    assert await claimed(held, limit=1) == ["o1"]
    assert await claimed(held) == ["o3"]
    assert await claimed(held) == []
    await held.store.settle_outbox("a", 1, "o1", "sent")
    assert await claimed(held) == ["o2"]


async def test_row_in_doubt_is_taken_again_by_the_next_epoch_and_by_nobody_else(held: World) -> None:
    await held.store.enqueue(outgoing(), "f")
    await held.store.enqueue(outgoing("o2"), "f")
    assert await claimed(held) == ["o1"]
    assert await claimed(held) == []
    await take_lease(held.store, "a", "one", 15)
    assert await claimed(held, 2) == ["o1"]
    row = await held.store.outbox_get("a", "o1")
    assert row is not None
    assert (row.state, row.attempts) == ("sending", 2)


async def test_put_back_row_keeps_its_place_in_the_chat(held: World) -> None:
    store = held.store
    for id_ in ("o1", "o2"):
        await store.enqueue(outgoing(id_), "f")
    await claimed(held)
    back = await store.settle_outbox("a", 1, "o1", "queued", retry_at=await store.now() + 30)
    assert back is not None
    assert back.state == "queued"
    assert await claimed(held) == []
    await held.advance(30.0)
    assert await claimed(held) == ["o1"]


async def test_scheduled_row_holds_nobody_up(held: World) -> None:
    await held.store.enqueue(outgoing("later", send_at=await held.store.now() + 60), "f")
    await held.store.enqueue(outgoing("now"), "f")
    assert await claimed(held) == ["now"]
    await held.store.settle_outbox("a", 1, "now", "sent")
    assert await claimed(held) == []
    await held.advance(60.0)
    assert await claimed(held) == ["later"]


async def test_sent_stores_message_and_events_once(held: World) -> None:
    store = held.store
    await store.enqueue(outgoing(), "f")
    await claimed(held)
    sent = message("o1", from_me=True, ack=1)
    row = await store.settle_outbox("a", 1, "o1", "sent", events=[NewEvent("message.ack", {"ack": 1})], sent=sent)
    assert row is not None
    assert row.state == "sent"
    again = await store.settle_outbox("a", 1, "o1", "sent", events=[NewEvent("message.ack", {"ack": 1})], sent=sent)
    assert again is None
    assert await store.messages("a", None, 10, 0) == [sent]
    assert [event.payload for event in await store.events(0, 10)] == [{"ack": 1}]
    assert await store.settle_outbox("a", 1, "unknown", "sent") is None


async def test_refused_message_keeps_code_and_sentence_and_is_never_taken_again(held: World) -> None:
    await held.store.enqueue(outgoing(), "f")
    await claimed(held)
    row = await held.store.settle_outbox("a", 1, "o1", "failed", error=463, message="Restricted.")
    assert row is not None
    assert (row.state, row.error, row.message) == ("failed", 463, "Restricted.")
    await take_lease(held.store, "a", "one", 15)
    assert await claimed(held, 2) == []
    assert await held.store.settle_outbox("a", 2, "o1", "queued", retry_at=0.0) is None


async def test_receipt_for_a_row_that_was_put_back_proves_that_it_left(held: World) -> None:
    await held.store.enqueue(outgoing(), "f")
    await claimed(held)
    await held.store.settle_outbox("a", 1, "o1", "queued", retry_at=0.0)
    await held.store.apply_inbox("a", 1, Processed(acks=[(OTHER, "o1", 2)]))
    assert await claimed(held) == []


async def test_counts_and_age(held: World) -> None:
    for n in range(3):
        await held.store.enqueue(outgoing(f"o{n}", f"{n}@g.us"), "f")
    await claimed(held, limit=1)
    await held.advance(42.0)
    counts = await held.store.outbox_counts("a")
    assert counts.pop("oldest") in (42, 43)
    assert counts == {"queued": 2, "sending": 1}
    assert await held.store.outbox_counts("b") == {"oldest": 0}


STEPS = st.one_of(
    st.tuples(st.just("claim"), st.just("")),
    st.tuples(st.just("settle"), st.sampled_from(["queued", "sent", "delivered", "read", "failed", "expired"])),
    st.tuples(st.just("ack"), st.sampled_from(["-1", "1", "2", "3", "4"])),
    st.tuples(st.just("takeover"), st.just("")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=12))
def test_whatever_happens_a_message_moves_as_the_domain_allows(steps: list[tuple[str, str]]) -> None:
    asyncio.run(_walk(steps))


async def _walk(steps: list[tuple[str, str]]) -> None:
    store = open_store("sqlite://", MovedClock(), boot_id="boot-1")
    await store.open()
    await store.create_session("a", "baileys", {}, "running")
    epoch = 0
    lease = await take_lease(store, "a", "one", 15)
    await store.enqueue(outgoing(), "f")
    before, attempts = "queued", 0
    for what, detail in [("takeover", ""), *steps]:
        if what == "takeover":
            lease = await take_lease(store, "a", "one", 15)
            assert lease is not None
            assert lease.epoch > epoch
            epoch = lease.epoch
        elif what == "claim":
            attempts += len(await store.claim_outbox("a", epoch, 5))
        elif what == "settle":
            moved = await store.settle_outbox("a", epoch, "o1", detail, retry_at=0.0)
            assert (moved is not None) == may_move(before, detail)
        else:
            await store.apply_inbox("a", epoch, Processed(acks=[(OTHER, "o1", int(detail))]))
        row = await store.outbox_get("a", "o1")
        assert row is not None
        assert row.state == before or may_move(before, row.state)
        assert row.attempts == attempts
        before = row.state
    await store.close()


async def test_claims_of_known_people_only(held: World) -> None:
    store = held.store
    known, stranger = "40700000001@s.whatsapp.net", "40700000002@s.whatsapp.net"
    theirs, ours = message("M1", known), message("M2", stranger, from_me=True)
    await store.apply_inbox("a", 1, Processed([], [theirs, ours], [], [], [], [], []))
    for id_, chat in (("o1", known), ("o2", stranger), ("o3", OTHER)):
        await store.enqueue(outgoing(id_, chat), "f")
    assert {row.id for row in await store.claim_outbox("a", 1, 10, known_only=True)} == {"o1", "o3"}
    assert await claimed(held) == ["o2"]


async def test_a_claim_whose_answer_got_lost_is_due_again_and_what_is_being_sent_is_not(held: World) -> None:
    store = held.store
    await store.enqueue(outgoing("o1", "1@g.us"), "f")
    await store.enqueue(outgoing("o2", "2@g.us"), "f")
    assert sorted(await claimed(held)) == ["o1", "o2"]
    assert await store.claim_outbox("a", 1, 10, flying=["o1"]) == [], "the answer may still be on its way"
    await held.advance(16.0)
    assert await store.claim_outbox("a", 1, 10) == []
    again = await store.claim_outbox("a", 1, 10, flying=["o1"])
    assert [(row.id, row.attempts) for row in again] == [("o2", 2)]
    await held.advance(16.0)
    assert [row.id for row in await store.claim_outbox("a", 1, 10, flying=[])] == ["o1", "o2"]


async def test_a_receipt_that_overtakes_the_servers_ack_says_as_much(held: World) -> None:
    """The ack may never be stored, after a crash; and who was told of a receipt is not led back by an ack."""
    store = held.store
    await store.enqueue(outgoing("o1", OTHER), "f")
    await claimed(held)
    received = NewEvent("message.ack", {"id": "o1", "ack": 2}, OTHER)
    await store.apply_inbox("a", 1, Processed(acks=[(OTHER, "o1", 2)], events=[received]))

    async def told() -> list[tuple[str, int | None]]:
        return [(event.kind, event.payload.get("ack")) for event in await store.events(0, 10, "a")]

    assert await told() == [("message", None), ("message.ack", 2)]
    stored = await store.message("a", "o1")
    assert stored is not None
    assert (stored.ack, stored.text, stored.from_me) == (2, "x", True)
    events = [
        NewEvent("message", {"message": {"id": "o1"}}, OTHER),
        NewEvent("message.ack", {"id": "o1", "ack": 1}, OTHER),
    ]
    sent = message("o1", OTHER, from_me=True, ack=1, raw=b"as it was sent")
    assert await store.settle_outbox("a", 1, "o1", "sent", events=events, sent=sent) is None
    assert await told() == [("message", None), ("message.ack", 2)], "told once, and never backward"
    kept = await store.message("a", "o1")
    assert kept is not None
    assert (kept.raw, kept.ack) == (b"as it was sent", 2), "for replies, and for who asks for it again"
