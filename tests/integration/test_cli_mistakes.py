"""What goes wrong at the command line ends in one sentence that tells the way out, exit code 1, and no trace."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.commands import alone, one_sentence, run, settings
from tests.support.processes import Holdfast, Wasim, free_port

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("processes")]

NOWHERE = cast(Wasim, SimpleNamespace(url="ws://127.0.0.1:1/ws/chat", root_key="ab" * 32, ca_file="-", admin="-"))


async def _served(folder: Path, **more: str) -> str:
    """How `serve` ends under these settings, in its sentence."""
    port = more.pop("HOLDFAST_PORT", str(free_port()))
    env = alone(folder, HOLDFAST_LOG_FORMAT="json", HOLDFAST_PORT=port, **more)
    return one_sentence(await run("serve", env=env))


async def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = await _served(tmp_path, HOLDFAST_PORT=str(port))
        assert said.startswith(f"Cannot listen on 127.0.0.1:{port} (Address already in use).")
        assert "HOLDFAST_PORT" in said
        assert not (tmp_path / "holdfast.sqlite3").exists(), "nothing was begun"


@pytest.mark.parametrize("where", ["file", "file/data"])
async def test_a_data_folder_that_cannot_be_written(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    said = await _served(tmp_path / where)
    assert said.startswith(f"The data folder {tmp_path / where} cannot be made")
    assert "Set HOLDFAST_DATA_DIR to another folder." in said


async def test_a_damaged_database(tmp_path: Path) -> None:
    (tmp_path / "holdfast.sqlite3").write_bytes(b"this was a database once" * 1000)
    for said in (await _served(tmp_path), one_sentence(await run("migrate", env=alone(tmp_path)))):
        assert f"The database file {tmp_path}/holdfast.sqlite3 is damaged" in said
        assert "Restore it from a backup, or move it away" in said


async def test_a_database_that_is_gone(tmp_path: Path) -> None:
    """An empty file, and none at all in a folder that was in use: no command begins a new one in silence."""
    file = tmp_path / "holdfast.sqlite3"
    commands = (["migrate"], ["export", "shop"], ["clear-auth", "--all", "--yes"], ["import-baileys", str(tmp_path)])
    (tmp_path / "creds.json").write_text("{}")
    file.touch()
    for said in (await _served(tmp_path), *[one_sentence(await run(*c, env=alone(tmp_path))) for c in commands]):
        assert said.startswith(f"The database file {file} is empty (0 bytes)")
    file.unlink()
    (tmp_path / "api-key").write_text("a-key-that-was-made\n")
    for said in (await _served(tmp_path), *[one_sentence(await run(*c, env=alone(tmp_path))) for c in commands]):
        assert said.startswith(f"The database file {file} is missing")
    found = await run("doctor", env=alone(tmp_path))
    assert found.code == 1
    assert "is missing" in found.out
    assert not file.exists()
    assert (tmp_path / "api-key").read_text() == "a-key-that-was-made\n"


async def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    assert (await run("migrate", env=alone(tmp_path))).code == 0
    with sqlite3.connect(tmp_path / "holdfast.sqlite3") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.execute("UPDATE setting SET value = '9999' WHERE key = 'schema.oldest'")
    for said in (
        await _served(tmp_path),
        one_sentence(await run("clear-auth", "--all", "--yes", env=alone(tmp_path))),
    ):
        assert said.startswith("The database was written by a newer Holdfast (schema 9999")
        assert "Start that version" in said


async def test_no_node(tmp_path: Path) -> None:
    said = await _served(tmp_path, HOLDFAST_NODE=str(tmp_path / "node"))
    assert said.startswith(f"There is no Node at {tmp_path}/node.")
    assert "HOLDFAST_NODE" in said


@pytest.mark.parametrize(
    ("script", "sentence"), [("echo v18.20.1", "is too old: 22.18 or newer is needed."), ("exit 1", "does not run.")]
)
async def test_a_node_that_is_no_good(tmp_path: Path, script: str, sentence: str) -> None:
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\n{script}\n")
    node.chmod(0o755)
    assert sentence in await _served(tmp_path / "data", HOLDFAST_NODE=str(node))


async def test_settings_that_are_not_valid(tmp_path: Path) -> None:
    assert "HOLDFAST_PORT" in await _served(tmp_path, HOLDFAST_PORT="many")
    said = await _served(tmp_path, HOLDFAST_DATABASE_URL="mysql://x")
    assert "HOLDFAST_DATABASE_URL" in said


@pytest.mark.parametrize("renew", ["7.5", "15", "60"])
async def test_a_lease_that_ends_before_it_is_surely_renewed(tmp_path: Path, renew: str) -> None:
    said = await _served(tmp_path, HOLDFAST_LEASE_TTL="15", HOLDFAST_LEASE_RENEW=renew)
    assert "HOLDFAST_LEASE_RENEW must be less than half of HOLDFAST_LEASE_TTL" in said
    assert not (tmp_path / "holdfast.sqlite3").exists(), "nothing was begun"


async def test_an_instance_of_another_whatsapp_beside_one_that_runs(tmp_path: Path) -> None:
    """And one of other settings, which runs: `doctor` names them."""
    async with Holdfast(NOWHERE, tmp_path) as server:
        said = await _served(tmp_path, HOLDFAST_WHATSAPP_ROOT_KEY="cd" * 32, HOLDFAST_LOG_LEVEL="error")
        assert said.startswith("HOLDFAST_WHATSAPP_ROOT_KEY differs from that of a running instance")
        assert [row["this"] for row in await server.ask("GET", "/api/holdfast/instances")] == [True]
        found = await run("doctor", env={**settings(server), "HOLDFAST_LEASE_TTL": "40"})
        assert "HOLDFAST_LEASE_TTL is 15 there and 40 here" in " ".join(found.out.split())


async def test_whatsapp_that_cannot_be_reached_is_told_in_the_status(tmp_path: Path) -> None:
    async with Holdfast(NOWHERE, tmp_path) as server:
        await server.ask("POST", "/api/sessions", {"name": "shop", "start": True})
        await server.until("shop", lambda view: "cannot be reached" in view["message"], timeout=20)
        said = await run("sessions", env=settings(server))
        assert said.code == 0
        assert "cannot be reached" in said.out
        ready = await server.ask("GET", "/api/status")
        assert ready["ready"], "the server itself is ready"


async def test_a_wrong_key(tmp_path: Path) -> None:
    async with Holdfast(NOWHERE, tmp_path) as server:
        env = settings(server)
        commands = (["sessions"], ["pair", "shop"], ["clear-auth", "shop"], ["export-contacts", "shop"])
        tries = [(command, "wrong") for command in commands] + [(["sessions"], key) for key in ("naïve", "two\nlines")]
        for said in await asyncio.gather(*(run(*command, "--key", key, env=env) for command, key in tries)):
            sentence = "The server does not accept this API key. Give it with --key or HOLDFAST_API_KEY."
            assert one_sentence(said) == sentence
        assert "There is no session 'none'" in one_sentence(await run("sessions", "none", env=env))


async def test_no_server(tmp_path: Path) -> None:
    commands = (["sessions"], ["sessions", "shop"], ["pair"], ["pair", "shop", "--code", "+40712345678"])
    for said in await asyncio.gather(*(run(*command, env=alone(tmp_path)) for command in commands)):
        sentence = "No Holdfast answers at http://127.0.0.1:1. Start it with `holdfast serve`"
        assert one_sentence(said).startswith(sentence)


@pytest.mark.parametrize("speaks", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"220 mail ready\r\n"])
async def test_something_else_at_the_address(tmp_path: Path, speaks: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(speaks)
        writer.close()
        await writer.wait_closed()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with other:
        url = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        said = one_sentence(await run("sessions", "--url", url, env=alone(tmp_path)))
        assert url in said
        assert "--url" in said


@pytest.mark.parametrize("url", ["localhost:3000", "ftp://x", "http://", "http://x:y", "http://[::1"])
async def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    said = one_sentence(await run("sessions", "--url", url, env=alone(tmp_path)))
    assert said.startswith(f"{url} is no address of a server")
