"""One sidecar process: answers, refusals, nonsense, silence and death, with a small Python script in Node's place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast.domain.errors import EngineUnavailable, PairingRefused, Refused, StaleEpoch
from holdfast.engines.baileys.process import Sidecar, SidecarGone
from holdfast.runtime.clock import SystemClock

PRELUDE = """
import sys, json, msgpack
out, inp = sys.stdout.buffer, sys.stdin.buffer
def put(*frame):
    body = msgpack.packb(list(frame))
    out.write(len(body).to_bytes(4, 'big') + body); out.flush()
def take():
    head = inp.read(4)
    if len(head) < 4: sys.exit(0)
    return msgpack.unpackb(inp.read(int.from_bytes(head, 'big')), strict_map_key=False)
"""

ECHO = """
while True:
    frame = take()
    if frame[0] == 1: put(2, frame[1], frame[3])
    if frame[0] == 4 and frame[1] == 'ping': put(4, 'pong', [frame[2], 5.0])
"""


class Seen:
    def __init__(self) -> None:
        self.notes: list[tuple[str, Any]] = []
        self.exits: asyncio.Queue[str] = asyncio.Queue()
        self.answer: Callable[[str, Any], Any] = lambda method, args: args

    async def on_request(self, sidecar: Sidecar, method: str, args: Any) -> Any:
        return self.answer(method, args)

    def on_note(self, sidecar: Sidecar, name: str, value: Any) -> None:
        self.notes.append((name, value))

    def on_exit(self, sidecar: Sidecar, detail: str) -> None:
        self.exits.put_nowait(detail)


@asynccontextmanager
async def running(script: str) -> AsyncIterator[tuple[Sidecar, Seen]]:
    seen = Seen()
    sidecar = await Sidecar.spawn(
        [sys.executable, "-c", PRELUDE + script],
        env={},
        cwd="/",
        inherit_fds=(),
        clock=SystemClock(),
        on_request=seen.on_request,
        on_note=seen.on_note,
        on_exit=seen.on_exit,
    )
    try:
        yield sidecar, seen
    finally:
        await sidecar.stop(5.0)


async def test_answers_find_their_question() -> None:
    async with running(ECHO) as (sidecar, _):
        answers = await asyncio.gather(*(sidecar.request("echo", {"n": n}, 5) for n in range(100)))
    assert answers == [{"n": n} for n in range(100)]


async def test_a_refusal_becomes_the_error_of_its_code() -> None:
    async with running("frame = take(); put(3, frame[1], 'pairing_refused', 'No.', 0); take()") as (sidecar, _):
        with pytest.raises(PairingRefused, match=r"No\."):
            await sidecar.request("request_code", {}, 5)
    async with running("frame = take(); put(3, frame[1], 'refused', 'No.', 403); take()") as (sidecar, _):
        with pytest.raises(Refused) as caught:
            await sidecar.request("send", {}, 5)
        assert caught.value.facts == {"error": 403}


async def test_requests_of_the_sidecar_are_answered_and_refused() -> None:
    script = "put(1, 7, 'keys_get', {'a': 1}); frame = take(); put(4, 'got', frame); take()"

    def stale(method: str, args: Any) -> Any:
        raise StaleEpoch

    for answer, expected in ((lambda m, a: [m, a], [2, 7, ["keys_get", {"a": 1}]]), (stale, None)):
        async with running(script) as (_sidecar, seen):
            seen.answer = answer
            await _until(lambda seen=seen: seen.notes)
            name, frame = seen.notes[0]
        assert name == "got"
        assert frame == expected if expected else frame[:3] == [3, 7, "stale_epoch"]


async def test_closing_standard_input_ends_it() -> None:
    async with running(ECHO) as (sidecar, seen):
        await sidecar.request("echo", None, 5)
        await sidecar.stop(5.0)
        assert seen.exits.get_nowait() == "the engine process was stopped"


async def test_a_process_that_ignores_the_end_is_killed() -> None:
    async with running("put(4, 'up', 1)\nimport time\ntime.sleep(60)") as (sidecar, seen):
        await _until(lambda: seen.notes)
        await sidecar.stop(0.05)
        assert sidecar.gone.is_set()


async def test_nonsense_on_the_pipe_kills_it() -> None:
    async with running("print('hello, world, this is no frame at all', flush=True); take()") as (_sidecar, seen):
        detail = await asyncio.wait_for(seen.exits.get(), 5)
    assert "nonsense" in detail


async def test_death_fails_what_was_asked_and_is_told_once() -> None:
    async with running("take(); sys.exit(3)") as (sidecar, seen):
        with pytest.raises(SidecarGone):
            await sidecar.request("send", {}, 5)
        assert "exit code 3" in await asyncio.wait_for(seen.exits.get(), 5)
        with pytest.raises(SidecarGone):
            await sidecar.request("send", {}, 5)
    assert seen.exits.empty()


async def test_a_hung_process_is_killed() -> None:
    async with running("put(4, 'up', 1)\nimport time\ntime.sleep(60)") as (sidecar, seen):
        sidecar.watch(0.05, 0.3, 10**12)
        assert "did not answer" in await asyncio.wait_for(seen.exits.get(), 5)


async def test_a_process_that_uses_too_much_memory_is_killed() -> None:
    grow = ECHO.replace("while True:", "held = []\nwhile True:\n    held.append(b'x' * 4_000_000)")
    async with running(grow) as (sidecar, seen):
        sidecar.watch(0.01, 5, 100_000_000)
        detail = await asyncio.wait_for(seen.exits.get(), 20)
    assert sidecar.out_of_memory
    assert "may use 100 MB" in detail
    assert sidecar.memory() == 0


async def test_an_answering_process_lives_and_its_clock_is_never_overrated() -> None:
    before = SystemClock().boot()
    async with running(ECHO) as (sidecar, _seen):
        sidecar.watch(0.02, 5, 10**12)
        await _until(lambda: sidecar.boot_offset > float("-inf"))
        assert sidecar.boot_offset <= 5.0 - before  # the script's clock always says 5.0
        assert not sidecar.gone.is_set()


async def test_only_our_own_log_lines_pass(capfd: pytest.CaptureFixture[str]) -> None:
    script = """
own = {"holdfast": 1, "level": "warning", "event": "own words", "session": "s", "privKey": "SECRET1"}
own = json.dumps(own, separators=(",", ":"))
print("Closing session: SECRET2", file=sys.stderr)
print(own, file=sys.stderr, flush=True)
put(4, 'up', 1)
take()
"""
    async with running(script) as (_, seen):
        await _until(lambda: seen.notes)
    printed = "".join(capfd.readouterr())
    assert "own words" in printed
    assert "SECRET" not in printed


async def test_a_missing_program_is_explained() -> None:
    seen = Seen()
    with pytest.raises(EngineUnavailable, match="could not be started"):
        await Sidecar.spawn(
            ["/nowhere/node"],
            env={},
            cwd="/",
            inherit_fds=(),
            clock=SystemClock(),
            on_request=seen.on_request,
            on_note=seen.on_note,
            on_exit=seen.on_exit,
        )


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)
