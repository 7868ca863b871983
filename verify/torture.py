"""The real thing: three instances, thirty sessions, real sidecars, a real PostgreSQL, and no peace for minutes (G1-G4).

Each instance reaches the database and WhatsApp over networks of its own, which the faults cut: what was under way to
the database is held back and arrives late, after the lease has gone to another. All the while people write both ways.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil

from tests.support.cluster import Cluster, cluster, me, owner, until_owner
from tests.support.processes import Holdfast, Process, Receiver
from tests.support.wire import Wire
from verify.harness import alone, words
from verify.instances import ANA, SHOP, send, two
from verify.relay import Relay

INSTANCES, SESSIONS, ROUNDS = 3, 30, 3
STOPPED = 60.0
"""Seconds for which a Python process is stopped: four leases."""
PAUSE = 4.0
"""Seconds between two exchanges of one session."""
HEALED = 60.0
"""Seconds after a round's last fault by which all sessions WORK: a lease, a back-off, a login."""


def ours(number: int) -> str:
    """The phone of a session."""
    return f"4071000{number:04d}"


def theirs(number: int) -> str:
    """Who writes with it."""
    return f"4072000{number:04d}"


class Torture:
    """The cluster, the networks of its instances, and who writes with whom."""

    def __init__(self, world: Cluster, hook: Receiver) -> None:
        self.world, self.hook = world, hook
        self.instances: list[Holdfast] = []
        self.wires: list[Wire] = []
        self.relays: list[Relay] = []
        self.done = [0] * SESSIONS
        """Exchanges of each session that were accepted, both ways."""
        self.peace = asyncio.Event()
        self.doing = "linking"
        """For who has to tell when something went wrong."""
        self._down: set[int] = set()
        """Instances that we ended."""
        self._anyone = cycle(range(INSTANCES))

    async def start(self, stack: AsyncExitStack) -> None:
        """All instances, then all sessions, linked through the first."""
        assert self.world.database is not None
        for _ in range(INSTANCES):
            wire = await stack.enter_async_context(Wire(self.world.database))
            relay = await stack.enter_async_context(Relay(self.world.wasim))
            env = {"HOLDFAST_DATABASE_URL": wire.dsn("holdfast"), "HOLDFAST_WHATSAPP_URL": relay.url}
            self.instances.append(await self.world.start(**env))
            self.wires.append(wire)
            self.relays.append(relay)
        gate = asyncio.Semaphore(4)

        async def link(number: int) -> None:
            async with gate:
                await self.world.wasim.post("phones", {"phone": theirs(number)})
                at = self.instances[number % INSTANCES]
                await at.link(self.world.wasim, f"s{number}", ours(number), self.hook.config("message"))

        await asyncio.gather(*(link(number) for number in range(SESSIONS)))

    async def guard(self) -> None:
        """Raises AssertionError when something ends that nobody ended."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._guard(self.world.wasim, "the simulator", "wasim.log"))
            for number, instance in enumerate(self.instances):
                group.create_task(self._guard(instance, f"instance {number}", "holdfast.log", number))

    async def _guard(self, process: Process, name: str, log: str, number: int | None = None) -> None:
        folder = process.folder if isinstance(process, Holdfast) else self.world.folder
        while True:
            child = process.child
            code = await child.wait()
            if number not in self._down:
                said = (folder / log).read_text(errors="replace").splitlines()[-1:]
                raise AssertionError(f"{name} ended by itself with {code}; its last line: {''.join(said)[:300]}")
            while process.child is child:
                await asyncio.sleep(0.1)

    # --- people ---------------------------------------------------------------------------------------------------
    async def talk(self, number: int) -> None:
        """Both ways, until there is peace. Who gets no answer asks another instance, under the same key."""
        while not self.peace.is_set():
            turn = self.done[number]
            text = f"in {number} {turn:03d}"
            await self.world.wasim.post("inject", {"from": theirs(number), "to": ours(number), "text": text})
            while not await self.send(number, f"out {number} {turn:03d}"):
                await asyncio.sleep(0.5)
            self.done[number] += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self.peace.wait()

    async def send(self, number: int, text: str) -> bool:
        """Whether some instance took it."""
        instance = self.instances[next(self._anyone)]
        body = {"session": f"s{number}", "chatId": f"{theirs(number)}@c.us", "text": text}
        limit = aiohttp.ClientTimeout(total=8)
        try:
            async with instance.http.post(
                f"{instance.url}/api/sendText", json=body, headers={"Idempotency-Key": text}, timeout=limit
            ) as answer:
                said = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return False
        assert answer.status in (201, 202) or answer.status >= 500, f"{text}: {answer.status} {said}"
        return answer.status < 300

    # --- faults ---------------------------------------------------------------------------------------------------
    async def hurt(self, first: int) -> float:
        """One round of all faults, with roles that move on; seconds of healing after the last."""
        a, b, c = ((first + step) % INSTANCES for step in range(INSTANCES))
        self._now(first, f"instance {a} stopped")
        os.kill(self.instances[a].child.pid, signal.SIGSTOP)
        end = time.time() + STOPPED
        try:
            await asyncio.sleep(2)
            self._now(first, f"instance {a} stopped, {b} cut off from the database")
            self.wires[b].hold()
            await asyncio.sleep(20)
            self.wires[b].flow()
            await asyncio.sleep(4)
            self._now(first, f"instance {a} stopped, the database starting anew")
            await self.restart_database()
            await asyncio.sleep(4)
            self._now(first, f"instance {a} stopped, {c} cut off from WhatsApp")
            await self.relays[c].become("closed")
            await asyncio.sleep(8)
            await self.relays[c].become("open")
            self._now(first, f"instance {a} stopped, {c} killed and starting anew")
            self._down.add(c)
            await self.instances[c].stop(signal.SIGKILL)
            await asyncio.sleep(2)
            await self.instances[c].start()
            self._down.discard(c)
            await asyncio.sleep(max(0.0, end - time.time()))
        finally:
            self.wires[b].flow()
            with suppress(ProcessLookupError):
                os.kill(self.instances[a].child.pid, signal.SIGCONT)
        self._now(first, "healing")
        return await self.healed()

    def _now(self, first: int, what: str) -> None:
        self.doing = f"round {first + 1} of {ROUNDS}, {what}"

    async def restart_database(self) -> None:
        """As after a crash."""
        database = self.world.database
        assert database is not None
        await asyncio.to_thread(database.stop, "immediate")
        await asyncio.sleep(2)
        await asyncio.to_thread(database.start)

    async def healed(self) -> float:
        """Seconds until every instance has said of every session that it is WORKING; some are handed over meanwhile."""
        began = time.time()
        took = 0.0
        left = {(at, f"s{number}") for at in range(INSTANCES) for number in range(SESSIONS)}
        while left:
            for at, instance in enumerate(self.instances):
                views = await instance.ask("GET", "/api/holdfast/sessions")
                left -= {(at, view["name"]) for view in views if view["status"] == "WORKING"}
            took = time.time() - began
            assert took < HEALED, f"{len(left)} not WORKING {took:.0f} s after the last fault: {sorted(left)[:5]}"
            await asyncio.sleep(0.2)
        return took

    # --- what came of it ------------------------------------------------------------------------------------------
    async def all_arrived(self) -> None:
        """Receiver, store and WhatsApp have every message of every session, once, in order."""
        found = await asyncio.gather(*(self._differences(number) for number in range(SESSIONS)))
        wrong = [said for said in found if said]
        assert not wrong, f"{len(wrong)} of {SESSIONS} sessions: {'; '.join(wrong)}"

    async def _differences(self, number: int) -> str:
        came_in = [f"in {number} {turn:03d}" for turn in range(self.done[number])]
        went_out = [f"out {number} {turn:03d}" for turn in range(self.done[number])]
        with suppress(AssertionError):  # what is missing is told below
            await self.hook.until(lambda: len(self.hook.texts(f"s{number}")) >= len(came_in), timeout=60)
        end = time.time() + 60
        while len(shown := await self._on_the_phone(number)) < len(went_out) and time.time() < end:
            await asyncio.sleep(0.2)
        chat = f"/api/s{number}/chats/{theirs(number)}@c.us/messages"
        stored = [row["body"] for row in await self.instances[0].ask("GET", chat, limit="1000", downloadMedia="false")]
        sides = {
            "receiver": (self.hook.texts(f"s{number}"), came_in),
            "phone": (shown, went_out),
            "store": (sorted(stored), sorted(came_in + went_out)),
        }
        wrong = [f"{side} {_differ(found, wanted)}" for side, (found, wanted) in sides.items() if found != wanted]
        return f"s{number}: {', '.join(wrong)}" if wrong else ""

    async def _on_the_phone(self, number: int) -> list[str]:
        """In the order in which WhatsApp took them: one that a phone has to ask for again is shown later. What was sent
        again is one if its id is the same, as phones take it.
        """
        seen: dict[str, Any] = await self.world.wasim.get(f"phones/{theirs(number)}/messages")
        texts = {message["id"]: message["text"] for message in seen["messages"] if not message["from_me"]}
        taken = await self.world.wasim.get("log", since=0, kind="message", jid=ours(number), limit=100_000)
        order = list(dict.fromkeys(entry["id"] for entry in taken))
        return [texts[known] for known in sorted(texts, key=order.index)]


def _differ(found: list[str], wanted: list[str]) -> str:
    """What is too few, too many, or out of order."""
    few, many = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    said = f"{len(found)} of {len(wanted)}: {sorted(few)[:5]} missing, {sorted(many)[:5]} too many"
    return said if few or many else f"out of order: {found[:20]}"


@alone(
    "G1.torture",
    f"{INSTANCES} instances, {SESSIONS} sessions, {ROUNDS} rounds of kill -9, SIGSTOP, database crash, cuts: "
    "never two, nothing lost, twice or unreadable",
    timeout=600.0,
)
async def torture() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with cluster(Path(folder), postgres=True) as world, Receiver() as hook, AsyncExitStack() as stack:
            victim = Torture(world, hook)
            try:
                return await _through(victim, stack)
            except Exception as error:
                raise AssertionError(f"{victim.doing}: {words(error)}") from error


async def _through(victim: Torture, stack: AsyncExitStack) -> str:
    """Everything, from linking to what came of it."""
    await victim.start(stack)
    async with asyncio.TaskGroup() as group:
        guard = group.create_task(victim.guard())
        async with asyncio.TaskGroup() as people:
            for number in range(SESSIONS):
                people.create_task(victim.talk(number))
            healing = [await victim.hurt(first) for first in range(ROUNDS)]
            victim.peace.set()
        victim.doing = "all is well again, comparing"
        await victim.all_arrived()
        guard.cancel()
    wasim = victim.world.wasim
    assert await victim.world.overlaps() == []
    replaced = await wasim.get("log", since=0, kind="replaced,login-refused", limit=100_000)
    assert replaced == [], replaced[:5]
    receipts = await wasim.get("log", since=0, kind="receipt", limit=100_000)
    again = [entry for entry in receipts if entry.get("type") == "retry"]
    assert again == [], f"{len(again)} could not be read, and were asked for again: {again[:3]}"
    return (
        f"{2 * sum(victim.done)} messages, all of them readable; no session without a connection for more than "
        f"{await victim.world.away():.0f} s; all WORKING {max(healing):.0f} s after the faults ended"
    )


@alone("G1.frozen", "a whole instance frozen, sidecar and all: the next one wins, and it writes nothing when it wakes")
async def frozen() -> str:
    async with two(postgres=True) as (world, first, second, hook):
        mine = await me(second)
        whole = psutil.Process(first.child.pid)
        family = [whole, *whole.children(recursive=True)]
        for process in family:
            process.suspend()
        try:
            await world.wasim.post("inject", {"from": ANA, "to": SHOP, "text": "to the frozen one"})
            await until_owner(second, mine)
            await hook.until(lambda: hook.texts() == ["to the frozen one"])
            await send(second, "from the next")
            seen = await world.wasim.seq()
            before = await _written(world)
        finally:
            for process in family:
                process.resume()
        end = time.time() + 15
        while time.time() < end:
            assert await owner(second) == mine
            await asyncio.sleep(0.5)
        assert await owner(first) == mine
        assert await _written(world) == before, "it wrote after it was replaced"
        assert await world.wasim.get("log", since=seen, kind="login") == [], "it fought for the connection"
        await world.wasim.post("inject", {"from": ANA, "to": SHOP, "text": "afterwards"})
        await hook.until(lambda: hook.texts() == ["to the frozen one", "afterwards"])
        return f"{len(await world.overlaps())} overlap, ended by WhatsApp's replacement"


async def _written(world: Cluster) -> list[tuple[Any, ...]]:
    """What a holder may write, as it stands."""
    assert world.database is not None
    connection = await asyncpg.connect(world.database.dsn("holdfast"))
    try:
        rows = []
        for table in ("credential", "inbox", "message", "outbox", "timeline"):
            found = await connection.fetch(f"SELECT {table}::text FROM {table} ORDER BY 1")
            rows += [(table, str(row[0])) for row in found]
        return rows
    finally:
        await connection.close()
