"""`doctor` on real installations and servers: what is sound is called so, and each thing that breaks is found."""

from __future__ import annotations

import json
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import alone, run, settings
from tests.support.processes import Holdfast, Wasim, free_port
from tests.support.proxies import PASSWORD, TinyProxy

PHONE = "40712345678"
PARTS = ["Python", "WhatsApp engine", "data folder", "disk", "database", "port", "WhatsApp", "clock"]

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("processes")]


async def _found(*options: str, env: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Findings by what was looked at; the exit code and the sum must agree with them."""
    said = await run("doctor", "--json", *options, env=env)
    told = json.loads(said.out)
    assert told["ok"] == all(finding["ok"] for finding in told["findings"]) == (said.code == 0), said
    for finding in told["findings"]:
        assert finding["ok"] or finding["advice"], f"a problem without a way out: {finding}"
    return {finding["what"]: finding for finding in told["findings"]}


def _problems(found: dict[str, dict[str, Any]]) -> set[str]:
    return {what for what, finding in found.items() if not finding["ok"]}


async def test_an_installation_that_is_well(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim:
        env = alone(tmp_path / "data", HOLDFAST_PORT=str(free_port()), HOLDFAST_WHATSAPP_URL=wasim.url)
        found = await _found(env=env)
        assert list(found) == PARTS
        assert _problems(found) == set()
        assert not (tmp_path / "data").exists(), "it only looks"
        said = await run("doctor", env=env)
        assert (said.code, "All is well." in said.out) == (0, True)


async def test_whatsapp_is_asked_through_the_default_proxy(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim, TinyProxy(tmp_path) as proxy:
        env = alone(tmp_path / "data", HOLDFAST_PORT=str(free_port()), HOLDFAST_WHATSAPP_URL=wasim.url)
        env["HOLDFAST_PROXY"] = proxy.url
        assert _problems(await _found(env=env)) == set()
        assert len(proxy.targets()) == 1
        await proxy.stop()
        found = await _found(env=env)
        assert _problems(found) == {"WhatsApp"}
        assert proxy.name in found["WhatsApp"]["found"]
        assert PASSWORD not in str(found)


async def test_each_thing_that_breaks_an_installation_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data = tmp_path / "data"
    data.mkdir()
    (data / "holdfast.sqlite3").write_bytes(b"no database " * 1000)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = await _found(
            env=alone(
                data,
                HOLDFAST_PORT=str(other.getsockname()[1]),
                HOLDFAST_NODE=str(tmp_path / "node"),
                HOLDFAST_WHATSAPP_URL="wss://no-such-host.invalid/ws/chat",
            )
        )
    assert _problems(found) == {"WhatsApp engine", "database", "port", "WhatsApp"}
    assert "damaged" in found["database"]["found"]
    assert "backup" in found["database"]["advice"]
    assert "cannot be resolved" in found["WhatsApp"]["found"]

    found = await _found(
        env=alone(
            tmp_path / "file/data",
            HOLDFAST_DATABASE_URL="postgresql://someone:secret@127.0.0.1:1/holdfast",
            HOLDFAST_PORT=str(free_port()),
            HOLDFAST_WHATSAPP_URL="ws://127.0.0.1:1/ws/chat",
        )
    )
    assert _problems(found) == {"data folder", "database", "WhatsApp"}
    assert "secret" not in json.dumps(found)


async def test_a_running_server_and_its_sessions_and_a_newer_database(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim, Holdfast(wasim, tmp_path) as server:
        env = settings(server)
        found = await _found(env=env)
        assert _problems(found) == set()
        assert f"A Holdfast answers at {server.url}" in found["port"]["found"]
        found = await _found("--url", server.url, env=env)
        assert list(found) == ["server", "readiness", "API key", "sessions"]
        await server.link(wasim, "shop", PHONE)
        await server.ask("POST", "/api/sessions", {"name": "desk", "start": True})
        await server.until("desk", lambda view: view["status"] == "SCAN_QR_CODE")
        await server.ask("POST", "/api/sessions", {"name": "idle", "start": False})
        found = await _found("--url", server.url, env=env)
        assert _problems(found) == {"session desk"}
        assert found["session shop"]["found"].startswith("WORKING: ")
        assert "holdfast pair desk" in found["session desk"]["advice"]

        await wasim.post("fault", {"kind": "logout", "jid": f"{PHONE}@s.whatsapp.net"})
        await server.until("shop", lambda view: bool(view["needs_qr"]))
        found = await _found("--url", server.url, env=env)
        assert "logged out" in found["session shop"]["found"]
        assert _problems(found) == {"session desk", "session shop"}

        found = await _found("--url", server.url, "--key", "wrong", env=env)
        assert _problems(found) == {"API key"}
        await server.stop()
        found = await _found("--url", server.url, env=env)
        assert list(found) == ["server"]
        assert _problems(found) == {"server"}

        with sqlite3.connect(tmp_path / "holdfast.sqlite3") as db:
            db.execute("UPDATE alembic_version SET version_num = '9999'")
            db.execute("DELETE FROM setting WHERE key = 'schema.oldest'")
        found = await _found(env=env)
        assert _problems(found) == {"database"}
        assert "Start that version" in found["database"]["advice"]
