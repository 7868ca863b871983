"""Alerts in the running instance: raised by the holder, kept in the store, told until the operator heard it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from holdfast.domain.delivery import Refusal
from holdfast.domain.rows import EngineWrite, NewEvent
from holdfast.ports.store import Json, Store
from holdfast.runtime.alerts import AlertSettings
from holdfast.runtime.node import Node
from holdfast.runtime.webhook import Webhook
from tests.contract.rows import outgoing
from tests.support.instances import SETTINGS, instance, linked, memory_store, until
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run

OPERATOR = Webhook("http://operator.test/alerts", frozenset({"*"}), "secret")
USERS = "http://user:pass@hooks.test/in?token=1"


class Wire:
    """Stands where HTTP begins: keeps what the operator was sent, refuses what a test wants refused."""

    def __init__(self) -> None:
        self.heard: list[Json] = []
        self.down: set[str] = set()

    def plug(self, node: Node) -> Node:
        async def post(hook: Webhook, request_id: str, envelope: Json) -> Refusal | None:
            if hook.url in self.down:
                return Refusal("the receiver answered 500", 500)
            if hook is OPERATOR:
                assert request_id == envelope["id"]
                self.heard.append(envelope)
            return None

        node.delivery.post = post  # type: ignore[method-assign]
        return node

    def told(self) -> list[tuple[str, str]]:
        return [(e["event"].removeprefix("alert."), e["payload"].get("kind", "")) for e in self.heard]


def node_of(store: Store, clock: VirtualClock, engine: ScriptedEngine, wire: Wire, name: str = "one") -> Node:
    settings = replace(SETTINGS, alerts=AlertSettings(OPERATOR))
    return wire.plug(instance(store, clock, engine, name, settings))


async def heard(clock: VirtualClock, wire: Wire, holds: Callable[[list[tuple[str, str]]], object]) -> None:
    end = clock.boot() + 900
    while not holds(wire.told()):
        assert clock.boot() < end, wire.told()
        await clock.sleep(1.0)


async def log_out(node: Node, engine: ScriptedEngine, name: str = "shop") -> None:
    engine.account(name).linked = False
    engine.close_with(name, 401, "device_removed")
    await until(node, name, lambda v: v.needs_qr)


def test_a_logout_is_told_once_and_its_end_once_and_then_that_all_is_well() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        async with memory_store(clock) as store, node_of(store, clock, engine, wire) as node:
            await linked(node, engine)
            await clock.sleep(60)
            assert wire.heard == []
            began = clock.now()
            await log_out(node, engine)
            await heard(clock, wire, bool)
            assert clock.now() - began < 5.0
            [envelope] = wire.heard
            [alert] = await node.alerts.in_force()
            assert envelope["payload"] == alert
            assert (envelope["event"], envelope["session"], envelope["instance"]) == ("alert.raised", "shop", "one")
            assert (alert["kind"], alert["severity"], alert["code"]) == ("needs_qr", "critical", "logged_out")
            await clock.sleep(3600)
            await node.gateway.start("shop")
            await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE")
            await clock.sleep(400)
            assert wire.told() == [("raised", "needs_qr")], "showing a QR is no end of it"
            engine.scan("shop")
            await until(node, "shop", lambda v: v.status == "WORKING")
            await heard(clock, wire, lambda told: len(told) == 3)
            assert wire.told() == [("raised", "needs_qr"), ("resolved", "needs_qr"), ("all_well", "")]
            assert wire.heard[1]["payload"]["id"] == alert["id"]
            assert (await store.alerts(), await node.alerts.in_force()) == ({}, [])
            await clock.sleep(3600)
            assert len(wire.heard) == 3

    run(main)


def test_a_restart_tells_nothing_twice_and_goes_on_where_it_stood() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        async with memory_store(clock) as store:
            async with node_of(store, clock, engine, wire) as node:
                await linked(node, engine)
                await log_out(node, engine)
                await heard(clock, wire, bool)
            async with node_of(store, clock, engine, wire, "two") as node:
                await clock.sleep(3600)
                assert wire.told() == [("raised", "needs_qr")]
                assert [alert["instance"] for alert in await node.alerts.in_force()] == ["one"]
                await node.gateway.start("shop")
                await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE")
                engine.scan("shop")
                view = await until(node, "shop", lambda v: v.status == "WORKING")
                await store.write_engine("shop", view.epoch, EngineWrite({("creds", ""): b"{}"}))
                await heard(clock, wire, lambda told: told[-1][0] == "all_well")
            async with node_of(store, clock, engine, wire, "three"):
                await clock.sleep(3600)
            assert len(wire.heard) == 3

    run(main)


def test_what_nobody_holds_is_still_raised_and_what_is_deleted_is_over() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        async with memory_store(clock) as store:
            dies = instance(store, clock, engine)
            dies.alerts.run = partial(clock.sleep, 0)  # type: ignore[method-assign]  # before it could raise anything
            async with dies:
                await linked(dies, engine)
                await log_out(dies, engine)
            async with node_of(store, clock, engine, wire, "two") as node:
                await heard(clock, wire, lambda told: told == [("raised", "needs_qr")])
                await node.gateway.delete("shop")
                await heard(clock, wire, lambda told: [what for what, _ in told] == ["raised", "resolved", "all_well"])

    run(main)


def test_a_receiver_that_was_away_is_told_what_stands_not_what_was() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        wire.down.add(OPERATOR.url)
        async with memory_store(clock) as store, node_of(store, clock, engine, wire) as node:
            await linked(node, engine, "shop")
            await linked(node, engine, "bank")
            await log_out(node, engine)
            await clock.sleep(60)
            await node.gateway.start("shop")
            await until(node, "shop", lambda v: v.status == "SCAN_QR_CODE")
            engine.scan("shop")
            await until(node, "shop", lambda v: v.status == "WORKING")
            await clock.sleep(400)
            await log_out(node, engine, "bank")
            await clock.sleep(60)
            wire.down.clear()
            await heard(clock, wire, bool)
            await clock.sleep(400)
            assert [(e["session"], e["event"]) for e in wire.heard] == [("bank", "alert.raised")]

    run(main)


@pytest.mark.parametrize("kinds", [["stop"], ["stop", "logout"], ["logout", "stop"]])
def test_what_a_person_did_on_purpose_is_no_alert(kinds: list[str]) -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        async with memory_store(clock) as store, node_of(store, clock, engine, wire) as node:
            await linked(node, engine)
            for kind in kinds:
                await getattr(node.gateway, kind)("shop")
            await clock.sleep(3600)
            assert wire.heard == []

    run(main)


def test_a_qr_code_that_nobody_scans_after_a_logout_is_an_alert_as_soon_as_it_expired() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        async with memory_store(clock) as store, node_of(store, clock, engine, wire) as node:
            await linked(node, engine)
            await node.gateway.logout("shop")
            await clock.sleep(500)
            assert wire.heard == []
            await clock.sleep(3000)
            assert [(e["event"], e["payload"]["code"]) for e in wire.heard] == [("alert.raised", "pairing_expired")]

    run(main)


def test_an_outsider_raises_one_conflict_however_often_it_replaces_us() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        async with memory_store(clock) as store, node_of(store, clock, engine, wire) as node:
            await linked(node, engine)
            await store.write_engine(
                "shop", (await node.gateway.session("shop")).epoch, EngineWrite({("creds", ""): b"{}"})
            )
            for _ in range(3):
                engine.close_with("shop", 440, "replaced")
                await until(node, "shop", lambda v: v.reason in ("replaced", "conflict"))
                await until(node, "shop", lambda v: v.status == "WORKING", 900.0)
            await clock.sleep(200)
            assert wire.told() == [("raised", "conflict")]
            await heard(clock, wire, lambda told: told[1:] == [("resolved", "conflict"), ("all_well", "")])

    run(main)


def test_old_queues_and_dead_receivers_are_told_without_their_secrets() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        async with memory_store(clock) as store, node_of(store, clock, engine, wire) as node:
            await linked(node, engine)
            await node.gateway.update("shop", {"webhooks": [{"url": USERS, "events": ["*"]}]})
            wire.down.add(USERS)
            await store.append_events(
                "shop", [NewEvent("message.ack", {"id": "m", "chat": "1@c", "from_me": True, "ack": 1})]
            )
            node.delivery.wake("shop")
            engine.account("shop").down = (503, "stream:error", {})
            engine.close_with("shop", 428)
            await store.enqueue(replace(outgoing("o1"), session="shop", expires_at=clock.now() + 86_400), "f")
            await clock.sleep(290)
            assert wire.heard == []
            await heard(clock, wire, lambda told: len(told) == 2)
            assert sorted(wire.told()) == [("raised", "queue_old"), ("raised", "webhook_dead")]
            assert {e["payload"]["severity"] for e in wire.heard} == {"warning"}
            text = " ".join(e["payload"]["message"] for e in wire.heard)
            assert "hooks.test" in text
            assert "pass" not in text
            assert "token" not in text
            wire.down.clear()
            engine.account("shop").down = None
            await heard(clock, wire, lambda told: told[-1] == ("all_well", ""))
            assert sorted(wire.told()[2:4]) == [("resolved", "queue_old"), ("resolved", "webhook_dead")]

    run(main)


def test_a_queue_that_waits_by_the_sessions_own_limits_is_no_alarm() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        async with memory_store(clock) as store, node_of(store, clock, engine, wire) as node:
            await linked(node, engine)
            await node.gateway.update("shop", {"holdfast": {"pacing": {"new_chats_per_day": 1}}})
            for chat in ("40712345670@c.us", "40712345671@c.us"):
                await node.gateway.send("shop", chat, {"type": "text", "text": "hello"}, wait=0.0)
            await clock.sleep(1200)
            assert wire.heard == []
            engine.account("shop").down = (503, "stream:error", {})
            engine.close_with("shop", 428)
            await heard(clock, wire, lambda told: ("raised", "queue_old") in told)

    run(main)


def test_one_dead_receiver_is_one_alert_however_many_sessions_and_instances_have_it() -> None:
    async def main(clock: VirtualClock) -> None:
        engine, wire = ScriptedEngine(), Wire()
        other = ScriptedEngine(accounts=engine.accounts, peers=[engine])
        engine.peers = [other]
        names = ("bank", "cafe", "shop")
        async with (
            memory_store(clock) as store,
            node_of(store, clock, engine, wire) as node,
            node_of(store, clock, other, wire, "two"),
        ):
            wire.down.add(USERS)
            for name in names:
                view = await linked(node, engine, name)
                await store.write_engine(name, view.epoch, EngineWrite({("creds", ""): b"{}"}))
                await node.gateway.update(name, {"webhooks": [{"url": USERS, "events": ["*"]}]})
                ack = NewEvent("message.ack", {"id": "m", "chat": "1@c", "from_me": True, "ack": 1})
                await store.append_events(name, [ack])
                node.delivery.wake(name)
            await clock.sleep(1200)
            assert {view.owner for view in await node.gateway.sessions()} == {"one", "two"}, "they are shared"
            assert wire.told() == [("raised", "webhook_dead")]
            [alert] = await node.alerts.in_force()
            assert (alert["session"], alert["receiver"]) == (None, "hooks.test")
            assert alert["sessions"] == list(names)
            assert 'holdfast_alerts{kind="webhook_dead"} 1.0' in (await node.metrics.render()).decode()
            wire.down.clear()
            await heard(clock, wire, lambda told: told[-1] == ("all_well", ""))
            assert [what for what, _ in wire.told()] == ["raised", "resolved", "all_well"]
            assert wire.heard[1]["payload"]["id"] == wire.heard[0]["payload"]["id"]
            assert await store.outages() == {}

    run(main)
