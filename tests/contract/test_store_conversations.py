"""Inbox to messages (G3), and one person, one chat."""

from __future__ import annotations

from typing import Any

from holdfast.domain.rows import AddonRow, ChatRow, ContactRow, EngineWrite, InboxRow, NewEvent, Processed
from holdfast.ports.store import Store
from tests.contract.conftest import World
from tests.contract.rows import LID, PN, acked, message, outgoing, received, told


async def test_inbox_keeps_the_first_row_of_a_key_and_its_order(held: World) -> None:
    store = held.store
    again = received("k1")
    again.body["conversation"] = "another"
    await store.write_engine("a", 1, EngineWrite({}, [received("k1"), received("k2"), again]))
    rows = await store.inbox_pending("a", 10)
    assert [row.key for row in rows] == ["k1", "k2"]
    first = rows[0]
    assert (first.kind, first.attrs["from"], first.plaintext) == ("message", PN, b"\x00plain")
    assert first.body == {"conversation": "nul \x00 inside"}
    assert first.seq < rows[1].seq
    assert await store.inbox_find("a", "k1") == first
    assert await store.inbox_find("a", "k3") is None
    assert len(await store.inbox_pending("a", 1)) == 1


async def test_processed_rows_are_marked_in_the_transaction_of_their_messages(held: World) -> None:
    store = held.store
    await store.write_engine("a", 1, EngineWrite({}, [received("k1"), received("k2")]))
    one, two = await store.inbox_pending("a", 10)
    events = await store.apply_inbox("a", 1, Processed([one.seq], [message()], events=[told(message())]))
    assert [(event.kind, event.chat) for event in events] == [("message", PN)]
    assert await store.events(0, 10) == events
    assert await store.inbox_pending("a", 10) == [two]
    assert await store.inbox_find("a", "k1") == one


async def test_unread_are_those_whose_message_came_in_no_way_yet(held: World) -> None:
    store = held.store
    rows = [InboxRow(f"waiting|{one}", "waiting", {"id": one, "from": PN}, b"", {}) for one in ("w1", "w2", "w3", "w4")]
    await store.write_engine("a", 1, EngineWrite({}, [received("k1"), *rows]))
    pending = await store.inbox_pending("a", 10)
    done = [row.seq for row in pending if row.attrs["id"] != "w4"]
    places = [message(one, kind="waiting", text="") for one in ("w1", "w2")]
    await store.apply_inbox("a", 1, Processed(done, [*places, message("w3")]))
    unread = [row.attrs["id"] for row in await store.unread("a", 10)]
    assert unread == ["w4", "w2", "w1"], "newest first; of what is not processed yet nobody knows"
    await store.apply_inbox("a", 1, Processed(messages=[message("w2")]))
    assert [row.attrs["id"] for row in await store.unread("a", 1)] == ["w4"]
    assert [row.attrs["id"] for row in await store.unread("a", 10)] == ["w4", "w1"]


async def test_known_message_is_neither_stored_nor_told_again(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message(text="first")], events=[told(message())]))
    other = NewEvent("presence.update", {"x": 1})
    events = await store.apply_inbox(
        "a", 1, Processed(messages=[message(text="second")], events=[told(message()), other])
    )
    assert [event.kind for event in events] == ["presence.update"]
    assert [row.text for row in await store.messages("a", None, 10, 0)] == ["first"]
    assert (await store.chats("a", 10, 0))[0].unread == 1


async def test_acks_move_forward_only_and_only_moves_are_told(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message("mine", from_me=True, ack=1), message("theirs")]))

    async def ack(id: str, level: int) -> list[int]:
        events = await store.apply_inbox("a", 1, Processed(acks=[(PN, id, level)], events=[acked(id, level)]))
        return [event.payload["ack"] for event in events]

    assert await ack("mine", 3) == [3]
    assert await ack("mine", 2) == []
    assert await ack("mine", 3) == []
    assert await ack("mine", -1) == []
    assert await ack("theirs", 3) == []
    assert await ack("unknown", 3) == []
    found = await store.message("a", "mine")
    assert found is not None
    assert found.ack == 3


async def test_receipts_move_the_outbox_forward(held: World) -> None:
    store = held.store
    await store.enqueue(outgoing(), "f")
    await store.claim_outbox("a", 1, 1)
    events = await store.apply_inbox("a", 1, Processed(acks=[(PN, "o1", 2)], events=[acked("o1", 2)]))
    assert [event.kind for event in events] == ["message", "message.ack"]
    row = await store.outbox_get("a", "o1")
    assert row is not None
    assert row.state == "delivered"
    late = await store.settle_outbox(
        "a", 1, "o1", "sent", sent=message("o1", from_me=True, ack=1), events=[acked("o1", 1)]
    )
    assert late is None
    stored = await store.message("a", "o1")
    assert stored is not None
    assert stored.ack == 2


def change(text: str = "", *, at: float = 200.0, id: str = "e1", **more: Any) -> Processed:
    """An edit of m1, or its deletion when there is no text."""
    mark: dict[str, Any] = {"edited": True} if text else {"revoked": True, "by": more.get("sender", PN)}
    row = message(text=text, kind="text" if text else "revoked", at=at, body={**mark, "change": id}, **more)
    payload = {"message": {"id": id, "chat": row.chat, "from_me": row.from_me}, "target": "m1"}
    return Processed(edits=[row], events=[NewEvent("message.edited" if text else "message.revoked", payload, row.chat)])


async def test_an_edit_changes_the_text_and_keeps_the_former(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message(body={"quoted": {"id": "q"}})]))
    [event] = await store.apply_inbox("a", 1, change("better"))
    assert event.payload["before"]["text"] == "hello"
    await store.apply_inbox("a", 1, change("best", at=300.0, id="e2"))
    found = await store.message("a", "m1")
    assert found is not None
    assert (found.text, found.kind, found.timestamp) == ("best", "text", 100.0)
    assert found.body == {
        "quoted": {"id": "q"},
        "edited": 300.0,
        "edits": [{"text": "hello", "timestamp": 100.0}, {"text": "better", "timestamp": 200.0}],
    }


async def test_a_deletion_marks_the_message_for_good(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message(body={"push_name": "Ana", "media": {"size": 1}})]))
    [event] = await store.apply_inbox("a", 1, change())
    assert event.payload["before"]["text"] == "hello"
    assert await store.apply_inbox("a", 1, change("too late", id="e2")) == []
    found = await store.message("a", "m1")
    assert found is not None
    assert (found.text, found.kind) == ("", "revoked")
    former = {"media": {"size": 1}, "kind": "text", "text": "hello"}
    assert found.body == {"push_name": "Ana", "revoked": 200.0, "revoked_by": PN, "former": former}


async def test_nobody_changes_what_another_wrote(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message(chat="1@g.us", sender=PN)]))
    assert await store.apply_inbox("a", 1, change("forged", chat="1@g.us", sender="666@lid")) == []
    found = await store.message("a", "m1")
    assert found is not None
    assert found.text == "hello"


async def test_a_message_that_could_not_be_read_keeps_its_place_until_it_comes(held: World) -> None:
    store = held.store
    waiting = message(kind="waiting", text="")
    note = NewEvent("message.waiting", told(waiting).payload, PN)
    for count in (1, 0):  # told once
        events = await store.apply_inbox("a", 1, Processed(messages=[waiting], events=[note]))
        assert [event.kind for event in events] == ["message.waiting"] * count
    [chat] = await store.chats("a", 10, 0)
    assert (chat.unread, chat.last and chat.last.kind) == (0, "waiting")
    await store.apply_inbox("a", 1, Processed(messages=[message("m2", at=101.0)]))
    [edited] = await store.apply_inbox("a", 1, change("edited before it came"))
    assert edited.payload["before"] is None
    events = await store.apply_inbox("a", 1, Processed(messages=[message()], events=[told(message())]))
    assert [event.kind for event in events] == ["message"]
    assert [row.id for row in await store.messages("a", PN, 10, 0)] == ["m2", "m1"]
    found = await store.message("a", "m1")
    assert found is not None
    assert (found.text, found.body["edits"][0]["text"]) == ("edited before it came", "hello")
    assert await store.apply_inbox("a", 1, Processed(messages=[waiting], events=[note])) == []
    assert (await store.chats("a", 10, 0))[0].unread == 2


def reaction(text: str, sender: str = PN, at: float = 10.0, id: str = "r1", chat: str = PN) -> Processed:
    payload = {"message": {"id": id, "chat": chat, "from_me": False}, "target": "m1", "target_author": sender}
    row = AddonRow(chat, "m1", "reaction", sender, False, id, at, text)
    return Processed(addons=[row], events=[NewEvent("message.reaction", payload, chat)])


async def reactions(store: Store) -> list[tuple[str, str]]:
    found = await store.message("a", "m1")
    assert found is not None
    return [(r["sender"], r["text"]) for r in found.body.get("reactions", [])]


async def test_the_newest_reaction_of_each_person_belongs_to_the_message(held: World) -> None:
    store = held.store
    assert len(await store.apply_inbox("a", 1, reaction("early"))) == 1
    await store.apply_inbox("a", 1, Processed(messages=[message()]))
    assert await reactions(store) == [(PN, "early")]
    await store.apply_inbox("a", 1, reaction("late", at=30.0, id="r2"))
    assert await store.apply_inbox("a", 1, reaction("between", at=20.0, id="r3")) == []
    await store.apply_inbox("a", 1, reaction("other", sender="888@lid", id="r4"))
    assert await reactions(store) == [(PN, "late"), ("888@lid", "other")]
    await store.apply_inbox("a", 1, reaction("", at=40.0, id="r5"))
    assert await reactions(store) == [("888@lid", "other")]
    assert [row.body["reactions"][0]["text"] for row in await store.messages("a", PN, 10, 0)] == ["other"]


async def test_what_turns_out_to_be_a_reaction_has_no_place_of_its_own(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message(), message("r1", kind="waiting", text="")]))
    await store.apply_inbox("a", 1, reaction("at last"))
    assert [row.id for row in await store.messages("a", PN, 10, 0)] == ["m1"]
    assert await reactions(store) == [(PN, "at last")]


async def test_what_came_by_lid_finds_the_message_that_came_by_phone(held: World) -> None:
    """Before the mapping is known, and after."""
    store = held.store
    await store.apply_inbox("a", 1, Processed(messages=[message()]))
    await store.apply_inbox("a", 1, reaction("by phone", at=1.0))
    await store.apply_inbox("a", 1, reaction("by lid", sender=LID, chat=LID, at=2.0, id="r2"))
    [event] = await store.apply_inbox("a", 1, change("edited by lid", chat=LID, sender=LID))
    assert event.payload["before"] is None
    found = await store.message("a", "m1")
    assert found is not None
    assert found.text == "hello"
    await store.apply_inbox("a", 1, Processed(mappings=[(LID, PN)]))
    found = await store.message("a", "m1")
    assert found is not None
    assert (found.text, found.body["edits"][0]["text"]) == ("edited by lid", "hello")
    assert await reactions(store) == [(PN, "by lid")]
    [event] = await store.apply_inbox("a", 1, change("again", chat=LID, sender=LID, id="e2"))
    assert event.chat == PN
    assert event.payload["before"]["text"] == "edited by lid"


async def test_chats_newest_first_with_their_newest_message(held: World) -> None:
    store = held.store
    rows = [message("m1", "1@g.us", at=10.0), message("m2", PN, at=30.0), message("m3", "1@g.us", at=20.0)]
    await store.apply_inbox("a", 1, Processed(messages=rows, chats=[ChatRow("1@g.us", "Family", 5.0, 9)]))
    await store.apply_inbox("a", 1, Processed(contacts=[ContactRow(PN, "", "", "", "Ana")]))
    await store.apply_inbox("a", 1, Processed(chats=[ChatRow("2@g.us", "Empty", 1.0, 4)]))
    found = await store.chats("a", 10, 0)
    assert [(c.id, c.name, c.timestamp, c.unread, c.last and c.last.id) for c in found] == [
        (PN, "Ana", 30.0, 1, "m2"),
        ("1@g.us", "Family", 20.0, 2, "m3"),
        ("2@g.us", "Empty", 1.0, 4, None),
    ]
    assert [c.id for c in await store.chats("a", 1, 1)] == ["1@g.us"]
    await store.apply_inbox("a", 1, Processed(messages=[message("m4", PN, from_me=True, at=40.0)]))
    assert (await store.chats("a", 1, 0))[0].unread == 0


async def test_messages_are_filtered_and_paged(held: World) -> None:
    store = held.store
    rows = [message(f"m{n}", PN, from_me=n % 2 == 0, at=float(n), ack=n % 4) for n in range(10)]
    await store.apply_inbox("a", 1, Processed(messages=[*rows, message("g", "1@g.us", at=99.0)]))

    async def ids(chat: str | None = PN, limit: int = 50, offset: int = 0, **filters: object) -> list[str]:
        return [row.id for row in await store.messages("a", chat, limit, offset, dict(filters))]

    assert await ids(None, 2) == ["g", "m9"]
    assert await ids(limit=3, offset=1) == ["m8", "m7", "m6"]
    assert await ids(from_me=True) == ["m8", "m6", "m4", "m2", "m0"]
    assert await ids(since=3, until=5) == ["m5", "m4", "m3"]
    assert await ids(ack=2) == ["m6", "m2"]
    assert await ids("nobody@g.us") == []


async def test_contacts_fill_in_and_are_never_emptied(held: World) -> None:
    store = held.store
    await store.apply_inbox("a", 1, Processed(contacts=[ContactRow(PN, "", "", "Ana", "")]))
    await store.apply_inbox(
        "a", 1, Processed(contacts=[ContactRow(PN, "", "", "", "annie"), ContactRow(LID, "", "", "", "")])
    )
    await store.apply_inbox("a", 1, Processed(contacts=[ContactRow(LID, "", "", "", "")]))
    assert await store.contacts("a", 10, 0) == [
        ContactRow(PN, "40712345678", "", "Ana", "annie"),
        ContactRow(LID, "", LID, "", ""),
    ]


async def test_mapping_known_before_addresses_everything_by_phone(held: World) -> None:
    store = held.store
    row = message(chat=LID)
    events = await store.apply_inbox(
        "a",
        1,
        Processed(
            messages=[row], contacts=[ContactRow(LID, "", "", "Ana", "")], mappings=[(LID, PN)], events=[told(row)]
        ),
    )
    assert [(event.chat, event.payload["message"]["chat"]) for event in events] == [(PN, PN)]
    assert [(m.chat, m.sender) for m in await store.messages("a", None, 10, 0)] == [(PN, PN)]
    assert await store.contacts("a", 10, 0) == [ContactRow(PN, "40712345678", LID, "Ana", "")]
    assert await store.resolve("a", [LID, PN, "1@g.us", "8@lid"]) == {
        LID: PN, PN: PN, "1@g.us": "1@g.us", "8@lid": "8@lid",
    }  # fmt: skip
    assert (await store.resolve("b", [LID])) == {LID: LID}
    stored, _ = await store.enqueue(outgoing(chat=LID), "f")
    assert stored.chat == PN
    assert [m.id for m in await store.messages("a", LID, 10, 0)] == ["m1"]


async def test_mapping_learnt_later_merges_chat_contact_and_messages(held: World) -> None:
    store = held.store
    by_lid = [message("m1", LID, at=10.0), message("both", LID, from_me=True, at=20.0, ack=3)]
    by_pn = [message("both", PN, from_me=True, at=20.0, ack=1), message("m3", PN, at=30.0)]
    await store.apply_inbox("a", 1, Processed(messages=[*by_lid, *by_pn], events=[told(by_lid[0]), told(by_pn[1])]))
    await store.apply_inbox(
        "a", 1, Processed(contacts=[ContactRow(LID, "", "", "", "annie"), ContactRow(PN, "", "", "Ana", "")])
    )
    await store.apply_inbox("a", 1, Processed(messages=[message("in-group", "1@g.us", at=1.0, sender=LID)]))
    await store.enqueue(outgoing(chat=LID), "f")
    await store.apply_inbox("a", 1, Processed(mappings=[("777:3@lid", "40712345678:2@s.whatsapp.net")]))
    assert [(m.id, m.chat, m.ack) for m in await store.messages("a", PN, 10, 0)] == [
        ("m3", PN, 0), ("both", PN, 3), ("m1", PN, 0),
    ]  # fmt: skip
    assert [m.id for m in await store.messages("a", None, 10, 0)] == ["m3", "both", "m1", "in-group"]
    assert [(c.id, c.timestamp, c.unread) for c in await store.chats("a", 10, 0)] == [(PN, 30.0, 1), ("1@g.us", 1.0, 1)]
    assert await store.contacts("a", 10, 0) == [ContactRow(PN, "40712345678", LID, "Ana", "annie")]
    grouped = await store.message("a", "in-group")
    assert grouped is not None
    assert grouped.sender == PN
    queued = await store.outbox_get("a", "o1")
    assert queued is not None
    assert queued.chat == PN
    assert {event.chat for event in await store.events(0, 10)} == {PN}


async def test_mappings_that_are_none_are_ignored(held: World) -> None:
    await held.store.apply_inbox("a", 1, Processed(mappings=[("", ""), (PN, LID), (LID, "1@g.us")]))
    assert await held.store.resolve("a", [LID, PN]) == {LID: LID, PN: PN}


async def test_text_with_nul_is_stored_on_every_store(held: World) -> None:
    await held.store.apply_inbox(
        "a", 1, Processed(messages=[message(text="a\x00b", body={"x": "c\x00d"}, raw=b"\x00")])
    )
    found = await held.store.message("a", "m1")
    assert found is not None
    assert (found.text, found.body, found.raw) == ("a\ufffdb", {"x": "c\x00d"}, b"\x00")


async def test_names_with_nul_are_stored_on_every_store(held: World) -> None:
    people, chats = [ContactRow(PN, "", "", "A\x00na", "A\x00")], [ChatRow("1@g.us", "Fa\x00m", 1.0, 0)]
    await held.store.apply_inbox("a", 1, Processed(contacts=people, chats=chats))
    assert [(c.name, c.push_name) for c in await held.store.contacts("a", 10, 0)] == [("A\ufffdna", "A\ufffd")]
    assert [chat.name for chat in await held.store.chats("a", 10, 0)] == ["Fa\ufffdm"]


async def test_nothing_but_the_key_is_kept_of_an_ignored_row(held: World) -> None:
    store = held.store
    waiting = InboxRow("waiting|w1", "waiting", {"id": "w1", "from": PN}, b"", {})
    await store.write_engine("a", 1, EngineWrite({}, [received("k1"), received("k2"), waiting]))
    one, two, place = await store.inbox_pending("a", 10)
    await store.apply_inbox("a", 1, Processed([one.seq, two.seq, place.seq], ignored=[one.seq, place.seq]))
    kept = await store.inbox_find("a", "k1")
    assert kept is not None
    assert (kept.attrs, kept.plaintext, kept.body) == ({}, b"", {})
    assert await store.inbox_find("a", "k2") == two
    assert await store.unread("a", 10) == []
    assert await store.inbox_find("a", "waiting|w1") is None
    await store.write_engine("a", 1, EngineWrite({}, [received("k1")]))
    assert await store.inbox_pending("a", 10) == []
