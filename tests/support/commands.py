"""The command line as a user meets it: a process of its own, what it says, and how it ends."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import BIN, KEY, Holdfast

PATIENCE = 60.0


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


def settings(server: Holdfast) -> dict[str, str]:
    """The settings under which a server runs, for commands beside it."""
    return {name: value for name, value in server.env.items() if name.startswith("HOLDFAST_")}


def alone(folder: Path, **more: str) -> dict[str, str]:
    """Settings for commands without a server: its port is one where nothing listens."""
    return {"HOLDFAST_DATA_DIR": str(folder), "HOLDFAST_PORT": "1", "HOLDFAST_API_KEY": KEY, **more}


async def run(*arguments: str | Path, env: dict[str, str], stdin: str = "") -> Said:
    """Run `holdfast` to its end; it sees no settings but `env`, and what it prints is not wrapped."""
    child = await asyncio.create_subprocess_exec(
        BIN / "holdfast",
        *map(str, arguments),
        env={**os.environ, "COLUMNS": "500", **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(child.communicate(stdin.encode()), PATIENCE)
    except BaseException:
        child.kill()
        await child.wait()
        raise
    assert "Traceback" not in err.decode() + out.decode(), err.decode()
    return Said(child.returncode or 0, out.decode(), err.decode())


def one_sentence(said: Said) -> str:
    """The sentence with which a command ended because of a mistake."""
    assert said.code == 1, said
    [line] = said.err.strip().splitlines()
    assert line.startswith("Error: "), said
    return line.removeprefix("Error: ")
