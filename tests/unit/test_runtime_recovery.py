"""Getting a session back for a person who asks, in virtual time: what is tried, and how often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from holdfast.domain.errors import WrongStatus
from holdfast.runtime.node import Node
from tests.support.instances import instance, linked, memory_store, until
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run

Body = Callable[[Node, ScriptedEngine, VirtualClock], Awaitable[None]]


def on_a_linked_session(body: Body) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = ScriptedEngine()
        async with memory_store(clock) as store, instance(store, clock, engine) as node:
            await linked(node, engine)
            await body(node, engine, clock)

    run(main)


def tries(engine: ScriptedEngine) -> list[str]:
    return [what for _, what, _ in engine.log if what in ("login", "pair")]


def test_what_works_is_not_touched() -> None:
    async def body(node: Node, engine: ScriptedEngine, clock: VirtualClock) -> None:
        log = list(engine.log)
        found = await node.accounts.recover("shop")
        assert (found.before.status, found.after.status) == ("WORKING", "WORKING")
        assert "nothing was touched" in found.message
        assert engine.log == log
        assert (await node.accounts.facts("shop"))["recovery"] == {"attempts": 0, "lastAt": None, "lastOutcome": None}

    on_a_linked_session(body)


def test_what_failed_and_can_heal_is_tried_now_with_its_credentials() -> None:
    async def body(node: Node, engine: ScriptedEngine, clock: VirtualClock) -> None:
        engine.account("shop").down = (503, "failure", {})
        engine.close_with("shop", 503)
        view = await until(node, "shop", lambda v: v.status == "FAILED")
        assert view.linked
        told = (await node.accounts.facts("shop"))["recovery"]
        assert (told["attempts"], told["lastOutcome"]) == (4, "FAILED")
        engine.account("shop").down = None
        began = clock.boot()
        found = await node.accounts.recover("shop")
        assert (found.before.status, found.after.status) == ("FAILED", "WORKING")
        assert clock.boot() - began < 2
        assert tries(engine).count("pair") == 1, "the credentials were kept"
        told = (await node.accounts.facts("shop"))["recovery"]
        assert (told["attempts"], told["lastOutcome"]) == (5, "WORKING")
        assert began - 1 <= told["lastAt"] - clock.wall_offset <= clock.boot()

    on_a_linked_session(body)


def test_what_needs_a_qr_begins_to_pair_at_most_once_a_minute() -> None:
    async def body(node: Node, engine: ScriptedEngine, clock: VirtualClock) -> None:
        engine.account("shop").linked = False
        engine.close_with("shop", 401, "device_removed")
        await until(node, "shop", lambda v: v.needs_qr)
        found = await node.accounts.recover("shop")
        assert (found.before.status, found.after.status) == ("FAILED", "SCAN_QR_CODE")
        assert (await node.accounts.recover("shop")).after.status == "SCAN_QR_CODE", "the running pairing stays"
        assert tries(engine).count("pair") == 2
        engine.scan("shop", "40798765432")  # refused: another number
        await until(node, "shop", lambda v: v.needs_qr)
        for _ in range(5):
            found = await node.accounts.recover("shop")
            assert found.after.status == "FAILED"
            assert "A new QR code can be had in" in found.message
        assert (await node.accounts.restart("shop")).after.status == "FAILED", "nor by a restart"
        assert tries(engine).count("pair") == 2
        await clock.sleep(60)
        assert (await node.accounts.recover("shop")).after.status == "SCAN_QR_CODE"

    on_a_linked_session(body)


def test_another_program_is_not_fought_by_asking_again_and_again() -> None:
    async def body(node: Node, engine: ScriptedEngine, clock: VirtualClock) -> None:
        engine.account("shop").down = (440, "conflict", {})
        engine.close_with("shop", 440, "conflict")
        await until(node, "shop", lambda v: v.status == "FAILED", timeout=3600)
        began, before = clock.boot(), len(tries(engine))
        for _ in range(20):
            await node.accounts.recover("shop")
            await clock.sleep(15)
        tried = len(tries(engine)) - before
        assert 1 <= tried <= (clock.boot() - began) / 60 + 1, tried

    on_a_linked_session(body)


def test_a_ban_is_not_hurried() -> None:
    async def body(node: Node, engine: ScriptedEngine, clock: VirtualClock) -> None:
        engine.close_with("shop", 402, "failure", {"expire": "3600"})
        await until(node, "shop", lambda v: v.reason == "temporarily_banned")
        before = tries(engine)
        found = await node.accounts.recover("shop")
        assert (found.after.reason, found.message) == ("temporarily_banned", found.after.message)
        assert tries(engine) == before

    on_a_linked_session(body)


def test_a_restart_while_restarting_is_the_same_restart() -> None:
    async def body(node: Node, engine: ScriptedEngine, clock: VirtualClock) -> None:
        engine.latency = 3.0
        before = len(tries(engine))
        first = await node.gateway.restart("shop")
        assert first.status == "STARTING"
        found = await node.accounts.restart("shop")
        assert (found.before.status, found.after.status) == ("STARTING", "WORKING")
        assert "connecting already" in found.message
        assert len(tries(engine)) == before + 1
        found = await node.accounts.restart("shop")
        assert (found.before.status, found.after.status) == ("WORKING", "WORKING")
        assert len(tries(engine)) == before + 2

    on_a_linked_session(body)


def test_a_message_for_what_failed_waits_if_that_heals_and_is_refused_if_it_needs_a_person() -> None:
    async def body(node: Node, engine: ScriptedEngine, clock: VirtualClock) -> None:
        friend = "40722000111@s.whatsapp.net"
        engine.account("shop").down = (503, "failure", {})
        engine.close_with("shop", 503)
        await until(node, "shop", lambda v: v.status == "FAILED")
        queued = await node.gateway.send("shop", friend, {"type": "text", "text": "waits"}, wait=1.0)
        assert queued.state == "queued"
        engine.account("shop").down = None
        await until(node, "shop", lambda v: v.status == "WORKING")
        await clock.sleep(5.0)
        assert (await node.gateway.outgoing("shop", queued.id)).state == "sent"
        engine.account("shop").linked = False
        engine.close_with("shop", 401, "device_removed")
        await until(node, "shop", lambda v: v.needs_qr)
        with pytest.raises(WrongStatus, match="QR"):
            await node.gateway.send("shop", friend, {"type": "text", "text": "refused"}, wait=1.0)
        assert [text for _, _, text in engine.sent] == ["waits"]

    on_a_linked_session(body)


def test_a_qr_is_not_made_of_a_session_that_has_its_credentials() -> None:
    async def body(node: Node, engine: ScriptedEngine, clock: VirtualClock) -> None:
        with pytest.raises(WrongStatus, match="log it out first"):
            await node.accounts.relink("shop")
        engine.account("shop").down = (503, "failure", {})
        engine.close_with("shop", 503)
        await until(node, "shop", lambda v: v.status == "STARTING")
        with pytest.raises(WrongStatus, match="log it out first"):
            await node.accounts.relink("shop")
        await until(node, "shop", lambda v: v.status == "FAILED")
        with pytest.raises(WrongStatus, match="log it out first"):
            await node.accounts.relink("shop")
        engine.account("shop").down = None
        await node.gateway.logout("shop")
        await node.accounts.relink("shop")
        await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE")

    on_a_linked_session(body)


def test_facts_of_breaker_and_queue_are_the_engines_or_the_outbox() -> None:
    async def body(node: Node, engine: ScriptedEngine, clock: VirtualClock) -> None:
        engine.account("shop").down = (503, "failure", {})
        engine.close_with("shop", 503)
        await until(node, "shop", lambda v: v.status == "STARTING")
        await node.gateway.send("shop", "40722000111@c.us", {"type": "text", "text": "x"}, wait=0)
        facts = await node.accounts.facts("shop")
        assert facts["breaker"] == {"state": "closed", "failures": 0}
        assert facts["queue"] == {"active": 0, "waiting": 1}
        assert (await node.accounts.health("baileys"))["queue"]["waiting"] == 1
        told = {"breaker": {"state": "open", "failures": 5}, "queue": {"active": 2, "waiting": 7}, "reachable": False}
        engine.facts = lambda: told  # type: ignore[method-assign]
        facts = await node.accounts.facts("shop")
        assert (facts["breaker"], facts["queue"]) == (told["breaker"], told["queue"])
        assert (await node.accounts.health("baileys"))["reachable"] is False

    on_a_linked_session(body)
