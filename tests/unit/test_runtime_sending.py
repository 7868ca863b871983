"""Scheduling, limits, deadlines and queues in the real runtime over the real SQL, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from holdfast.domain.errors import IdempotencyConflict, InvalidTime, TooLate, WrongStatus
from holdfast.domain.rows import Json, OutboxRow, Processed
from holdfast.domain.state import Times
from holdfast.domain.terms import Terms
from holdfast.runtime.node import Node
from tests.contract.rows import message
from tests.support.instances import SETTINGS, instance, linked, memory_store, until
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run
from tests.unit.test_runtime_life import credentials

ANA, BEN, EVA = "40712345670@c.us", "40712345671@c.us", "40712345672@c.us"


def text(said: str) -> Json:
    return {"type": "text", "text": said}


class Noted(ScriptedEngine):
    """Also notes when each message left, by the loop's clock."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.left: list[tuple[float, str]] = []

    async def send(self, session, connection, message):  # type: ignore[no-untyped-def]
        self.left.append((asyncio.get_running_loop().time(), str(message.content["text"])))
        return await super().send(session, connection, message)


async def state(node: Node, row: OutboxRow) -> str:
    return (await node.gateway.outgoing("shop", row.id)).state


def test_a_scheduled_message_leaves_when_it_is_due_and_its_chat_goes_on_meanwhile() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Noted()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            began = clock.boot()
            later = await node.gateway.send("shop", ANA, text("later"), terms=Terms(send_at=clock.now() + 600))
            assert (later.state, clock.boot() - began < 1) == ("queued", True), "answered at once"
            (waiting,) = await node.gateway.queue("shop")
            assert waiting.reason is not None
            assert (waiting.reason.code, waiting.reason.until) == ("scheduled", later.send_at)
            assert (await node.gateway.send("shop", ANA, text("now"))).state == "sent"
            await clock.sleep(590)
            assert await state(node, later) == "queued"
            await clock.sleep(20)
            assert await state(node, later) == "sent"
            left = {said: at - began for at, said in engine.left}
            assert 600 <= left["later"] < 606
            assert await node.gateway.queue("shop") == []

    run(main)


def test_scheduled_for_the_past_is_refused_and_nothing_is_stored() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            with pytest.raises(InvalidTime, match="past"):
                await node.gateway.send("shop", ANA, text("x"), terms=Terms(send_at=clock.now() - 1))
            assert await node.gateway.queue("shop", ["queued", "sending", "sent", "failed"]) == []

    run(main)


def test_a_key_is_answered_with_its_message_whatever_became_of_time_and_session() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            terms = Terms(send_at=clock.now() + 5)
            first = await node.gateway.send("shop", ANA, text("x"), idempotency_key="k", terms=terms)
            await clock.sleep(300)
            await node.gateway.stop("shop")
            again = await node.gateway.send("shop", ANA, text("x"), idempotency_key="k", terms=terms)
            assert (again.id, again.state) == (first.id, "sent")
            for said, other in (("y", terms), ("x", Terms()), ("x", Terms(send_at=terms.send_at, expires_in=9))):
                with pytest.raises(IdempotencyConflict):
                    await node.gateway.send("shop", ANA, text(said), idempotency_key="k", terms=other)
            with pytest.raises(WrongStatus):
                await node.gateway.send("shop", ANA, text("x"), idempotency_key="other", terms=Terms())
            assert len(engine.sent) == 1

    run(main)


def test_the_minutes_limit_holds_through_a_crash_and_chats_keep_their_order() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, other = Noted(), Noted()
        async with memory_store(clock) as store:
            async with instance(store, clock, engine) as node:
                await linked(node, engine)
                await store.write_engine("shop", (await node.gateway.session("shop")).epoch, credentials())
                await node.gateway.update("shop", {"holdfast": {"pacing": {"messages_per_minute": 4}}})
                for number in range(10):
                    await node.gateway.send("shop", (ANA, BEN)[number % 2], text(f"{number}"), wait=0.0)
                await clock.sleep(30)
                assert len(engine.left) == 4
                (newest, *_) = await node.gateway.queue("shop")
                assert newest.reason is not None
                assert newest.reason.code == "order"
                oldest = (await node.gateway.queue("shop"))[-1]
                assert oldest.reason is not None
                assert oldest.reason.code == "pacing"
                assert oldest.reason.until == pytest.approx(clock.now() + 30, abs=2)
            other.accounts = engine.accounts
            async with instance(store, clock, other, "two") as node:
                await until(node, "shop", lambda v: v.status == "WORKING")
                assert other.left == [], "a restart gave the minute anew"
                await clock.sleep(150)
        left = sorted([*engine.left, *other.left])
        assert [said for _, said in left if int(said) % 2 == 0] == ["0", "2", "4", "6", "8"]
        assert [said for _, said in left if int(said) % 2 == 1] == ["1", "3", "5", "7", "9"]
        times = [at for at, _ in left]
        assert all(b - a >= 59.9 for a, b in zip(times, times[4:], strict=False)), "more than four in a minute"
        assert times[8] - times[0] < 125, "slower than it had to be"

    run(main)


def test_new_chats_are_capped_and_people_who_wrote_are_answered_all_the_same() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        settings = replace(SETTINGS, times=Times(factor=0.01), time_factor=0.01)  # a day has 864 s
        async with memory_store(clock) as store, instance(store, clock, engine, settings=settings) as node:
            view = await linked(node, engine)
            wrote = message("A1", "40712345679@s.whatsapp.net")
            await store.apply_inbox("shop", view.epoch, Processed(messages=[wrote]))
            await node.gateway.update("shop", {"holdfast": {"pacing": {"new_chats_per_day": 2}}})
            rows = [await node.gateway.send("shop", chat, text(chat), wait=2.0) for chat in (ANA, BEN, EVA)]
            assert [row.state for row in rows] == ["sent", "sent", "queued"]
            (waiting,) = await node.gateway.queue("shop")
            assert waiting.reason is not None
            assert waiting.reason.code == "new_chats"
            for known in ("40712345679@c.us", ANA, "123456@g.us"):
                assert (await node.gateway.send("shop", known, text("answer"))).state == "sent"
            await clock.sleep(850)
            assert await state(node, rows[2]) == "queued"
            await clock.sleep(15)
            assert await state(node, rows[2]) == "sent"

    run(main)


def test_jitter_parts_messages_at_random() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Noted()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            await node.gateway.update("shop", {"holdfast": {"pacing": {"jitter": 20}}})
            for number in range(12):
                await node.gateway.send("shop", f"4071234568{number}@c.us", text(str(number)), wait=0.0)
            await clock.sleep(260)
            assert [said for _, said in engine.left] == [str(number) for number in range(12)]
            gaps = [b[0] - a[0] for a, b in zip(engine.left, engine.left[1:], strict=False)]
            assert all(gap <= 21 for gap in gaps)
            assert len({round(gap) for gap in gaps}) > 4, gaps

    run(main)


def test_a_message_expires_while_its_session_is_down_and_users_are_told() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        settings = replace(SETTINGS, send_deadline=3600.0)
        async with memory_store(clock) as store, instance(store, clock, engine, settings=settings) as node:
            view = await linked(node, engine)
            await store.write_engine("shop", view.epoch, credentials())
            engine.account("shop").down = (503, "failure", {})
            engine.close_with("shop", 503, "failure")
            await until(node, "shop", lambda v: v.status == "STARTING", 10.0)
            plain = await node.gateway.send("shop", ANA, text("plain"), wait=0.0)
            brief = await node.gateway.send("shop", BEN, text("code 1234"), wait=0.0, terms=Terms(expires_in=60))
            await node.gateway.update("shop", {"holdfast": {"expires_in": 600}})
            session = await node.gateway.send("shop", EVA, text("session's"), wait=0.0)
            assert {row.state for row in (plain, brief, session)} == {"queued"}
            for pause, expected in ((70, "qeq"), (540, "qee"), (3000, "eee")):
                await clock.sleep(pause)
                states = [(await state(node, row))[0] for row in (plain, brief, session)]
                assert "".join(states) == expected
            told = [event for event in await store.events(0, 1000) if event.kind == "message.ack"]
            assert [(e.payload["id"], e.payload["ack"]) for e in told] == [(r.id, -1) for r in (brief, session, plain)]
            engine.account("shop").down = None
            await until(node, "shop", lambda v: v.status == "WORKING", 4000.0)
            await clock.sleep(60)
            assert engine.sent == [], "yesterday's code left today"

    run(main)


def test_one_that_needs_a_qr_refuses_unless_asked_to_queue_and_sends_after_linking() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            before = await node.gateway.send("shop", ANA, text("kept"), terms=Terms(send_at=clock.now() + 900))
            engine.account("shop").linked = False
            engine.close_with("shop", 401, "device_removed")
            await until(node, "shop", lambda v: v.needs_qr)
            with pytest.raises(WrongStatus):
                await node.gateway.send("shop", BEN, text("no"), terms=Terms())
            began = clock.boot()
            asked = await node.gateway.send("shop", BEN, text("asked"), terms=Terms(queue=True))
            assert (asked.state, clock.boot() - began < 1) == ("queued", True)
            await node.gateway.update("shop", {"holdfast": {"queue": True}})
            by_session = await node.gateway.send("shop", BEN, text("by session"))
            with pytest.raises(WrongStatus):
                await node.gateway.send("shop", BEN, text("no"), terms=Terms(queue=False))
            await clock.sleep(1000)
            found = await node.gateway.queue("shop")
            assert [one.row.id for one in found] == [by_session.id, asked.id, before.id]
            assert {one.reason.code for one in found if one.reason} == {"session"}
            await node.gateway.start("shop")
            await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE")
            engine.scan("shop")
            await until(node, "shop", lambda v: v.status == "WORKING")
            await clock.sleep(5)
            assert sorted(said for _, _, said in engine.sent) == ["asked", "by session", "kept"]

    run(main)


def test_a_cancelled_message_never_leaves_and_one_that_left_cannot_be_cancelled() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            later = await node.gateway.send("shop", ANA, text("later"), terms=Terms(send_at=clock.now() + 60))
            assert (await node.gateway.cancel("shop", later.id)).state == "cancelled"
            await clock.sleep(120)
            assert engine.sent == []
            sent = await node.gateway.send("shop", ANA, text("sent"))
            with pytest.raises(TooLate):
                await node.gateway.cancel("shop", sent.id)

    run(main)


def test_a_message_in_doubt_says_its_tries_and_its_story() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            engine.account("shop").drop_next_send = True
            row = await node.gateway.send("shop", ANA, text("x"), wait=0.5)
            assert (row.state, row.attempts, row.in_doubt) == ("queued", 1, True)
            told = await node.gateway.story("shop", row.id)
            assert told.reason is not None
            assert told.reason.code == "retry"
            await clock.sleep(5)
            told = await node.gateway.story("shop", row.id)
            assert (told.row.state, told.row.attempts, told.row.in_doubt, told.reason) == ("sent", 2, False, None)
            assert [step.state for step in told.steps] == ["sending", "queued", "sending", "sent"]
            assert "tried again under the same id" in told.steps[1].message
            assert {sent_id for _, sent_id, _ in engine.sent} == {row.id}

    run(main)


@pytest.mark.parametrize("jump", [-200_000.0, 200_000.0])
def test_a_wall_clock_that_was_set_moves_no_schedule_and_no_deadline(jump: float) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Noted()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            clock.wall_offset += jump
            await clock.sleep(20)
            began = clock.boot()
            assert (await node.gateway.send("shop", BEN, text("now"))).state == "sent"
            later = await node.gateway.send("shop", ANA, text("later"), terms=Terms(send_at=clock.now() + 60))
            brief = await node.gateway.send("shop", EVA, text("brief"), terms=Terms(send_at=clock.now() + 9e4))
            await clock.sleep(70)
            assert await state(node, later) == "sent"
            assert 60 <= engine.left[-1][0] - began < 67
            assert await state(node, brief) == "queued"

    run(main)
