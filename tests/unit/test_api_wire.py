"""Answers leave in one write, in order, and nothing of them is lost when the connection closes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from holdfast.api.wire import AT_ONCE, OneWrite


class Recorder:
    """A transport that notes what reaches it."""

    def __init__(self) -> None:
        self.did: list[Any] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.did.append(data)

    def write_eof(self) -> None:
        self.did.append("eof")

    def close(self) -> None:
        self.did.append("close")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
async def below() -> Recorder:
    return Recorder()


@pytest.fixture
async def transport(below: Recorder) -> OneWrite:
    return OneWrite(cast(asyncio.Transport, below))


async def test_head_and_body_are_one_write(below: Recorder, transport: OneWrite) -> None:
    transport.write(b"head")
    transport.write(b"body")
    assert below.did == []
    await asyncio.sleep(0)
    assert below.did == [b"headbody"]


async def test_answers_of_different_turns_are_writes_of_their_own(below: Recorder, transport: OneWrite) -> None:
    transport.write(b"one")
    await asyncio.sleep(0)
    transport.writelines([b"two", b"three"])
    await asyncio.sleep(0)
    assert below.did == [b"one", b"twothree"]


@pytest.mark.parametrize(("end", "word"), [("close", "close"), ("write_eof", "eof")])
async def test_the_end_comes_after_what_was_written(below: Recorder, transport: OneWrite, end: str, word: str) -> None:
    transport.write(b"last")
    getattr(transport, end)()
    await asyncio.sleep(0)
    assert below.did == [b"last", word]


async def test_a_long_body_is_not_hoarded(below: Recorder, transport: OneWrite) -> None:
    transport.write(b"x" * AT_ONCE)
    assert [len(data) for data in below.did] == [AT_ONCE]


async def test_nothing_is_written_to_a_connection_that_broke(below: Recorder, transport: OneWrite) -> None:
    transport.write(b"late")
    below.closing = True
    await asyncio.sleep(0)
    assert below.did == []


async def test_a_change_of_the_buffer_after_the_write_changes_nothing(below: Recorder, transport: OneWrite) -> None:
    buffer = bytearray(b"kept")
    transport.write(cast(bytes, buffer))
    buffer[:] = b"gone"
    await asyncio.sleep(0)
    assert below.did == [b"kept"]
