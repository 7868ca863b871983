"""What is measured: each function gives figures, from processes that a run started."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from bench.figures import Figure, at_least, at_most, below
from tests.support.processes import KEY, Floor, Holdfast, Receiver, Wasim

Step = Callable[..., None]
"""Told what is being done, and, where that is known, how much of it is done, and of how much."""
ONE_LOGIN_TARGET = 0.65
ROUNDS = 5
"""Turns of two loads that are compared; the first warms up and is not counted."""


def names(count: int) -> list[str]:
    """Session names."""
    return [f"s{number:03d}" for number in range(count)]


def phone(number: int) -> str:
    """A phone number for session `number`."""
    return f"4071000{number:04d}"


async def link_all(wasim: Wasim, holdfast: Holdfast, count: int, step: Step, config: Any = None) -> None:
    """Link `count` sessions, eight at a time."""
    gate = asyncio.Semaphore(8)
    done = 0

    async def one(number: int, name: str) -> None:
        nonlocal done
        async with gate:
            await holdfast.link(wasim, name, phone(number), config)
        done += 1
        step(f"linking {done}/{count}")

    await asyncio.gather(*(one(number, name) for number, name in enumerate(names(count))))


def copy_credentials(folder: Path, target: Path) -> None:
    """The same accounts for the floor."""
    target.unlink(missing_ok=True)
    with sqlite3.connect(target) as db:
        db.execute(f"ATTACH '{folder / 'holdfast.sqlite3'}' AS source")
        db.execute(
            "CREATE TABLE credential (session_name TEXT, type TEXT, id TEXT, value BLOB, "
            "PRIMARY KEY (session_name, type, id)) WITHOUT ROWID"
        )
        db.execute("INSERT INTO credential SELECT session_name, type, id, value FROM source.credential")


async def restore(
    wasim: Wasim, holdfast: Holdfast, folder: Path, count: int, step: Step
) -> tuple[float, float, float, float]:
    """Seconds from process start to all logged in, and memory in MB then: Holdfast's, and the floor's."""
    step(f"restoring {count}: Holdfast")
    await holdfast.stop()
    since = await wasim.seq()
    started = time.time()
    await holdfast.start()
    logins = await wasim.until_logins(since, count)
    ours = logins[-1]["t"] - started
    await settle(holdfast, count)
    our_memory = holdfast.memory()
    await holdfast.stop()
    step(f"restoring {count}: floor")
    copy_credentials(folder, folder / "floor.sqlite3")
    since = await wasim.seq()
    floor = Floor(wasim, folder / "floor.sqlite3", names(count))
    started = time.time()
    async with floor:
        logins = await wasim.until_logins(since, count)
        theirs = logins[-1]["t"] - started
        await asyncio.sleep(2)
        floor_memory = floor.memory()
    return_credentials(folder)
    await holdfast.start()
    await wasim.until_logins(since, 2 * count)
    return ours, theirs, our_memory, floor_memory


def return_credentials(folder: Path) -> None:
    """What the floor changed in the accounts' keys goes back, or the ratchets would not fit any more."""
    with sqlite3.connect(folder / "holdfast.sqlite3") as db:
        db.execute(f"ATTACH '{folder / 'floor.sqlite3'}' AS floor")
        db.execute("DELETE FROM credential")
        db.execute("INSERT INTO credential SELECT session_name, type, id, value FROM floor.credential")


async def settle(holdfast: Holdfast, count: int) -> None:
    """Wait until all sessions are WORKING and the first bustle is over."""
    while True:
        views = await holdfast.ask("GET", "/api/sessions")
        if sum(view["status"] == "WORKING" for view in views) >= count:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)


async def gap_of_restart(wasim: Wasim, holdfast: Holdfast, step: Step) -> Figure:
    """B4: how long a session has no connection when its only instance is restarted by SIGTERM."""
    step("restarting one instance")
    gaps = []
    for _ in range(3):
        since = await wasim.seq()
        await holdfast.stop()
        await holdfast.start()
        await wasim.until_logins(since, 1)
        ended = await wasim.get("log", since=since, kind="disconnected")
        back = await wasim.get("log", since=since, kind="offline-done")
        gaps.append(back[0]["t"] - ended[0]["t"])
        await settle(holdfast, 1)
    return below(
        "B4.restart", "restart (SIGTERM): without a connection", "s", statistics.median(gaps), ONE_LOGIN_TARGET
    )


async def sending(
    wasim: Wasim, holdfast: Holdfast, folder: Path, step: Step, count: int = 300, *, sessions: int = 1
) -> list[Figure]:
    """B5: accepted over REST until the server's ack, one at a time and ten at once; with several sessions each sends
    for itself.
    """
    senders = names(sessions)
    targets = [f"4072000{number:04d}" for number in range(10)]
    for target in targets:
        await wasim.post("phones", {"phone": target})
    rates = {}
    for parallel in (1, 10):
        step(f"sending, {parallel} at once: Holdfast")
        chats = targets[:parallel]
        await _send(holdfast, senders, chats, parallel * 2, parallel)
        seconds = await _send(holdfast, senders, chats, count, parallel)
        rates[parallel] = count / seconds
    await holdfast.stop()
    copy_credentials(folder, folder / "floor.sqlite3")
    floors = {}
    async with Floor(wasim, folder / "floor.sqlite3", senders) as floor:
        await floor.until("open")
        for parallel in (1, 10):
            step(f"sending, {parallel} at once: floor")
            jids = [f"{target}@s.whatsapp.net" for target in targets[:parallel]]
            for total in (parallel * 2, count):
                await floor.command(do="send", session=senders, to=jids, count=total, parallel=parallel)
                sent = await floor.until("sent")
            floors[parallel] = count / sent["seconds"]
    return_credentials(folder)
    await holdfast.start()
    await settle(holdfast, sessions)
    among, mark = (f", {sessions} sessions", f"x{sessions}") if sessions > 1 else ("", "")
    return [
        at_least(f"B5@1{mark}", f"sends per second, one chat in sequence{among}", "/s", rates[1], floors[1], 0.8, 285),
        at_least(f"B5@10{mark}", f"sends per second, ten at once{among}", "/s", rates[10], floors[10], 0.8, 621),
    ]


async def _send(holdfast: Holdfast, senders: list[str], chats: list[str], count: int, parallel: int) -> float:
    started, left = time.perf_counter(), iter(range(count))

    async def worker(lane: int) -> None:
        for number in left:
            chat, session = f"{chats[lane % len(chats)]}@c.us", senders[lane % len(senders)]
            body = {"session": session, "chatId": chat, "text": f"message {number}"}
            answer = await holdfast.ask("POST", "/api/sendText", body)
            if answer["ack"] < 1:
                raise RuntimeError(f"not acknowledged: {answer['holdfast']}")

    await asyncio.gather(*(worker(lane) for lane in range(parallel)))
    return time.perf_counter() - started


async def receiving(
    wasim: Wasim, holdfast: Holdfast, folder: Path, step: Step, count: int = 300, *, sessions: int = 1
) -> list[Figure]:
    """B6: from the simulator's sending to the webhook; the floor is Baileys' event. Several sessions hear in turn."""
    async with Receiver() as receiver:
        for name in names(sessions):
            await holdfast.ask("PUT", f"/api/sessions/{name}", {"config": receiver.config("message")})
        step("receiving: Holdfast")
        sent = await _inject(wasim, count, sessions)
        await receiver.until(lambda: len(receiver.texts()) >= count)
        came_at = {e["payload"]["id"].split("_")[2]: receiver.arrived[e["id"]] for e in receiver.envelopes}
        ours = [(came_at[key] - at) * 1000 for key, at in sent.items()]
        for name in names(sessions):
            await holdfast.ask("PUT", f"/api/sessions/{name}", {"config": {}})
    await holdfast.stop()
    copy_credentials(folder, folder / "floor.sqlite3")
    step("receiving: floor")
    came: dict[str, float] = {}
    async with Floor(wasim, folder / "floor.sqlite3", names(sessions)) as floor:
        await floor.until("open")
        task = asyncio.create_task(_inject(wasim, count, sessions))
        while len(came) < count:
            event = await floor.until("message")
            came[event["id"]] = event["at"]
        sent = await task
    theirs = [(came[key] - at) * 1000 for key, at in sent.items() if key in came]
    return_credentials(folder)
    await holdfast.start()
    await settle(holdfast, sessions)
    floor_p50, p50 = statistics.median(theirs), statistics.median(ours)
    p99, floor_p99 = (statistics.quantiles(values, n=100)[98] for values in (ours, theirs))
    among, mark = (f", {sessions} sessions", f"@{sessions}") if sessions > 1 else ("", "")
    what = f"receive{among}: until the webhook has it"
    return [
        below(f"B6.p50{mark}", f"{what}, p50", "ms", p50, floor_p50 + 10, round(floor_p50, 2)),
        Figure(
            f"B6.p99{mark}", f"{what}, p99", "ms", round(p99, 2), round(floor_p99, 2),
            round(p99 / floor_p99, 2), "shown", True,
        ),
    ]  # fmt: skip


async def _inject(wasim: Wasim, count: int, sessions: int = 1) -> dict[str, float]:
    """A phone writes to the sessions in turn, one message after the other; when each was sent, by id."""
    sent = {}
    for number in range(count):
        at = time.time()
        found = await wasim.post(
            "inject", {"from": "40730000001", "to": phone(number % sessions), "text": f"hello {number}"}
        )
        sent[found["id"]] = at
        await asyncio.sleep(0.004)
    return sent


async def status(holdfast: Holdfast, step: Step, seconds: float = 1.0) -> list[Figure]:
    """B7: status requests per second, against an answer that is constant; in turns, since a machine's pace drifts."""
    step("asking for the status")
    constant, asked = "/ping", "/api/sessions/s000"
    rounds = []
    for _ in range(ROUNDS + 1):
        floor, _ = await _load(holdfast, constant, seconds)
        rounds.append((floor, *await _load(holdfast, asked, seconds)))
    floors, rates, p99s = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
    return [
        at_least("B7", "status requests per second", "/s", rates, floors, 0.7),
        Figure("B7.p99", "status, p99", "ms", round(p99s * 1000, 2), None, None, "shown", True),
    ]


async def _load(holdfast: Holdfast, path: str, seconds: float) -> tuple[float, float]:
    """Requests per second and p99 in seconds, 16 connections."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def worker(http: aiohttp.ClientSession) -> None:
        while (began := time.perf_counter()) < end:
            async with http.get(holdfast.url + path) as answer:
                await answer.read()
            times.append(time.perf_counter() - began)

    async with aiohttp.ClientSession(headers={"X-Api-Key": KEY}, connector=aiohttp.TCPConnector(limit=16)) as http:
        await asyncio.gather(*(worker(http) for _ in range(16)))
    return len(times) / seconds, statistics.quantiles(times, n=100)[98]


def restored(count: int, ours: float, theirs: float) -> Figure:
    """B1."""
    return at_most(f"B1@{count}", f"restore {count} sessions, process start to all logged in", "s", ours, theirs, 1.3)


def memory(few: tuple[int, float, float], many: tuple[int, float, float]) -> list[Figure]:
    """B2, from (sessions, our MB, floor's MB) at two sizes."""
    more = many[0] - few[0]
    ours, theirs = (many[1] - few[1]) / more, (many[2] - few[2]) / more
    limit = 1.3 * many[2] + 80
    return [
        at_most("B2.each", "memory per further session", "MB", ours, theirs, 1.3),
        below(f"B2@{many[0]}", f"memory of instance and sidecar, {many[0]} sessions", "MB", many[1], limit, many[2]),
    ]
