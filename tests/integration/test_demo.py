"""`holdfast demo` as a new user follows it."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from tests.support.commands import run
from tests.support.processes import BIN, Process, free_port

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("processes")]


async def test_what_it_prints_can_be_followed() -> None:
    port = free_port()
    async with Process(BIN / "holdfast", "demo", env={"HOLDFAST_PORT": str(port), "COLUMNS": "80"}) as demo:
        shown = ""
        while "Ctrl-C ends it all" not in shown:
            shown += await demo.line() + "\n"
        assert f"http://localhost:{port}/dashboard" in shown
        assert "..." not in shown, "nothing is left for the reader to fill in"
        key = re.search(r"API key: (\S+)", shown)
        assert key is not None
        async with aiohttp.ClientSession(f"http://localhost:{port}", headers={"X-Api-Key": key[1]}) as http:
            made = await http.post("/api/sessions", json={"name": "desk", "start": True})
            assert made.status == 201, await made.text()
            async with asyncio.timeout(60):
                while "QR code of 'desk'" not in (line := await demo.line()):
                    pass
                phone = line.rpartition("+")[2].rstrip(".")
                while (view := await (await http.get("/api/sessions/desk")).json())["status"] != "WORKING":
                    await asyncio.sleep(0.05)
        assert view["me"]["id"] == f"{phone}@c.us"


@pytest.mark.parametrize("port", ["many", "70000"])
async def test_a_port_that_is_none(port: str) -> None:
    said = await run("demo", env={"HOLDFAST_PORT": port})
    assert said.code == 1
    assert said.err.startswith("Error: HOLDFAST_PORT: ")
