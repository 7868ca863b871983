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
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
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
BESIDE = (
    "notification.received",
    "notification.stored",
    "unavailable.received",
    "unavailable.stored",
    "waiting.received",
    "waiting.stored",
    "waiting.receipted",
    "change.applying",
    "change.applied",
    "file.fetching",
    "file.arriving",
    "file.arrived",
    "file.fetched",
    "folder.placing",
    "folder.placed",
    "file.filed",
    "file.settled",
    "folder.reading",
)
"""Those that only some messages pass on their way in: notifications, what cannot be read, changes, files."""
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

UPLOADS = (
    "upload.taken",
    "upload.staged",
    "upload.filed",
    "upload.sending",
    "upload.sent",
    "upload.dropped",
)
"""Those that only a file passes on its way out."""


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


class Load(ABC):
    """People who write to the session and are written to, each in a lane of their own, and what must be true of it
    afterwards.
    """

    events: tuple[str, ...] = ()
    """What the receiver must be told of."""

    def __init__(
        self, wasim: Wasim, instances: Sequence[Holdfast], hook: ReceiverProcess, writing: asyncio.Lock
    ) -> None:
        self.wasim, self.instances, self.hook = wasim, instances, hook
        self.writing = writing
        """Held by who writes to the session, so that a fault strikes the message that it is meant for."""
        self.stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._delivered: set[str] = set()

    @abstractmethod
    def lanes(self) -> list[Coroutine[Any, Any, None]]:
        """Who does what until `stopping` is set."""

    @abstractmethod
    async def missing(self, it: Arena) -> list[str]:
        """What has not arrived yet."""

    @abstractmethod
    async def agree(self, it: Arena) -> str:
        """Hold everybody's story against the others'. Raises AssertionError with what does not agree."""

    def start(self) -> None:
        """Everybody begins."""
        self._tasks = [asyncio.create_task(lane) for lane in self.lanes()]

    async def stop(self) -> None:
        """Everybody finishes what they began."""
        self.stopping.set()
        await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        """Whoever still does something leaves it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def pause(self, least: float = 0.1, most: float = 0.4) -> None:
        """Seconds that somebody thinks."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(least, most)):
                await self.stopping.wait()

    async def says(self, person: str, text: str, fault: str = "") -> str:
        """Somebody writes to the session, what cannot be read at first if there is a fault; the message id."""
        async with self.writing:
            if fault:
                await self.wasim.post("fault", {"kind": fault, "jid": SHOP, "count": 1})
            return str((await self.wasim.post("inject", {"from": person, "to": SHOP, "text": text}))["id"])

    async def until_accepted(self, call: str, person: str, key: str, **content: Any) -> str:
        """As a careful client does: repeated under its key until it was accepted. The message id."""
        body = {"session": "shop", "chatId": f"{person}@c.us", **content}
        for instance in itertools.cycle(self.instances):
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with instance.http.post(
                    f"{instance.url}/api/{call}",
                    json=body,
                    headers={"Idempotency-Key": key},
                    timeout=aiohttp.ClientTimeout(total=20),
                ) as answer:
                    said = await answer.json()
                    if answer.status in (201, 202):
                        return str(said["holdfast"]["id"])
                    assert answer.status in (500, 503), (answer.status, said)
            await asyncio.sleep(0.05)
        raise AssertionError

    async def undelivered(self, it: Arena, ids: Iterable[str]) -> list[str]:
        """Those of our messages that have not arrived."""
        waiting = [id_ for id_ in ids if id_ not in self._delivered]
        for id_ in waiting:
            story = await it.ask(f"/api/holdfast/messages/{id_}", session="shop")
            if story is None or story["state"] not in ("delivered", "read"):
                break
            self._delivered.add(id_)
        return [f"not delivered {id_}" for id_ in waiting if id_ not in self._delivered]


class Texts(Load):
    """Plain texts both ways."""

    events = ("message", "message.ack")

    def __init__(self, *world: Any) -> None:
        super().__init__(*world)
        self.written: dict[str, dict[str, str]] = {person: {} for person in WRITERS}
        """By person: text by message id, in order."""
        self.accepted: dict[str, dict[str, str]] = {person: {} for person in READERS}
        """By person: message id by text, in order."""

    def lanes(self) -> list[Coroutine[Any, Any, None]]:
        """Writers and readers."""
        return [*(self._write(person) for person in WRITERS), *(self._send(person) for person in READERS)]

    async def _write(self, person: str) -> None:
        for number in itertools.count():
            if self.stopping.is_set():
                return
            text = f"{person} wrote {number:05d}"
            self.written[person][await self.says(person, text)] = text
            await self.pause()

    async def _send(self, person: str) -> None:
        """One after the other."""
        for number in itertools.count():
            if self.stopping.is_set():
                return
            text = f"{person} reads {number:05d}"
            self.accepted[person][text] = await self.until_accepted("sendText", person, text, text=text)
            await self.pause()

    async def missing(self, it: Arena) -> list[str]:
        """See the base."""
        came = {plain(e["payload"]["id"]) for e in self.hook.came() if e["event"] == "message"}
        untold = [text for texts in self.written.values() for id_, text in texts.items() if id_ not in came]
        undelivered = await self.undelivered(it, [id_ for ids in self.accepted.values() for id_ in ids.values()])
        return [*(f"not told of {text!r}" for text in untold), *undelivered]

    async def agree(self, it: Arena) -> str:
        """See the base."""
        order: dict[str, list[str]] = defaultdict(list)
        for event in it.told("message"):
            order[event["payload"]["from"].split("@")[0]].append(event["payload"]["body"])
        for person, texts in self.written.items():
            assert order[person] == list(texts.values()), f"{person}: {difference(order[person], texts.values())}"
        for person, texts in [*self.written.items(), *self.accepted.items()]:
            known = texts.values() if person in self.written else texts.keys()
            stored = sorted([message["body"] async for message in it.stored(f"{person}@c.us")])
            assert stored == sorted(known), f"{person}: {difference(stored, sorted(known))}"
        repeated = sum([await it.shown(person, ids) for person, ids in self.accepted.items()])
        await self._receipted()
        inward, outward = (sum(map(len, texts.values())) for texts in (self.written, self.accepted))
        return f"{inward} in, {outward} out ({repeated} sent again under the same id)"

    async def _receipted(self) -> None:
        log = await self.wasim.get("log", kind="client-ack,receipt", limit=200_000)
        ours = [entry for entry in log if str(entry.get("jid", "")).startswith(f"{SHOP}:")]
        texts = {id_: text for texts in self.written.values() for id_, text in texts.items()}
        refused = [e for e in ours if e["kind"] == "client-ack" and "error" in e and e["id"] in texts]
        assert not refused, f"stanzas refused: {refused[:3]}"
        receipted = {entry["id"] for entry in ours if entry["kind"] == "receipt"}
        bare = [text for id_, text in texts.items() if id_ not in receipted]
        assert not bare, f"never receipted: {bare[:3]}"


class Arena:
    """A started world: `crash` and `kill` while the loads run, then `settled` and `agree`."""

    def __init__(self, loads: Sequence[Load], armed: Path, database: Postgres | None) -> None:
        self.loads, self.database = loads, database
        self.wasim, self.instances, self.hook = loads[0].wasim, loads[0].instances, loads[0].hook
        self._armed = armed
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

    async def settled(self) -> None:
        """The load ends; wait until everything has arrived everywhere, for as long as something still arrives."""
        await asyncio.gather(*(load.stop() for load in self.loads))
        left, since = -1, time.monotonic()
        while missing := [what for load in self.loads for what in await load.missing(self)]:
            if left != (left := len(missing)):
                since = time.monotonic()
            assert time.monotonic() - since < STUCK, f"stuck: {len(missing)}, such as {missing[:3]}"
            await asyncio.sleep(0.2)

    # --- judging ------------------------------------------------------------------------------------------------
    async def agree(self) -> str:
        """Hold receiver, store and simulator against each other; raises AssertionError with what does not agree."""
        self._receiver_agrees()
        told = [await load.agree(self) for load in self.loads]
        seen = self.hook.came()
        again = len(seen) - len({e["id"] for e in seen})
        return (
            f"{self.crashes} crashes; {', '.join(told)}: 0 lost, 0 under two ids, order kept "
            f"({again} told again under the same id)"
        )

    def told(self, *kinds: str) -> list[dict[str, Any]]:
        """The events of those kinds that the receiver got, without repeats, in order."""
        first = {event["id"]: event for event in reversed(self.hook.came()) if event["event"] in kinds}
        return list(reversed(first.values()))

    def _receiver_agrees(self) -> None:
        """Each fact once but for repeats under the same event id, acks only forward."""
        names: dict[tuple[str, str, Any], str] = {}
        acks: dict[str, list[int]] = defaultdict(list)
        for event in self.hook.came():
            kind = event["event"]
            assert "holdfast" not in event, f"marked {event['holdfast']}, though nothing was ever parked"
            if not kind.startswith("message"):
                continue
            fact = (kind, about(event), event["payload"].get("ack"))
            first = names.setdefault(fact, event["id"])
            assert first == event["id"], f"{fact} was told as two events"
        for event in self.told("message.ack"):
            acks[event["payload"]["id"]].append(event["payload"]["ack"])
        wrong = {id_: levels for id_, levels in acks.items() if levels != sorted(set(levels))}
        assert not wrong, f"acks went backward: {wrong}"

    async def stored(self, chat: str) -> AsyncIterator[dict[str, Any]]:
        """A chat's messages as the API shows them, newest first."""
        for page in itertools.count():
            shown = await self.ask(f"/api/shop/chats/{chat}/messages", limit="50", offset=str(page * 50))
            assert shown is not None, "no instance answers"
            for message in shown:
                yield message
            if len(shown) < 50:
                return

    async def shown(self, person: str, ids: dict[str, str]) -> int:
        """Whether a phone shows each accepted text under the one id, in order. How many came again under the same."""
        shown = (await self.wasim.get(f"phones/{person}/messages"))["messages"]
        seen: dict[str, str] = {}
        for message in shown:
            first = seen.setdefault(message["text"], message["id"])
            assert first == message["id"], f"{message['text']!r} came under two ids"
        assert seen == ids, f"{person}: {difference(seen, ids)}"
        assert list(seen) == list(ids), f"{person}: {difference(list(seen), list(ids))}"
        return len(shown) - len(seen)


def about(event: dict[str, Any]) -> str:
    """WAHA's id of the message, edit, reaction or deletion that an event tells of."""
    payload = event["payload"]
    return str((payload.get("after") or payload)["id"])


def plain(waha_id: str) -> str:
    """WhatsApp's id in WAHA's `false_40712345601@c.us_ID`."""
    return waha_id.split("_")[2]


def difference(found: Iterable[Any], wanted: Iterable[Any]) -> str:
    """Where two lists part."""
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
async def arena(folder: Path, *kinds: type[Load], postgres: bool = False, instances: int = 1) -> AsyncIterator[Arena]:
    """Start everything, link the session, let the loads run (`Texts`, if none is named); at the end of the block
    everything is stopped.
    """
    armed, files = folder / "armed", folder / "files"
    switch = {"HOLDFAST_CRASH_FILE": str(armed), "HOLDFAST_MEDIA_DIR": str(files)}
    async with cluster(folder, postgres=postgres) as world, AsyncExitStack() as stack:
        hook = await stack.enter_async_context(ReceiverProcess(folder, **switch))
        started = [await world.start(**scaled(), **switch) for _ in range(instances)]
        writing = asyncio.Lock()
        loads = [kind(world.wasim, started, hook, writing) for kind in kinds or (Texts,)]
        events = dict.fromkeys(event for load in loads for event in load.events)
        await started[0].link(world.wasim, "shop", SHOP, hook.config(*events))
        for person in (*WRITERS, *READERS):
            await world.wasim.post("phones", {"phone": person})
        for process in (hook, *started):
            await stack.enter_async_context(Kept(process))
        for load in loads:
            load.start()
            stack.push_async_callback(load.abandon)
        yield Arena(loads, armed, world.database)
