"""The life of a session in the real runtime over the real SQL, in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from holdfast.domain.errors import WrongStatus
from tests.support.instances import instance, linked, memory_store, until
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run


def test_a_session_is_linked_by_qr_and_works() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            view = await linked(node, engine)
            assert (view.reason, view.needs_qr, view.owner) == ("working", False, "one")
            statuses = [(row.status, row.code) for row in reversed(await node.gateway.timeline("shop", 20))]
            assert [status for status, _ in statuses] == ["STARTING", "SCAN_QR_CODE", "STARTING", "STARTING", "WORKING"]
            assert statuses[2][1] == statuses[3][1] == "authenticated"

    run(main)


def test_a_restart_restores_without_a_qr() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store:
            async with instance(store, clock, engine) as node:
                await linked(node, engine)
                await store.write_engine("shop", (await node.gateway.session("shop")).epoch, credentials())
            assert engine.live == {}
            async with instance(store, clock, engine, "two") as node:
                view = await until(node, "shop", lambda v: v.status == "WORKING", 3.0)
                assert view.owner == "two"
                assert [what for _, what, _ in engine.log].count("pair") == 1

    run(main)


def test_a_logout_on_the_phone_is_terminal_until_a_person_asks() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            engine.account("shop").linked = False
            engine.close_with("shop", 401, "device_removed")
            view = await until(node, "shop", lambda v: v.status == "FAILED")
            assert (view.needs_qr, view.reason) == (True, "logged_out")
            logins = len(engine.log)
            await clock.sleep(3600.0)
            await node.gateway.session("shop")
            assert len(engine.log) == logins, "something connected after a logout"
            with pytest.raises(WrongStatus):
                await node.gateway.send("shop", "40712345670@c.us", {"type": "text", "text": "hi"})
            await node.gateway.start("shop")
            await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE", 5.0)

    run(main)


def test_a_lost_connection_backs_off_and_heals() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            await store.write_engine("shop", (await node.gateway.session("shop")).epoch, credentials())
            engine.account("shop").down = (503, "stream:error", {})
            engine.close_with("shop", 428)
            await until(node, "shop", lambda v: v.status == "FAILED" and not v.needs_qr, 60.0)
            engine.account("shop").down = None
            view = await until(node, "shop", lambda v: v.status == "WORKING", 400.0)
            assert view.attempt == 0
            times = [at for at, what, _ in engine.log if what == "login"]
            gaps = [b - a for a, b in itertools.pairwise(times)][1:5]
            assert all(later > earlier * 1.2 for earlier, later in itertools.pairwise(gaps)), gaps

    run(main)


def test_a_silent_connection_is_replaced_and_never_called_working() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            await store.write_engine("shop", (await node.gateway.session("shop")).epoch, credentials())
            await clock.sleep(300.0)
            engine.account("shop").silent = True
            for _ in range(600):
                view = await node.gateway.session("shop")
                if view.status == "WORKING":
                    assert view.verified_at is not None
                    assert clock.now() - view.verified_at <= 30.0
                await clock.sleep(0.1)
            timeline = await node.gateway.timeline("shop", 20)
            assert "unresponsive" in {row.code for row in timeline}

    run(main)


@pytest.mark.parametrize("seconds", [-86_400.0, -10.0, 10.0, 86_400.0])
def test_a_wall_clock_that_is_set_neither_blinds_the_health_look_nor_breaks_a_sound_link(seconds: float) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            await store.write_engine("shop", (await node.gateway.session("shop")).epoch, credentials())
            await clock.sleep(300.0)
            opened = len(engine.log)
            clock.wall_jump(seconds)
            for _ in range(600):
                view = await node.gateway.session("shop")
                assert (view.status, len(engine.log)) == ("WORKING", opened)
                assert view.verified_at is not None
                assert 0 <= clock.now() - view.verified_at <= 30.0
                await clock.sleep(0.1)
            engine.account("shop").silent = True
            clock.wall_jump(-seconds)
            await until(node, "shop", lambda v: v.reason == "unresponsive", 46.0)
            engine.account("shop").silent = False
            engine.account("shop").down = (503, "stream:error", {})
            view = await until(node, "shop", lambda v: v.attempt == 4)
            assert view.next_attempt_at is not None
            left = view.next_attempt_at - clock.now()
            clock.wall_jump(seconds)
            view = await node.gateway.session("shop")
            assert view.next_attempt_at is not None
            assert view.next_attempt_at - clock.now() == pytest.approx(left)

    run(main)


def test_the_qr_is_not_cut_off_at_a_minute_and_expires_after_ten() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await node.gateway.create("shop", {}, engine="baileys", start=True)
            await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE")
            await clock.sleep(590.0)
            assert (await node.gateway.session("shop")).status == "SCAN_QR_CODE"
            await clock.sleep(15.0)
            view = await node.gateway.session("shop")
            assert (view.status, view.reason, view.needs_qr) == ("FAILED", "pairing_expired", True)
            assert engine.live == {}

    run(main)


def test_an_instance_that_cannot_renew_closes_before_another_claims() -> None:
    async def main(clock: VirtualClock) -> None:
        one, two = ScriptedEngine(), ScriptedEngine()
        one.peers, two.peers = [two], [one]
        two.accounts = one.accounts
        async with memory_store(clock) as store:
            cut = CutOff(store)
            first = instance(cut, clock, one)  # type: ignore[arg-type]
            async with first, instance(store, clock, two, "two") as second:
                await linked(first, one)
                await store.write_engine("shop", (await first.gateway.session("shop")).epoch, credentials())
                cut.off = True
                view = await until(second, "shop", lambda v: v.owner == "two" and v.status == "WORKING", 30.0)
                assert one.live == {}
                closed = max(at for at, what, _ in one.log if what == "closed")
                opened = min(at for at, what, _ in two.log if what == "login")
                assert closed < opened
                assert view.epoch == 2
                cut.off = False

    run(main)


def test_messages_are_sent_once_in_order_and_failures_explained() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            engine.account("shop").drop_next_send = True
            rows = await asyncio.gather(
                *(node.gateway.send("shop", "40712345670@c.us", {"type": "text", "text": str(n)}) for n in range(5))
            )
            assert {row.state for row in rows} == {"sent"}
            first = [text for _, _, text in engine.sent]
            assert first == ["0", "0", "1", "2", "3", "4"]
            assert len({sent_id for _, sent_id, _ in engine.sent}) == 5
            engine.account("shop").ack_error = 463
            refused = await node.gateway.send("shop", "40712345670@c.us", {"type": "text", "text": "x"})
            assert (refused.state, refused.error) == ("failed", 463)
            assert "463" in refused.message

    run(main)


def test_what_whatsapp_answered_is_stored_as_soon_as_the_store_is_back() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store:
            cut = CutOff(store)
            async with instance(cut, clock, engine) as node:  # type: ignore[arg-type]
                await linked(node, engine)
                sending = asyncio.create_task(
                    node.gateway.send("shop", "40712345670@c.us", {"type": "text", "text": "hi"})
                )
                while not engine.sent:
                    await clock.sleep(0.01)
                cut.off = True
                row = await sending
                await clock.sleep(4.0)
                cut.off = False
                await clock.sleep(4.0)
                assert (await node.gateway.outgoing("shop", row.id)).state == "sent"
                assert len(engine.sent) == 1

    run(main)


class CutOff:
    """A store whose answers can be withheld, as when the database is gone."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.off = False

    def __getattr__(self, name: str) -> object:
        method = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(method):
            return method

        async def guarded(*args: object, **kwargs: object) -> object:
            if self.off:
                from holdfast.domain.errors import StoreUnavailable

                await asyncio.sleep(1.0)
                raise StoreUnavailable()
            return await method(*args, **kwargs)

        return guarded


def credentials() -> object:
    from holdfast.ports.store import EngineWrite

    return EngineWrite(keys={("creds", ""): b"{}"})
