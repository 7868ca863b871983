"""Holdfast, its sidecar and a receiver under load, killed again and again; and whether all agree afterwards.

People write to the session and are written to, each in an order of their own. Whatever is killed is started again, as
by a supervisor. At the end the simulator's log, the store and the receiver must tell the same story.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.support.cluster import cluster
from tests.support.postgres import Postgres
from tests.support.processes import Holdfast, Process, Wasim
from tests.support.receiving import ReceiverProcess

SHOP = "40712345678"
WRITERS = [f"4071234560{number}" for number in range(3)]
READERS = [f"4071234570{number}" for number in range(3)]
FACTOR = 0.1
PATIENCE = 2.0
"""Seconds that somebody waits for WORKING before they restart the session: who crashes all the time is held off."""
STUCK = 45.0
"""Seconds without any progress after which what is missing is taken for lost."""
STRUCK = 30.0
"""Seconds within which a point that is armed must be passed."""

IN = (
    "message.decrypted",
    "inbox.committing",
    "store.committing",
    "store.committed",
    "inbox.committed",
    "message.stored",
    "message.receipted",
    "inbox.taken",
    "inbox.applied",
    "webhook.posting",
    "receiver.got",
    "receiver.kept",
    "webhook.answered",
    "webhook.settled",
)
"""The named points of the way in, in order."""
OUT = (
    "send.accepted",
    "send.claimed",
    "send.encrypting",
    "keys.committing",
    "keys.committed",
    "send.encrypted",
    "send.written",
    "ack.received",
    "ack.told",
    "ack.stored",
    "receipt.received",
    "receipt.stored",
)
"""The named points of the way out, in order."""


def scaled() -> dict[str, str]:
    """Settings under which pauses are short, while what watches over processes and connections keeps real times."""
    times = {"LEASE_TTL": 6, "LEASE_RENEW": 2, "LIVENESS_DEADLINE": 30, "HEALTH_INTERVAL": 30, "KEEPALIVE": 10}
    times |= {"CONNECT_TIMEOUT": 60, "LISTED_INTERVAL": 600, "WEBHOOK_HOLD": 900, "ALERT_QUEUE_AGE": 300}
    env = {f"HOLDFAST_{name}": str(seconds / FACTOR) for name, seconds in times.items()}
    return {**env, "HOLDFAST_TIME_FACTOR": str(FACTOR), "HOLDFAST_SEND_WAIT": "0.5"}


class Kept:
    """Starts a process again whenever it ended, as a supervisor would, until the block ends."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.deaths = 0

    async def __aenter__(self) -> Kept:
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _keep(self) -> None:
        while True:
            await self.process.child.wait()
            self.deaths += 1
            await self.process.stop()
            with contextlib.suppress(RuntimeError):  # it died while it started
                await self.process.start()


class Load:
    """What people write, and what is written to them, with the ids that it was accepted under."""

    def __init__(self, wasim: Wasim, instances: Sequence[Holdfast]) -> None:
        self._wasim, self._instances = wasim, instances
        self._stopping = asyncio.Event()
        self.written: dict[str, dict[str, str]] = {person: {} for person in WRITERS}
        """By person: text by message id, in order."""
        self.accepted: dict[str, dict[str, str]] = {person: {} for person in READERS}
        """By person: message id by text, in order."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Everybody begins."""
        lanes = [*(self._write(person) for person in WRITERS), *(self._send(person) for person in READERS)]
        self._tasks = [asyncio.create_task(lane) for lane in lanes]

    async def stop(self) -> None:
        """Everybody finishes what they began."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0.1, 0.4)):
                await self._stopping.wait()

    async def _write(self, person: str) -> None:
        for number in itertools.count():
            if self._stopping.is_set():
                return
            text = f"{person} wrote {number:05d}"
            told = await self._wasim.post("inject", {"from": person, "to": SHOP, "text": text})
            self.written[person][told["id"]] = text
            await self._pause()

    async def _send(self, person: str) -> None:
        """As a careful client does: one after the other, each repeated under its key until it was accepted."""
        for number in itertools.count():
            if self._stopping.is_set():
                return
            text = f"{person} reads {number:05d}"
            self.accepted[person][text] = await self._until_accepted(person, text)
            await self._pause()

    async def _until_accepted(self, person: str, text: str) -> str:
        body = {"session": "shop", "chatId": f"{person}@c.us", "text": text}
        for instance in itertools.cycle(self._instances):
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with instance.http.post(
                    f"{instance.url}/api/sendText",
                    json=body,
                    headers={"Idempotency-Key": text},
                    timeout=aiohttp.ClientTimeout(total=20),
                ) as answer:
                    said = await answer.json()
                    if answer.status in (201, 202):
                        return str(said["holdfast"]["id"])
                    assert answer.status in (500, 503), (answer.status, said)
            await asyncio.sleep(0.05)
        raise AssertionError


class Arena:
    """A started world: `crash` and `kill` while the load runs, then `agree`."""

    def __init__(
        self, wasim: Wasim, instances: Sequence[Holdfast], hook: ReceiverProcess, armed: Path, database: Postgres | None
    ) -> None:
        self.wasim, self.instances, self.hook, self.database = wasim, instances, hook, database
        self._armed = armed
        self.load = Load(wasim, instances)
        self.crashes = 0

    # --- killing ------------------------------------------------------------------------------------------------
    async def crash(self, point: str) -> None:
        """Whoever comes by that point next dies there."""
        struck = self._armed.with_name(f"{self._armed.name}.struck")
        struck.unlink(missing_ok=True)
        fresh = self._armed.with_name("arming")
        fresh.write_text(point)
        fresh.rename(self._armed)
        await until(lambda: _true(struck.exists()), STRUCK, f"nothing passed {point}")
        self.crashes += 1

    async def kill(self) -> None:
        """Kill -9 of anything: an instance, a sidecar, the receiver."""
        victims: list[Process] = [*self.instances, self.hook]
        victim = random.choice(victims)
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process = psutil.Process(victim.child.pid)
            if victim is not self.hook and random.random() < 0.5:
                process = random.choice(process.children() or [process])
            process.kill()
            self.crashes += 1

    # --- looking ------------------------------------------------------------------------------------------------
    async def ask(self, path: str, *, method: str = "GET", **query: str) -> Any:
        """The answer of whichever instance gives one, or None."""
        for instance in self.instances:
            with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError, TimeoutError):
                return await instance.ask(method, path, **query)
        return None

    async def until_working(self, timeout: float = 60.0) -> None:
        """Wait until the session is WORKING."""
        patience = time.monotonic() + PATIENCE

        async def works() -> bool:
            nonlocal patience
            view = await self.ask("/api/holdfast/sessions/shop")
            if view is not None and view["status"] != "WORKING" and time.monotonic() > patience:
                patience += PATIENCE
                await self.ask("/api/sessions/shop/restart", method="POST")
            return view is not None and view["status"] == "WORKING"

        await until(works, timeout, "the session is not WORKING")

    async def until_settled(self) -> None:
        """Wait until everything has arrived everywhere, for as long as something still arrives."""
        left, since = -1, time.monotonic()
        waiting = {id_ for ids in self.load.accepted.values() for id_ in ids.values()}
        while (untold := self._untold()) or waiting:
            for id_ in list(waiting):
                story = await self.ask(f"/api/holdfast/messages/{id_}", session="shop")
                if story is None or story["state"] not in ("delivered", "read"):
                    break
                waiting.discard(id_)
            if left != (left := len(untold) + len(waiting)):
                since = time.monotonic()
            stuck = f"stuck: not told of {untold[:3]}, not delivered {sorted(waiting)[:3]}"
            assert time.monotonic() - since < STUCK, stuck
            await asyncio.sleep(0.2)

    def _untold(self) -> list[str]:
        came = {plain(e["payload"]["id"]) for e in self.hook.came() if e["event"] == "message"}
        return [text for texts in self.load.written.values() for id_, text in texts.items() if id_ not in came]

    # --- judging ------------------------------------------------------------------------------------------------
    async def agree(self) -> str:
        """Hold receiver, store and simulator against each other; raises AssertionError with what does not agree."""
        self._receiver_agrees()
        await self._store_agrees()
        repeated = await self._simulator_agrees()
        inward = sum(map(len, self.load.written.values()))
        outward = sum(map(len, self.load.accepted.values()))
        seen = len(self.hook.came())
        again = seen - len({e["id"] for e in self.hook.came()})
        return (
            f"{self.crashes} crashes; {inward} in, {outward} out: 0 lost, 0 under two ids, order kept "
            f"({repeated} sent and {again} told again under the same id)"
        )

    def _receiver_agrees(self) -> None:
        """Each message once but for repeats under the same event id, each chat in order, acks only forward."""
        names: dict[tuple[str, Any], str] = {}
        order: dict[str, list[str]] = defaultdict(list)
        acks: dict[str, list[int]] = defaultdict(list)
        for event in self.hook.came():
            payload, kind = event["payload"], event["event"]
            assert "holdfast" not in event, f"marked {event['holdfast']}, though nothing was ever parked"
            if kind not in ("message", "message.ack"):
                continue
            fact = (payload["id"], payload["ack"] if kind == "message.ack" else None)
            first = names.setdefault(fact, event["id"])
            assert first == event["id"], f"{fact} was told as two events"
            if event["id"] in order[""]:
                continue
            order[""].append(event["id"])
            if kind == "message":
                order[payload["from"].split("@")[0]].append(payload["body"])
            else:
                acks[payload["id"]].append(payload["ack"])
        for person, texts in self.load.written.items():
            assert order[person] == list(texts.values()), f"{person}: {_difference(order[person], texts.values())}"
        wrong = {id_: levels for id_, levels in acks.items() if levels != sorted(set(levels))}
        assert not wrong, f"acks went backward: {wrong}"

    async def _store_agrees(self) -> None:
        for person, texts in [*self.load.written.items(), *self.load.accepted.items()]:
            known = texts.values() if person in self.load.written else texts.keys()
            stored = sorted([body async for body in self._bodies(person)])
            assert stored == sorted(known), f"{person}: {_difference(stored, sorted(known))}"

    async def _bodies(self, person: str) -> AsyncIterator[str]:
        for page in itertools.count():
            shown = await self.ask(f"/api/shop/chats/{person}@c.us/messages", limit="50", offset=str(page * 50))
            assert shown is not None, "no instance answers"
            for message in shown:
                yield message["body"]
            if len(shown) < 50:
                return

    async def _simulator_agrees(self) -> int:
        """What phones show: each accepted text under the one id, in order. How many came again under the same id."""
        repeated = 0
        for person, ids in self.load.accepted.items():
            shown = (await self.wasim.get(f"phones/{person}/messages"))["messages"]
            seen: dict[str, str] = {}
            for message in shown:
                first = seen.setdefault(message["text"], message["id"])
                assert first == message["id"], f"{message['text']!r} came under two ids"
            assert seen == ids, f"{person}: {_difference(seen, ids)}"
            assert list(seen) == list(ids), f"{person}: {_difference(list(seen), list(ids))}"
            repeated += len(shown) - len(seen)
        log = await self.wasim.get("log", kind="client-ack,receipt", limit=200_000)
        ours = [entry for entry in log if str(entry.get("jid", "")).startswith(f"{SHOP}:")]
        refused = [entry for entry in ours if entry["kind"] == "client-ack" and "error" in entry]
        assert not refused, f"stanzas refused: {refused[:3]}"
        receipted = {entry["id"] for entry in ours if entry["kind"] == "receipt"}
        bare = [text for texts in self.load.written.values() for id_, text in texts.items() if id_ not in receipted]
        assert not bare, f"never receipted: {bare[:3]}"
        return repeated


def plain(waha_id: str) -> str:
    """WhatsApp's id in WAHA's `false_40712345601@c.us_ID`."""
    return waha_id.split("_")[2]


def _difference(found: Iterable[str], wanted: Iterable[str]) -> str:
    found, wanted = list(found), list(wanted)
    for place, (one, other) in enumerate(itertools.zip_longest(found, wanted)):
        if one != other:
            return f"{len(found)} of {len(wanted)}; at {place} there is {one!r} where {other!r} should be"
    return "the same in another order"


async def _true(value: bool) -> bool:
    return value


async def until(holds: Callable[[], Awaitable[bool]], timeout: float, said: str | Callable[[], str]) -> None:
    """Wait until `holds` does. Raises AssertionError with what is said of it."""
    end = time.monotonic() + timeout
    while not await holds():
        assert time.monotonic() < end, said if isinstance(said, str) else said()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def arena(folder: Path, *, postgres: bool = False, instances: int = 1) -> AsyncIterator[Arena]:
    """Start everything, link the session, let the load run; at the end of the block everything is stopped."""
    armed = folder / "armed"
    switch = {"HOLDFAST_CRASH_FILE": str(armed)}
    async with cluster(folder, postgres=postgres) as world, AsyncExitStack() as stack:
        hook = await stack.enter_async_context(ReceiverProcess(folder, **switch))
        started = [await world.start(**scaled(), **switch) for _ in range(instances)]
        await started[0].link(world.wasim, "shop", SHOP, hook.config("message", "message.ack"))
        for person in (*WRITERS, *READERS):
            await world.wasim.post("phones", {"phone": person})
        for process in (hook, *started):
            await stack.enter_async_context(Kept(process))
        it = Arena(world.wasim, started, hook, armed, world.database)
        it.load.start()
        yield it
