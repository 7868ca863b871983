"""Breaks in the real runtime over the real SQL, in virtual time: versions, restrictions, numbers, looks, outages."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from holdfast.domain.errors import WrongNumber
from holdfast.domain.lease import LeaseTimes
from holdfast.domain.pacing import Pace
from holdfast.domain.rows import MessageRow, Processed
from holdfast.domain.terms import Terms
from holdfast.ports import engine as e
from holdfast.runtime.node import Node
from tests.support.instances import SETTINGS, instance, linked, memory_store, until
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run
from tests.unit.test_runtime_life import CutOff, credentials

OLD, NEW = "40712345678", "40799999999"
TEXT = {"type": "text", "text": "hello"}


async def codes(node: Node) -> list[str]:
    return [row.code for row in reversed(await node.gateway.timeline("shop", 100))]


def logins(engine: ScriptedEngine) -> int:
    return sum(what == "login" for _, what, _ in engine.log)


def test_a_refused_version_is_renewed_and_the_session_heals() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            view = await linked(node, engine)
            await store.write_engine("shop", view.epoch, credentials())  # type: ignore[arg-type]
            engine.least_version, engine.present_version = 5, 5
            engine.close_with("shop", 405, "failure")
            await until(node, "shop", lambda v: v.status == "STARTING", 10.0)
            await until(node, "shop", lambda v: v.status == "WORKING", 10.0)
            assert engine.versions_asked == 1
            assert "client_outdated" in await codes(node)

    run(main)


def test_a_version_that_cannot_be_renewed_is_parked_and_tried_every_hour_with_the_credentials_kept() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            view = await linked(node, engine)
            await store.write_engine("shop", view.epoch, credentials())  # type: ignore[arg-type]
            engine.least_version = 5
            engine.close_with("shop", 405, "failure")
            view = await until(node, "shop", lambda v: v.status == "FAILED", 10.0)
            assert (view.reason, view.needs_qr, view.linked) == ("client_outdated", False, True)
            tried = logins(engine)
            await clock.sleep(3600 + 60)
            assert logins(engine) == tried + 1
            engine.present_version = 5
            await until(node, "shop", lambda v: v.status == "WORKING", 2 * 3600 + 60)

    run(main)


def restrict(engine: ScriptedEngine, until_: float | None) -> None:
    assert engine._sink is not None
    engine._sink(e.Restricted("shop", engine.live["shop"].connection, until_))


@pytest.mark.parametrize("fail", [False, True])
def test_while_restricted_people_who_wrote_are_answered_and_strangers_wait_or_fail(fail: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        settings = replace(SETTINGS, fail_restricted=fail)
        async with memory_store(clock) as store, instance(store, clock, engine, settings=settings) as node:
            view = await linked(node, engine)
            known, stranger = "40712345670@s.whatsapp.net", "40712345671@s.whatsapp.net"
            wrote = MessageRow("A1", known, False, known, clock.now(), "text", "hi", 1, {})
            await store.apply_inbox("shop", view.epoch, Processed([], [wrote], [], [], [], [], []))
            restrict(engine, clock.now() + 3600)
            await until(node, "shop", lambda v: v.reason == "restricted", 5.0)
            answered = await node.gateway.send("shop", known, TEXT)
            waiting = await node.gateway.send("shop", stranger, TEXT, wait=10.0)
            assert answered.state == "sent"
            assert (waiting.state, waiting.error) == (("failed", 463) if fail else ("queued", 0))
            assert len(engine.sent) == 1
            await clock.sleep(3700)
            view = await node.gateway.session("shop")
            assert (view.status, view.reason) == ("WORKING", "working")
            assert (await node.gateway.outgoing("shop", waiting.id)).state == ("failed" if fail else "sent")

    run(main)


def test_another_number_is_refused_and_once_confirmed_starts_clean_with_the_old_history_kept() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            view = await linked(node, engine)
            chat = "40712345670@s.whatsapp.net"
            old = MessageRow("A1", chat, False, chat, clock.now(), "text", "old", 1, {})
            await store.apply_inbox("shop", view.epoch, Processed([], [old], [], [], [], [], []))
            engine.account("shop").drop_next_send = True
            engine.account("shop").down = (503, "stream:error", {})
            doubt = await node.gateway.send("shop", chat, TEXT, wait=0.0)
            engine.close_with("shop", 401, "failure")
            await until(node, "shop", lambda v: v.needs_qr)
            engine.account("shop").down = None
            with pytest.raises(WrongNumber):
                await node.gateway.pair("shop", phone=NEW)
            await node.gateway.start("shop")
            await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE")
            engine.scan("shop", NEW)
            view = await until(node, "shop", lambda v: v.reason == "another_number")
            assert view.needs_qr
            assert NEW not in view.message
            await node.gateway.pair("shop", new_number=True)
            await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE")
            assert await node.gateway.request_code("shop", NEW), "confirmed for a code as for the QR"
            engine.scan("shop", NEW)
            view = await until(node, "shop", lambda v: v.status == "WORKING")
            assert view.me["phone"] == NEW
            assert await node.gateway.messages("shop", None, 10, 0) == []
            (apart,) = [v for v in await node.gateway.sessions() if v.name != "shop"]
            assert apart.status == "STOPPED"
            assert [m.text for m in await node.gateway.messages(apart.name, None, 10, 0)] == ["old"]
            assert (await node.gateway.outgoing(apart.name, doubt.id)).state == "failed"
            assert len(engine.sent) == 1, "the old queue is never sent from another number"

    run(main)


def test_linked_again_with_the_same_number_history_and_queue_go_on_but_for_what_expired() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            view = await linked(node, engine)
            chat = "40712345670@s.whatsapp.net"
            old = MessageRow("A1", chat, False, chat, clock.now(), "text", "old", 1, {})
            await store.apply_inbox("shop", view.epoch, Processed([], [old], [], [], [], [], []))
            engine.account("shop").down = (503, "stream:error", {})
            engine.close_with("shop", 503)
            waits, ends = [
                await node.gateway.send("shop", chat, {"type": "text", "text": text}, terms=terms, wait=0.0)
                for text, terms in (("waits", Terms()), ("ends", Terms(expires_in=60.0)))
            ]
            engine.account("shop").down = (401, "failure", {})
            await until(node, "shop", lambda v: v.needs_qr)
            engine.account("shop").down = None
            await clock.sleep(120.0)
            assert engine.sent == []
            await node.gateway.start("shop")
            await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE")
            engine.scan("shop")
            await until(node, "shop", lambda v: v.status == "WORKING")
            await clock.sleep(10.0)
            states = [(await node.gateway.outgoing("shop", row.id)).state for row in (waits, ends)]
            assert (states, [text for _, _, text in engine.sent]) == (["sent", "expired"], ["waits"])
            assert "old" in [m.text for m in await node.gateway.messages("shop", None, 10, 0)]
            assert [v.name for v in await node.gateway.sessions()] == ["shop"]

    run(main)


def test_a_device_taken_off_the_list_is_noticed_by_the_slower_look() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            engine.account("shop").linked = False
            view = await until(node, "shop", lambda v: v.needs_qr, 700.0)
            assert view.reason == "logged_out"
            assert (await codes(node))[-2:] == ["unlisted", "logged_out"]

    run(main)


def test_lenient_keeps_the_connection_while_the_store_is_away() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        settings = replace(SETTINGS, lease=LeaseTimes(lenient=True))
        async with memory_store(clock) as store:
            cut = CutOff(store)
            async with instance(cut, clock, engine, settings=settings) as node:  # type: ignore[arg-type]
                await linked(node, engine)
                cut.off = True
                await clock.sleep(600)
                assert list(engine.live) == ["shop"]
                cut.off = False
                await clock.sleep(30)
                assert (await node.gateway.session("shop")).status == "WORKING"
                assert logins(engine) == 1

    run(main)


def test_a_send_that_fails_while_connected_is_tried_again_after_growing_pauses() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            engine.account("shop").unnamed = True
            row = await node.gateway.send("shop", "40712345670@c.us", TEXT, wait=0.0)
            await clock.sleep(600)
            tries = [at for at, what, _ in engine.log if what == "unnamed"]
            assert 10 < len(tries) < 25, "1, 2, 4 ... seconds, then one a minute"
            engine.account("shop").unnamed = False
            await clock.sleep(75)
            assert (await node.gateway.outgoing("shop", row.id)).state == "sent"

    run(main)


class SlowToOpen(ScriptedEngine):
    """Takes two seconds, virtual ones, before the connection that it was asked for is there to be closed."""

    async def open(self, request: e.OpenRequest) -> None:
        await asyncio.sleep(2.0)
        await super().open(request)


def test_a_stop_closes_the_connection_that_waited_for_its_turn_and_is_just_being_opened() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = SlowToOpen()
        settings = replace(SETTINGS, pace=Pace(burst=0.0, rate=0.5))
        async with memory_store(clock) as store, instance(store, clock, engine, settings=settings) as node:
            view = await linked(node, engine)
            await store.write_engine("shop", view.epoch, credentials())  # type: ignore[arg-type]
            await clock.sleep(5.0)
            engine.close_with("shop", 428)
            await until(node, "shop", lambda v: v.next_attempt_at is not None, 5.0)
            await until(node, "shop", lambda v: v.next_attempt_at is None, 5.0)
            await clock.sleep(2.5)
            assert engine.live == {}, "it is still being opened"
            await node.gateway.stop("shop")
            await clock.sleep(30.0)
            assert engine.live == {}

    run(main)


class RenewsNot(CutOff):
    """Answers everything but renewals."""

    def __getattr__(self, name: str) -> object:
        return super().__getattr__(name) if name == "renew" else getattr(self._store, name)


def test_nothing_is_attempted_under_a_lease_that_ran_out() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store:
            cut = RenewsNot(store)
            async with instance(cut, clock, engine) as node:  # type: ignore[arg-type]
                view = await linked(node, engine)
                await store.write_engine("shop", view.epoch, credentials())  # type: ignore[arg-type]
                tried = logins(engine)
                cut.off = True
                while engine.live:
                    await clock.sleep(0.05)
                cut.off = False
                view = await until(node, "shop", lambda v: v.status == "WORKING" and v.epoch == 2, 30.0)
                assert (view.attempt, logins(engine)) == (0, tried + 1)
                assert "grant_lapsed" not in await codes(node)

    run(main)
