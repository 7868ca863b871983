"""What is known of a chat beside its messages: how WhatsApp spells its number, and its timer."""

from __future__ import annotations

import pytest

from holdfast.domain.errors import StaleEpoch
from holdfast.domain.rows import Processed
from holdfast.domain.timers import ChatTimer
from tests.contract.conftest import World
from tests.contract.rows import LID, PN, message, outgoing

WRITTEN, NAMED = "5511999990004@s.whatsapp.net", "551199990004@s.whatsapp.net"


async def test_a_number_spelled_otherwise_is_one_chat_in_order_and_asked_for_once(held: World) -> None:
    store = held.store
    first, _ = await store.enqueue(outgoing("o1", WRITTEN), "f", epoch=1)
    await store.enqueue(outgoing("o2", NAMED), "f")
    await store.enqueue(outgoing("o3", WRITTEN), "f")
    await store.enqueue(outgoing("o4", "x@g.us"), "f")
    assert (first.state, await store.address_of("a", WRITTEN)) == ("sending", WRITTEN)
    with pytest.raises(StaleEpoch):
        await store.readdress_outbox("a", 0, "o1", NAMED, 0.0)
    await store.readdress_outbox("a", 1, "o1", NAMED, 0.0)
    assert await store.address_of("a", WRITTEN) == await store.address_of("a", NAMED) == NAMED
    for id_ in ("o1", "o2", "o3"):
        row = await store.outbox_get("a", id_)
        assert row is not None
        assert (row.state, row.chat, row.in_doubt) == ("queued", NAMED, False)
    row, _ = await store.enqueue(outgoing("o5", WRITTEN), "f")
    assert row.chat == NAMED
    taken = []
    for _ in range(4):
        claimed = [row.id for row in await store.claim_outbox("a", 1, 9) if row.chat == NAMED]
        assert len(claimed) == 1
        taken += claimed
        await store.settle_outbox("a", 1, claimed[0], "sent")
    assert taken == ["o1", "o2", "o3", "o5"]


async def test_whatsapp_may_change_its_mind(held: World) -> None:
    """The account moved to the other spelling: what was learnt before follows it, and nothing goes in a ring."""
    store, third = held.store, "5511000000000@s.whatsapp.net"
    for id_, chat, named in (("o1", WRITTEN, NAMED), ("o2", NAMED, WRITTEN), ("o3", third, WRITTEN)):
        await store.enqueue(outgoing(id_, chat), "f", epoch=1)
        await store.readdress_outbox("a", 1, id_, named, 0.0)
        assert [row.chat for row in await store.claim_outbox("a", 1, 1)] == [named]
        await store.settle_outbox("a", 1, id_, "sent")
    for address in (WRITTEN, NAMED, third):
        assert await store.address_of("a", address) == WRITTEN
    await store.readdress_outbox("a", 1, "unknown", NAMED, 0.0)
    assert await store.address_of("a", WRITTEN) == WRITTEN


async def test_timers_the_newest_setting_counts_and_a_person_has_one(held: World) -> None:
    store = held.store

    async def told(*timers: ChatTimer) -> list[ChatTimer]:
        await store.apply_inbox("a", 1, Processed(timers=timers))
        return sorted(await store.chat_timers("a"), key=lambda timer: timer.chat)

    assert await told(ChatTimer(PN, 86_400, 10.0)) == [ChatTimer(PN, 86_400, 10.0)]
    assert await told(ChatTimer(PN, 0, 5.0)) == [ChatTimer(PN, 86_400, 10.0)], "it is older"
    assert await told(ChatTimer(PN, 0, 20.0)) == []
    assert await told(ChatTimer(PN, 86_400, 10.0)) == [], "an old message comes late"
    assert await told(ChatTimer(LID, 604_800, 30.0)) == [ChatTimer(LID, 604_800, 30.0)]
    await store.apply_inbox("a", 1, Processed(mappings=[(LID, PN)]))
    assert await store.chat_timers("a") == [ChatTimer(PN, 604_800, 30.0)]
    assert await told(ChatTimer(LID, 60, 40.0)) == [ChatTimer(PN, 60, 40.0)]


async def test_what_was_seen_counts_as_read_and_what_came_later_does_not(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message(f"m{n}", at=100.0) for n in range(4)]))

    async def unread() -> int:
        return next(row.unread for row in await store.chats("a", 10, 0) if row.id == PN)

    assert await unread() == 4
    for ids, left in ((["m0"], 3), (["nobody"], 3), (["m2", "m1"], 1), (["m0"], 1), (["m3"], 0)):
        await store.mark_seen("a", PN, ids)
        assert await unread() == left, ids


async def test_they_go_with_their_session(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(timers=[ChatTimer(PN, 60, 1.0)]))
    await store.enqueue(outgoing("o1", WRITTEN), "f", epoch=1)
    await store.readdress_outbox("a", 1, "o1", NAMED, 0.0)
    await store.delete_session("a")
    assert await store.chat_timers("a") == []
    assert await store.address_of("a", WRITTEN) == WRITTEN
