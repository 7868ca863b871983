"""Files of messages: rows are there before their files, and go after them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from holdfast.domain.media import MediaRow, name_of
from holdfast.domain.rows import Processed
from tests.contract.conftest import World
from tests.contract.rows import PN, message, outgoing


def picture(id: str = "m1", **more: Any) -> Any:
    name = name_of(id, mimetype="image/jpeg")
    body = {"media": {"file": name, "mimetype": "image/jpeg", "size": 5.0, "filename": None}}
    return message(id, kind="image", body=body, raw=b"where it is", **more), name


def staged(id: str = "o1") -> MediaRow:
    return MediaRow(name_of(id, mimetype="image/png"), "a", id, PN, "", True, "staged", mimetype="image/png", size=9)


async def received(held: World, id: str = "m1") -> str:
    row, name = picture(id)
    await held.store.apply_inbox("a", 1, Processed(messages=[row]))
    return str(name)


async def test_message_with_a_file_awaits_it_once(held: World) -> None:
    row, name = picture()
    await held.store.apply_inbox("a", 1, Processed(messages=[row, message("m2")]))
    await held.store.apply_inbox("a", 1, Processed(messages=[row]))
    due, later = await held.store.media_awaited("a", 10)
    assert [(one.name, one.source, one.size, one.mimetype, one.sender) for one in due] == [
        (name, b"where it is", 5, "image/jpeg", PN)
    ]
    assert later is None


async def test_fetching_is_tried_again_later_and_ends(held: World) -> None:
    name = await received(held)
    await held.store.media_settle(name, "awaited", problem="cut", retry_in=60)
    due, later = await held.store.media_awaited("a", 10)
    assert due == []
    assert later is not None
    assert 55 < later <= 60
    row = await held.store.media(name)
    assert row is not None
    assert (row.attempts, row.problem) == (1, "cut")
    await held.store.media_settle(name, "kept", size=7)
    row = await held.store.media(name)
    assert row is not None
    assert (row.state, row.size, row.source, row.problem) == ("kept", 7, b"", "")
    assert await held.store.media_awaited("a", 10) == ([], None)


async def test_what_is_old_is_to_be_deleted(held: World) -> None:
    kept, lost, fresh = [await received(held, one) for one in ("m1", "m2", "m3")]
    await held.store.media_settle(kept, "kept", size=1)
    await held.store.media_settle(lost, "lost", problem="gone")
    await held.advance(100)
    await held.store.media_settle(fresh, "kept", size=1)
    assert await held.store.media_stale(50, 10) == [kept, lost]
    await held.store.media_forget([kept, lost])
    assert await held.store.media(kept) is None
    assert await held.store.media_stale(50, 10) == []


async def test_file_stays_as_long_as_its_message_may_be_sent(held: World) -> None:
    await held.store.media_stage(staged())
    await held.store.enqueue(outgoing("o1"), "f")
    await held.store.media_stage(staged("never accepted"))
    await held.advance(4000)
    assert await held.store.media_stale(1e9, 10) == [staged("never accepted").name]
    (row,) = await held.store.claim_outbox("a", 1, 5)
    assert staged().name not in await held.store.media_stale(1e9, 10)
    await held.store.settle_outbox("a", 1, row.id, "failed", error=400)
    assert staged().name in await held.store.media_stale(1e9, 10)


async def test_files_of_a_deleted_session_are_to_be_deleted(held: World) -> None:
    name = await received(held)
    await held.store.media_stage(staged())
    await held.store.delete_session("a")
    assert await held.store.media_stale(1e9, 10) == [name, staged().name]
    assert await held.store.media_awaited("a", 10) == ([], None)


async def test_what_was_dropped_stays_dropped(held: World) -> None:
    name = await received(held)
    await held.store.media_drop(name)
    await held.store.media_settle(name, "kept", size=1)
    row = await held.store.media(name)
    assert row is not None
    assert replace(row, source=b"").state == "dropped"
