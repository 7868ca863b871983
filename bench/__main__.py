"""Run the measures: `python -m bench [ONLY]`, where ONLY is the beginning of an id, such as B5."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench import cluster, coordinator, healing, measures, pressure, queues, soak
from bench.figures import Figure, keep, show
from tests.support.environment import isolate
from tests.support.processes import Holdfast, Wasim

FEW, MANY = 50, 200
SELDOM = 30.0
"""Seconds between two lines of progress where the output is no terminal."""


async def run(only: str, step: measures.Step) -> list[Figure]:
    """The figures whose ids begin with `only`."""
    figures: list[Figure] = []

    def wanted(*ids: str) -> bool:
        return any(name.startswith(only) or only.startswith(name) for name in ids)

    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        if wanted("B4.restart", "B5", "B6", "B7"):
            figures += await _one_session(folder, wanted, step)
        if wanted("B5", "B6"):
            figures += await _among_others(folder, wanted, step)
        if wanted("B10"):
            (folder / "pressure").mkdir()
            figures += await pressure.pressure(folder / "pressure", step)
        if wanted("B1@", "B2"):
            figures += await _many_sessions(folder, step)
    if wanted("B3", "B4.handover"):
        figures += await cluster.instances(step, only)
    if wanted("heal"):
        for count in (1, FEW):
            figures += await healing.healing(count, step)
    if only.startswith("soak"):
        figures += await soak.soak(step)
    if wanted("B8"):
        figures += await asyncio.to_thread(coordinator.costs, step)
        figures += await asyncio.to_thread(cluster.control_plane, step)
    if wanted("B9"):
        figures += await queues.queues(step)
    return [figure for figure in figures if figure.id.startswith(only)]


async def _one_session(folder: Path, wanted: Callable[..., bool], step: measures.Step) -> list[Figure]:
    figures: list[Figure] = []
    async with Wasim(folder) as wasim, Holdfast(wasim, folder) as holdfast:
        await measures.link_all(wasim, holdfast, 1, step)
        if wanted("B4.restart"):
            figures.append(await measures.gap_of_restart(wasim, holdfast, step))
        if wanted("B5"):
            figures += await measures.sending(wasim, holdfast, folder, step)
        if wanted("B6"):
            figures += await measures.receiving(wasim, holdfast, folder, step)
        if wanted("B7"):
            figures += await measures.status(holdfast, step)
    return figures


async def _among_others(folder: Path, wanted: Callable[..., bool], step: measures.Step) -> list[Figure]:
    """Sending and receiving with many sessions at once."""
    figures: list[Figure] = []
    inner = folder / "among"
    inner.mkdir()
    async with Wasim(inner) as wasim, Holdfast(wasim, inner) as holdfast:
        await measures.link_all(wasim, holdfast, FEW, step)
        if wanted("B5"):
            figures += await measures.sending(wasim, holdfast, inner, step, sessions=FEW)
        if wanted("B6"):
            figures += await measures.receiving(wasim, holdfast, inner, step, sessions=FEW)
    return figures


async def _many_sessions(folder: Path, step: measures.Step) -> list[Figure]:
    figures, sizes = [], []
    for count in (FEW, MANY):
        inner = folder / str(count)
        inner.mkdir()
        async with Wasim(inner) as wasim, Holdfast(wasim, inner) as holdfast:
            await measures.link_all(wasim, holdfast, count, step)
            ours, theirs, mb, floor_mb = await measures.restore(wasim, holdfast, inner, count, step)
        figures.append(measures.restored(count, ours, theirs))
        sizes.append((count, mb, floor_mb))
    return [*figures, *measures.memory(sizes[0], sizes[1])]


def main() -> int:
    """Measure, show, keep. 0 even where a bar is missed: a bench tells, it does not judge."""
    isolate()
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    console = Console()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task, told = progress.add_task("starting", total=None), -SELDOM

        def step(text: str, done: int = 0, of: int | None = None) -> None:
            nonlocal told
            progress.update(task, description=text, completed=done, total=of)
            if not console.is_terminal and (now := time.monotonic()) - told >= SELDOM:
                told = now
                console.print(text)

        figures = asyncio.run(run(only, step))
    if not figures:
        console.print(f"No figure begins with {only!r}: there are B1 to B10, heal and soak.")
        return 2
    show(figures, console)
    keep(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
