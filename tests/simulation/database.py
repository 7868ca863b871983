"""The store: the real SQL inline on one SQLite, watched by triggers, and each instance's faulty link to it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from holdfast.domain.errors import HoldfastError, StoreUnavailable
from holdfast.ports.store import EngineWrite
from holdfast.store import SqlStore
from holdfast.store.bootclock import DatabaseTime
from holdfast.store.drivers.connection import SqliteConnection
from holdfast.store.drivers.inline import InlineDriver
from tests.simulation.loop import WORLD, SimulatedLoop
from tests.simulation.watch import TRIGGERS, Watch
from tests.support.leases import take_lease
from tests.support.virtual import VirtualClock, run


class _Driver(InlineDriver):
    """The inline driver on a connection that is kept between runs, for its compiled statements; its data is not."""

    def __init__(self, connection: SqliteConnection, time: DatabaseTime) -> None:
        super().__init__(time)
        self._connection = connection

    async def open(self) -> None:
        assert self._connection is not None
        self._connection.write([self._time.anchor])

    async def close(self) -> None:
        """The next run takes the connection over."""


@dataclass
class _Bound:
    """What the kept connection's SQL functions mean now."""

    time: Callable[[], float] = lambda: 0.0
    watch: Watch | None = None


_bound = _Bound()


@lru_cache(maxsize=1)
def _connection() -> SqliteConnection:
    connection = SqliteConnection(":memory:", _now)
    for name, arguments in TRIGGERS.functions.items():
        connection.raw.create_function(name, arguments, lambda *facts, name=name: _tell(name, facts))
    return connection


def _now() -> float:
    return _bound.time()


def _tell(name: str, facts: tuple[Any, ...]) -> None:
    if _bound.watch is not None:
        getattr(_bound.watch, name)(*facts)


@lru_cache(maxsize=16)
def _template(sessions: int) -> bytes:
    """A database with that many linked sessions, which are to run and which nobody holds."""

    async def fill(clock: VirtualClock) -> bytes:
        driver = InlineDriver(DatabaseTime(clock, "simulated"))
        store = SqlStore(driver, clock)
        await store.open()
        for name in names(sessions):
            await store.create_session(name, "baileys", {}, "running")
            await take_lease(store, name, "before", 15.0)
            await store.write_engine(name, 1, EngineWrite(keys={("creds", ""): b"{}"}))
            await store.release(name, "before", 1)
        raw = driver._open().raw
        _without_words(raw)
        for trigger in TRIGGERS.statements:
            raw.execute(trigger)
        return raw.serialize()

    return run(fill)


def _without_words(raw: sqlite3.Connection) -> None:
    """The index of words keeps handles on its tables, which do not outlive the change to another run's data."""
    indexing = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%message_words%'"
    for (name,) in raw.execute(indexing).fetchall():
        raw.execute(f"DROP TRIGGER {name}")
    raw.execute("DROP TABLE message_words")


def names(count: int) -> list[str]:
    """The sessions of a world."""
    return [f"s{number}" for number in range(count)]


class Database:
    """The one store of a run, and SQL past it for the world itself."""

    def __init__(self, clock: VirtualClock, sessions: int, watch: Watch) -> None:
        template = _template(sessions)
        _bound.time, _bound.watch = DatabaseTime(clock, "simulated"), watch
        self.raw = _connection().raw
        self.raw.deserialize(template)
        self.watch = watch
        self.store = SqlStore(_Driver(_connection(), _bound.time), clock)

    def rows(self, sql: str, *facts: Any) -> list[Any]:
        """What stands in the tables."""
        return self.raw.execute(sql, facts).fetchall()

    def execute(self, who: str, method: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """One call of the store, from beginning to end: inline, it never yields."""
        self.watch.begin(who, method, args)
        try:
            getattr(self.store, method)(*args, **options).send(None)
        except StopIteration as done:
            self.watch.commit()
            return done.value
        except BaseException:
            self.watch.rollback()
            raise
        raise AssertionError(f"{method} waited for something")


@dataclass(frozen=True)
class Weather:
    """How a link behaves: seconds for either way, and the share of calls that go wrong."""

    slowest: float = 0.004
    fails: float = 0.0
    """Refused before anything was written."""
    loses: float = 0.0
    """Written, and the answer lost."""
    holds: float = 0.0
    """Seconds for which requests are held up on their way; they arrive all the same."""
    late: float = 0.0
    """Seconds for which answers are, though the requests arrived in time."""
    cut: bool = False


class Link:
    """An instance's way to the store: late, refused, unanswered, or cut. Requests under way are not called back."""

    def __init__(
        self, name: str, database: Database, weather: Callable[[], Weather], rand: random.Random, loop: SimulatedLoop
    ) -> None:
        self.name = name
        self._weather = weather
        self._database = database
        self._loop = loop
        self._rand = rand
        self.trouble: StoreUnavailable | None = None
        """Why the last call came to nothing, as the real store tells it of its last write."""

    def __getattr__(self, method: str) -> Callable[..., asyncio.Future[Any]]:
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda *args, **options: self._call(method, args, options)

    async def open(self) -> None:
        await self._call("now", (), {})

    async def close(self) -> None:
        """Others go on using it."""

    async def _call(self, method: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        weather, rand = self._weather(), self._rand
        answer: asyncio.Future[Any] = self._loop.create_future()
        there, back = (held + rand.random() * weather.slowest for held in (weather.holds, weather.late))
        fate = rand.random()
        if weather.cut:
            self._world(0.5 + there, self._fail, answer, method, "cut off")
        elif fate < weather.fails:
            self._world(there, self._fail, answer, method, "refused")
        else:
            loses = fate < weather.fails + weather.loses
            self._world(there, self._arrive, answer, (method, args, options), loses, back)
        try:
            given = await answer
        except StoreUnavailable as error:
            self.trouble = error
            raise
        self.trouble = None
        return given

    def _world(self, after: float, callback: Callable[..., None], *args: Any) -> None:
        self._loop.call_later(after, callback, *args, context=WORLD)

    def _arrive(
        self, answer: asyncio.Future[Any], call: tuple[str, tuple[Any, ...], dict[str, Any]], loses: bool, back: float
    ) -> None:
        method, args, options = call
        value: Any = None
        error: Exception | None = None
        try:
            value = self._database.execute(self.name, method, args, options)
        except Exception as found:
            error = found
            if not isinstance(found, HoldfastError):
                self._database.watch.broke(f"{method} failed: {found!r}")
        if loses or self._weather().cut:
            self._world(0.5 + back, self._fail, answer, method, "answer lost")
        else:
            self._world(back, self._settle, answer, value, error)

    def _settle(self, answer: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)

    def _fail(self, answer: asyncio.Future[Any], method: str, why: str) -> None:
        self._database.watch.log("store", self.name, method, why)
        self._settle(answer, None, StoreUnavailable())
