"""Ten thousand simulated clusters, each with faults of its own: every invariant, in every step."""

from __future__ import annotations

import asyncio
import os
import sys

from verify.harness import alone

SEEDS = 10_000
PROCESSES = 2


@alone("G1.sim", f"{SEEDS:,} simulated clusters under faults: one connection, fenced, terminal, healed", timeout=1800.0)
async def simulated() -> str:
    share = SEEDS // PROCESSES
    said = await asyncio.gather(*(_run(number * share, (number + 1) * share) for number in range(PROCESSES)))
    assert not any(failed for failed, _ in said), " ".join(text for failed, text in said if failed)
    return f"{SEEDS:,} of {SEEDS:,}"


async def _run(first: int, end: int) -> tuple[bool, str]:
    """Whether a seed failed, and what was said of it (and how to replay it). In the background: others measure time."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.simulation", str(first), str(end),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, preexec_fn=lambda: os.nice(5),
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    lines = output.decode().strip().splitlines()
    return process.returncode != 0, (lines[0] if process.returncode else lines[-1])
