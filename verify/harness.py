"""Checks, by id: how they are written down, run, and told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from rich.console import Console

from tests.support.processes import Holdfast, Receiver, Wasim

TIMEOUT = 240.0
AT_ONCE = 2
ENDING = 60.0
"""Seconds that a check has for ending what it started, once it is over or broken off."""


@dataclass(frozen=True)
class World:
    """What a check starts with: a simulator, Holdfast on it, and a webhook receiver."""

    wasim: Wasim
    holdfast: Holdfast
    hook: Receiver

    async def link(self, name: str = "shop", phone: str = "40712345678") -> None:
        """Create a session whose events go to the receiver, and link it by QR."""
        await self.holdfast.link(self.wasim, name, phone, self.hook.config())

    async def fault(self, kind: str, **facts: object) -> None:
        """Let the simulator go wrong."""
        await self.wasim.post("fault", {"kind": kind, **facts})

    async def inject(self, text: str, to: str = "40712345678", sender: str = "40712345601") -> str:
        """A phone writes."""
        return str((await self.wasim.post("inject", {"from": sender, "to": to, "text": text}))["id"])

    async def timeline(self, name: str = "shop") -> list[dict[str, object]]:
        """Oldest first."""
        rows = await self.holdfast.ask("GET", f"/api/holdfast/sessions/{name}/timeline")
        return list(reversed(rows))


Body = Callable[[World], Awaitable[str]]


@dataclass(frozen=True)
class Check:
    """One line of the report. `body` returns its figure, or raises what was wrong."""

    id: str
    what: str
    body: Body | Callable[[], Awaitable[str]]
    env: dict[str, str] | None
    """Holdfast's settings; None for a check that starts what it needs by itself."""
    timeout: float = TIMEOUT


CHECKS: list[Check] = []


def check(id: str, what: str, **env: str) -> Callable[[Body], Body]:
    """Register a check; `env` are Holdfast's settings without their prefix."""

    def register(body: Body) -> Body:
        CHECKS.append(Check(id, what, body, {f"HOLDFAST_{name}": value for name, value in env.items()}))
        return body

    return register


def alone(
    id: str, what: str, *, timeout: float = TIMEOUT
) -> Callable[[Callable[[], Awaitable[str]]], Callable[[], Awaitable[str]]]:
    """Register a check that starts what it needs by itself."""

    def register(body: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
        CHECKS.append(Check(id, what, body, None, timeout))
        return body

    return register


@asynccontextmanager
async def world(env: dict[str, str]) -> AsyncIterator[World]:
    """Fresh processes in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        folder = Path(name)
        async with Wasim(folder) as wasim, Receiver() as hook, Holdfast(wasim, folder, **env) as holdfast:
            yield World(wasim, holdfast, hook)


async def run_one(one: Check) -> tuple[bool, str]:
    """(passed, figure or what was wrong), whatever happens."""
    started = time.monotonic()
    task = asyncio.create_task(_figure(one))
    try:
        done, _ = await asyncio.wait({task}, timeout=one.timeout)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=ENDING)
    late = "" if done else f"not done in {one.timeout:.0f} s"
    if not task.done():
        return False, f"{late}, and what it started did not end in {ENDING:.0f} s more"
    try:
        figure = task.result()
    except asyncio.CancelledError:
        return False, late or "it broke itself off"
    except Exception as error:
        return False, f"{late}; {words(error)}".lstrip("; ")[:600]
    return not late, late or figure or f"{time.monotonic() - started:.1f} s"


def words(error: BaseException) -> str:
    """What went wrong: of several at once the first, and how many more there were."""
    leaves = list(_leaves(error))
    more = f" (and {len(leaves) - 1} more)" if len(leaves) > 1 else ""
    return f"{type(leaves[0]).__name__}: {leaves[0]}{more}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


async def _figure(one: Check) -> str:
    body: Callable[..., Awaitable[str]] = one.body
    if one.env is None:
        return await body()
    async with world(one.env) as fresh:
        return await body(fresh)


async def run_all(only: str, console: Console) -> int:
    """Run the checks whose ids begin with `only`; how many failed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # an engine in here
    began = time.monotonic()
    chosen = [one for one in CHECKS if one.id.startswith(only)]
    chosen.sort(key=lambda one: -one.timeout)  # what takes longest begins first
    gate, failed, done = asyncio.Semaphore(AT_ONCE), 0, 0
    underway: dict[str, float] = {}

    async def one_line(one: Check) -> None:
        nonlocal failed, done
        async with gate:
            underway[one.id] = time.monotonic()
            passed, figure = await run_one(one)
        del underway[one.id]
        done += 1
        failed += not passed
        colour = "green" if passed else "bold red"
        console.print(
            f"[{colour}]{'PASS' if passed else 'FAIL'}[/]  {one.id:<22} {one.what}  {figure}", highlight=False
        )
        if console.is_terminal:
            console.print(f"[dim]{done}/{len(chosen)}[/]", end="\r")

    tasks = [asyncio.create_task(one_line(one)) for one in chosen]
    try:
        await asyncio.gather(*tasks)
    except BaseException as error:
        for id_, since in underway.items():
            took = time.monotonic() - since
            console.print(
                f"[bold red]STOP[/]  {id_:<22} broken off after {took:.0f} s: {words(error)}", highlight=False
            )
        raise
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
    minutes = (time.monotonic() - began) / 60
    console.print(f"{len(chosen) - failed} passed, {failed} failed, in {minutes:.1f} min", highlight=False)
    return failed
