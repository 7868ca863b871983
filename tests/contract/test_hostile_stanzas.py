"""Whatever a stranger puts into a stanza, it is stored or set aside, and never in the way of another (G3)."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.domain.ignored_chats import NOTHING
from holdfast.domain.rows import EngineWrite, InboxRow
from holdfast.runtime.inbox import Inbox
from holdfast.store import open_store
from tests.contract.conftest import MovedClock
from tests.contract.rows import PN
from tests.support.leases import take_lease

SECRET = b"\x01" * 32
CONTEXT = {"stanzaId": "Q1", "participant": PN, "quotedMessage": {"conversation": "q"}, "mentionedJid": [PN]}
FILE = {
    "url": "https://mmg.whatsapp.net/x", "directPath": "/x", "mediaKey": SECRET, "fileSha256": SECRET,
    "fileEncSha256": SECRET, "fileLength": 10, "mimetype": "image/jpeg", "contextInfo": CONTEXT,
}  # fmt: skip
KEY = {"remoteJid": PN, "fromMe": False, "id": "Q1", "participant": PN}
BODIES: list[dict[str, Any]] = [
    {"conversation": "hello"},
    {"extendedTextMessage": {"text": "hello", "title": "t", "description": "d", "contextInfo": CONTEXT}},
    {"imageMessage": {**FILE, "caption": "c", "width": 5, "height": 5}},
    {"documentMessage": {**FILE, "title": "t", "fileName": "letter.pdf", "caption": "c", "pageCount": 1}},
    {"audioMessage": {**FILE, "seconds": 5, "ptt": True}},
    {"stickerMessage": {**FILE}},
    {"contactMessage": {"displayName": "Ana", "vcard": "BEGIN:VCARD"}},
    {"locationMessage": {"degreesLatitude": 1.5, "degreesLongitude": 2.5, "name": "n", "address": "a", "url": "u"}},
    {"pollCreationMessage": {"name": "p", "options": [{"optionName": "a"}, {"optionName": "b"}]}},
    {"reactionMessage": {"key": KEY, "text": "x", "senderTimestampMs": 5}},
    {"protocolMessage": {"key": KEY, "type": "REVOKE"}},
    {"protocolMessage": {"key": KEY, "type": "MESSAGE_EDIT", "editedMessage": {"conversation": "e"}, "timestampMs": 5}},
    {"protocolMessage": {"type": "EPHEMERAL_SETTING", "ephemeralExpiration": 86400}},
    {"eventMessage": {"name": "Party", "description": "d", "location": {"name": "n"}, "startTime": 5}},
    {"listResponseMessage": {"title": "t", "singleSelectReply": {"selectedRowId": "r"}, "description": "d"}},
    {"interactiveResponseMessage": {"nativeFlowResponseMessage": {"name": "n", "paramsJson": "{\"id\": 5}"}}},
    {"templateMessage": {"hydratedTemplate": {"hydratedContentText": "t", "documentMessage": {**FILE}}}},
    {"orderMessage": {"orderId": "o", "itemCount": 1, "message": "m", "totalAmount1000": 5}},
]  # fmt: skip
HOSTILE = ["\x00", "a\x00b", "\ud800", "x\udfffy", "\x00" * 50, "9" * 400, "\u202e", "image/png\r\nX: y", "", "{}"]
LONG = st.integers(501, 5_000).map(lambda size: random.Random(size).randbytes(size).hex())
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=30), LONG)
NUMBER = st.sampled_from([0, -1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 2**63, 2**64 - 1])
FRACTION = st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e308, -0.0])
NAMES = st.sampled_from([name for body in BODIES for name in body])
FORMLESS = st.recursive(
    st.one_of(st.none(), TEXT, NUMBER, FRACTION), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place in a body at which a plain value stands, with it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from leaves(inner, (*path, name))
    if not isinstance(value, dict | list):
        yield path, value


@st.composite
def stanzas(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attributes and a body as phones send them, some of whose values are of the right type and otherwise hostile."""
    body: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(BODIES)))
    places = list(leaves(body))
    for path, before in draw(st.lists(st.sampled_from(places), max_size=4)):
        at = body
        for name in path[:-1]:
            at = at[name]
        kinds = {str: TEXT, int: NUMBER, float: FRACTION, bytes: st.binary(max_size=40), bool: st.booleans()}
        if path[-1] != "type":
            at[path[-1]] = draw(kinds[type(before)])
    attrs = {"from": PN, "t": "1800000000", "notify": "Ana", "participant_pn": PN}
    for name in draw(st.lists(st.sampled_from(["t", "notify", "id", "verified_name", "addressing_mode"]), max_size=2)):
        attrs[name] = draw(TEXT)
    return attrs, body


class Stage:
    """A store that stays open for all examples, and a session's inbox over it."""

    def __init__(self, url: str) -> None:
        self.runner, self.numbers, self.clock = asyncio.Runner(), count(), MovedClock()
        self.store = open_store(url, self.clock, boot_id="boot-1")
        self.runner.run(self._open())

    async def _open(self) -> None:
        await self.store.open()
        await self.store.create_session("a", "baileys", {}, "running")
        await take_lease(self.store, "a", "one", 1e9)
        actor: Any = SimpleNamespace(
            name="a", me={"phone": "40700000001", "lid": "9@lid"}, held=SimpleNamespace(epoch=1),
            row=SimpleNamespace(config={}), timers=None,
        )  # fmt: skip
        hub: Any = SimpleNamespace(message_settled=lambda *_: None, events_appended=lambda *_: None)
        self.inbox = Inbox(actor, self.store, self.clock, hub, ignore=NOTHING)

    def receive(self, attrs: dict[str, Any], body: dict[str, Any]) -> tuple[bool, bool]:
        """Whether the stanza was set aside, and whether the message behind it arrived."""
        return self.runner.run(self._receive(attrs, body))

    async def _receive(self, attrs: dict[str, Any], body: dict[str, Any]) -> tuple[bool, bool]:
        number = next(self.numbers)
        key = f"{PN}||{attrs.get('id', '')}{number}"
        before = (await self.store.figures()).unreadable.get("a")
        there = {"id": f"G{number}", "from": PN, "t": "1800000000"}
        good = InboxRow(f"good{number}", "message", there, b"x", {"conversation": "g"})
        hostile = InboxRow(key, "message", {"id": f"H{number}", **attrs}, b"plain", body)
        await self.store.write_engine("a", 1, EngineWrite({}, [hostile, good]))
        assert await self.store.inbox_find("a", key) is not None, "not found when it comes again"
        while await self.inbox._batch():
            pass
        assert await self.store.inbox_pending("a", 10) == []
        after = (await self.store.figures()).unreadable.get("a")
        kept = await self.store.inbox_find("a", key)
        assert kept is not None
        assert kept.plaintext == b"plain"
        return after != before, await self.store.message("a", f"G{number}") is not None

    def close(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()


@pytest.fixture
def stage(store_url: str) -> Iterator[Stage]:
    found = Stage(store_url)
    yield found
    found.close()


@pytest.mark.parametrize("kind", ["inline", "postgres"], indirect=True)
@settings(
    max_examples=150, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip
@given(stanza=stanzas())
def test_hostile_values_are_stored_and_stop_nobody(stage: Stage, stanza: tuple[dict[str, Any], dict[str, Any]]) -> None:
    set_aside, arrived = stage.receive(*stanza)
    assert arrived, "the message behind it did not arrive"
    assert not set_aside, "kept, but no message was made of it"


@pytest.mark.parametrize("kind", ["inline", "postgres"], indirect=True)
@settings(
    max_examples=80, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip
@given(body=st.dictionaries(NAMES, FORMLESS, max_size=3))
def test_what_is_of_no_known_form_is_kept_and_stops_nobody(stage: Stage, body: dict[str, Any]) -> None:
    _, arrived = stage.receive({"from": PN, "t": "1800000000"}, body)
    assert arrived


@pytest.mark.parametrize("kind", ["inline", "postgres"], indirect=True)
def test_endless_depth_is_kept(stage: Stage) -> None:
    body: dict[str, Any] = {"conversation": "deep"}
    for _ in range(2_000):
        body = {"extendedTextMessage": {"text": "t", "contextInfo": {"quotedMessage": body}}}
    _, arrived = stage.receive({"from": PN, "t": "1800000000"}, body)
    assert arrived
