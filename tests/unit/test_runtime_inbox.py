"""A session's inbox goes on whatever somebody sends, and keeps what it could not read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog

from holdfast.domain import messages
from holdfast.domain.rows import EngineWrite, InboxRow
from holdfast.ports import engine as e
from holdfast.ports.store import Store
from holdfast.runtime import inbox
from holdfast.runtime.node import Node
from tests.support.instances import instance, linked, memory_store
from tests.support.scripted_engine import ScriptedEngine
from tests.support.virtual import VirtualClock, run

SENDER = "40722000111@s.whatsapp.net"
SECRET = "meet me at noon"


@pytest.fixture(autouse=True)
def fresh_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no earlier test's configuration is kept in."""
    monkeypatch.setattr(inbox, "log", structlog.get_logger("inbox"))


def stanza(id: str) -> InboxRow:
    attrs = {"id": id, "from": SENDER, "t": "1800000000"}
    return InboxRow(f"{SENDER}||{id}", "message", attrs, b"", {"conversation": f"{SECRET} {id}"})


@asynccontextmanager
async def working(clock: VirtualClock) -> AsyncIterator[tuple[Node, Store, ScriptedEngine]]:
    engine = ScriptedEngine()
    async with memory_store(clock) as store, instance(store, clock, engine) as node:
        await linked(node, engine)
        yield node, store, engine


async def receive(node: Node, store: Store, engine: ScriptedEngine, *ids: str) -> None:
    view = await node.gateway.session("shop")
    await store.write_engine("shop", view.epoch, EngineWrite(inbox=[stanza(each) for each in ids]))
    engine._emit(e.InboxStored("shop", engine.live["shop"].connection))


async def shown(node: Node, clock: VirtualClock, count: int) -> set[str]:
    """The texts of the chat's messages, once there are that many."""
    end = clock.boot() + 60
    while len(rows := await node.gateway.messages("shop", None, 50, 0)) < count:
        assert clock.boot() < end, [row.id for row in rows]
        await clock.sleep(0.1)
    return {row.id for row in rows}


def unreadable(lines: list[Any]) -> list[Mapping[str, Any]]:
    return [line for line in lines if (line.get("action"), line.get("code")) == ("inbox", "unreadable")]


def cannot_be_interpreted(row: InboxRow, me: Mapping[str, Any]) -> Any:
    if row.attrs["id"] == "BAD":
        raise ValueError(SECRET)
    return messages.interpret(row, me)


def cannot_be_stored(row: InboxRow, me: Mapping[str, Any]) -> Any:
    found = messages.interpret(row, me)
    if row.attrs["id"] != "BAD":
        return found
    return replace(found, messages=[replace(message, text=object()) for message in found.messages])


@pytest.mark.parametrize("bad", [cannot_be_interpreted, cannot_be_stored])
def test_one_bad_row_is_set_aside_and_stops_nobody(bad: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: VirtualClock) -> None:
        monkeypatch.setattr(inbox, "interpret", bad)
        async with working(clock) as (node, store, engine):
            with structlog.testing.capture_logs() as lines:
                await receive(node, store, engine, "A", "BAD", "B")
                assert await shown(node, clock, 2) == {"A", "B"}
                await receive(node, store, engine, "C")
                assert await shown(node, clock, 3) == {"A", "B", "C"}
            (told,) = unreadable(lines)
            assert (told["session"], told["kind"], told["log_level"]) == ("shop", "message", "error")
            assert SECRET not in str({name: value for name, value in told.items() if name != "exc_info"})
            assert await store.inbox_pending("shop", 10) == []
            kept = await store.inbox_find("shop", stanza("BAD").key)
            assert kept is not None
            assert kept.body == stanza("BAD").body
            figures = await store.figures()
            assert figures.unreadable["shop"].count == 1
            await clock.sleep(120)
            (alert,) = (await store.alerts())["shop"]
            assert alert["kind"] == "unreadable"
            await clock.sleep(3600)
            while await store.prune(60.0, events=60.0, dead=60.0):
                pass
            assert await store.inbox_find("shop", stanza("BAD").key) is not None, "kept for a release that can read it"
            assert await store.inbox_find("shop", stanza("A").key) is None

    run(main)


def test_what_is_told_beside_messages_cannot_stop_them_either() -> None:
    async def main(clock: VirtualClock) -> None:
        async with working(clock) as (node, store, engine):
            connection = engine.live["shop"].connection
            with structlog.testing.capture_logs() as lines:
                engine._emit(e.Synced("shop", connection, "chats", [{"id": SENDER, "conversationTimestamp": "soon"}]))
                engine._emit(e.Synced("shop", connection, "contacts", [{"id": SENDER, "notify": "Ana"}]))
                await receive(node, store, engine, "A")
                assert await shown(node, clock, 1) == {"A"}
            assert [line["kind"] for line in unreadable(lines)] == ["chats"]
            assert [row.push_name for row in await node.gateway.contacts("shop", 10, 0)] == ["Ana"]

    run(main)
