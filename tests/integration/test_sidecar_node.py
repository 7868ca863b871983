"""The sidecar's own checks: types, and its tests under Node's runner."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast.engines.baileys.install import find_node

SIDECAR = Path(__file__).resolve().parents[2] / "sidecar"


@pytest.mark.parametrize(
    "arguments",
    [
        ["node_modules/typescript/bin/tsc", "--noEmit", "-p", "."],
        ["--test", "--test-timeout=30000", *sorted(str(path) for path in (SIDECAR / "test").glob("*.test.ts"))],
    ],
    ids=["types", "tests"],
)
async def test_the_sidecar(arguments: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        find_node(), *arguments, cwd=SIDECAR, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode == 0, printed.decode()
