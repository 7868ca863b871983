"""The history as a whole: found by its words, read in order, and never touched by what happens to a session."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.history import words_of
from holdfast.domain.rows import ContactRow, EngineWrite, Processed
from tests.contract.conftest import World
from tests.contract.rows import LID, PN, message
from tests.support.leases import take_lease

TEXTS = {
    "m1": "The invoice for March, no. 2024/117",
    "m2": "Rechnung über Äpfel; straße",
    "m3": "invoices: please pay",
    "m4": "50% off! see https://shop.example/invoice?id=7",
    "m5": "👍",
    "m6": "счёт за март",
    "m7": 'don\'t "quote" me',
    "m8": "",
}


async def told(held: World, **more: Any) -> None:
    rows = [message(name, at=100.0 + n, text=text, **more) for n, (name, text) in enumerate(TEXTS.items())]
    await held.store.apply_inbox("a", 1, Processed(messages=rows))


async def ids(world: World, asked: str, **more: Any) -> list[str]:
    found = await world.store.search(words_of(asked), 50, 0, **more)
    return [one.message.id for one in found]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("invoice", ["m4", "m3", "m1"]),
        ("INVOICE", ["m4", "m3", "m1"]),
        ("invoice march", ["m1"]),
        ("inv pay", ["m3"]),
        ("voice", []),
        ("über", ["m2"]),
        ("ÄPFEL", ["m2"]),
        ("apfel", []),
        ("2024/117", ["m1"]),
        ("117", ["m1"]),
        ("50%", ["m4"]),
        ("shop.example", ["m4"]),
        ("https", ["m4"]),
        ("Счёт", ["m6"]),
        ("don't", ["m7"]),
        ('"quote"', ["m7"]),
        ("a' OR 1=1 --", []),
        ("x* NEAR y", []),
        ("stra", ["m2"]),
        ("& | ! ( x", []),
    ],
)
async def test_words_are_found_alike_on_every_store(held: World, asked: str, wanted: list[str]) -> None:
    await told(held)
    assert await ids(held, asked) == wanted


async def test_filters_and_pages(held: World) -> None:
    await told(held)
    await held.store.create_session("b", "baileys", {}, "running")
    await take_lease(held.store, "b", "one", 15)
    other = message("m9", chat="g@g.us", at=500.0, text="an invoice elsewhere", from_me=True)
    await held.store.apply_inbox("b", 1, Processed(messages=[other], contacts=[ContactRow(PN, "1", "", "Ana", "")]))
    await held.store.apply_inbox("a", 1, Processed(contacts=[ContactRow(PN, "1", "", "Ana", "")]))
    assert await ids(held, "invoice") == ["m9", "m4", "m3", "m1"]
    assert await ids(held, "invoice", session="a") == ["m4", "m3", "m1"]
    assert await ids(held, "invoice", filters={"chat": "g@g.us"}) == ["m9"]
    assert await ids(held, "invoice", filters={"from_me": True}) == ["m9"]
    assert await ids(held, "invoice", filters={"since": 102.0, "until": 103.0}) == ["m4", "m3"]
    found = await held.store.search(["invoice"], 2, 1, session="a")
    assert [(one.session, one.message.id, one.chat_name) for one in found] == [("a", "m3", "Ana"), ("a", "m1", "Ana")]


async def test_what_was_edited_is_found_by_what_it_says_now(held: World) -> None:
    await told(held)
    await held.store.apply_inbox("a", 1, Processed(edits=[message("m3", text="paid already")]))
    assert await ids(held, "invoice") == ["m4", "m1"]
    assert await ids(held, "already") == ["m3"]
    await held.store.delete_session("a")
    assert await ids(held, "already") == []


async def test_chat_under_both_addresses_is_searched_as_one(held: World) -> None:
    await held.store.apply_inbox("a", 1, Processed(messages=[message("l1", chat=LID, text="under the lid")]))
    await held.store.apply_inbox("a", 1, Processed(mappings=[(LID, PN)]))
    assert await ids(held, "lid", session="a", filters={"chat": LID}) == ["l1"]


async def test_longest_text_can_be_stored_and_found(held: World) -> None:
    words = " ".join(f"w{n}" for n in range(200_000))
    await held.store.apply_inbox("a", 1, Processed(messages=[message("m1", text=f"first {words}")]))
    assert await ids(held, "first") == ["m1"]


async def test_pages_of_an_export(held: World) -> None:
    await told(held)
    first = await held.store.messages_after("a", 0, 3)
    rest = await held.store.messages_after("a", first[-1][0], 100)
    assert [row.id for _, row in first + rest] == list(TEXTS)
    assert [row.id for row in await held.store.chats_after("a", "", 10)] == [PN]
    assert await held.store.chats_after("a", PN, 10) == []
    counts = await held.store.history_counts("a")
    assert counts == {"contacts": 0, "chats": 1, "messages": len(TEXTS), "addons": 0}


async def test_logout_keeps_the_history_and_another_instance_goes_on_with_it(held: World) -> None:
    await told(held)
    await held.store.write_engine("a", 1, EngineWrite(keys={("creds", ""): b"x", ("session", "1"): b"y"}))
    await held.store.save_state("a", 1, {}, me=None, timeline=None, clear_credentials=True)
    await held.store.clear_credentials("a")
    assert await held.store.read_keys("a", [("creds", ""), ("session", "1")]) == {}
    counts = await held.store.history_counts("a")
    epoch = (await held.store.session("a")).epoch  # type: ignore[union-attr]
    await held.store.release("a", "one", epoch)
    lease = await take_lease(held.store, "a", "two", 15)
    assert getattr(lease, "epoch", 0) > 1
    await held.store.apply_inbox("a", lease.epoch, Processed(messages=[message("n1", text="the same conversation")]))  # type: ignore[union-attr]
    assert await held.store.history_counts("a") == {**counts, "messages": counts["messages"] + 1}
    assert len(await held.store.messages("a", PN, 50, 0)) == len(TEXTS) + 1
    assert len(await held.store.chats("a", 50, 0)) == 1
