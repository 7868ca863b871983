"""`export`: the whole history in a file or none of it, with the server running and with the server stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.rows import AddonRow, ContactRow, MessageRow, Processed
from holdfast.runtime.clock import SystemClock
from holdfast.store import open_store
from tests.support.commands import alone, one_sentence, run
from tests.support.leases import take_lease
from tests.support.processes import BIN
from tests.support.served import KEY, served

PN = "40722222222@s.whatsapp.net"
MANY = 40_000
TRIES = 5
"""On a busy machine an export may be done before we have a turn to interrupt it."""

pytestmark = pytest.mark.xdist_group("processes")


def row(id: str, text: str, **more: Any) -> MessageRow:
    facts = {"from_me": False, "sender": PN, "timestamp": 1.8e9, "kind": "text", "ack": 2, "body": {}, **more}
    return MessageRow(id=id, chat=PN, text=text, **facts)


def told() -> Processed:
    return Processed(
        messages=[row("m1", "first ü\nline"), row("m2", "a picture", kind="image", raw=b"\x00raw")],
        contacts=[ContactRow(PN, "40722222222", "", "Ana", "")],
        addons=[AddonRow(PN, "m1", "reaction", PN, False, "r1", 1.8e9, "👍")],
    )


async def stored(folder: Path, many: int = 0) -> None:
    store = open_store(f"sqlite:///{folder / 'holdfast.sqlite3'}", SystemClock())
    await store.open()
    await store.create_session("shop", "baileys", {}, "stopped")
    await take_lease(store, "shop", "one", 0.01)
    await store.apply_inbox("shop", 1, told())
    await store.close()
    with sqlite3.connect(folder / "holdfast.sqlite3") as db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 WHERE ? > 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO message (session_name, chat, from_me, id, sender, timestamp, kind, text, ack, body, raw) "
            "SELECT 'shop', ?, FALSE, 'x' || i, ?, i, 'text', 'text ' || i, 2, '{}', x'' FROM n",
            (many, many, PN, PN),
        )


def check_whole(path: Path, messages: int = 2) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = [line["type"] for line in lines]
    assert kinds == ["history", "contact", "chat", *["message"] * messages, "reaction", "end"]
    assert lines[0]["counts"] == {"contacts": 1, "chats": 1, "messages": messages, "addons": 1}
    assert lines[-1]["lines"] == len(lines) - 1
    first, second = lines[3:5]
    assert (first["id"], first["text"], second["kind"], second["raw"]) == ("m1", "first ü\nline", "image", "AHJhdw==")


async def test_without_a_server(tmp_path: Path) -> None:
    await stored(tmp_path, many=1200)
    said = await run("export", "shop", "-o", tmp_path / "shop.jsonl", env=alone(tmp_path))
    assert said.code == 0, said
    assert "1,202 messages" in said.err
    check_whole(tmp_path / "shop.jsonl", 1202)
    assert "no session 'nobody'" in one_sentence(
        await run("export", "nobody", "-o", tmp_path / "n", env=alone(tmp_path))
    )
    assert "cannot be written" in one_sentence(
        await run("export", "shop", "-o", tmp_path / "no" / "folder", env=alone(tmp_path))
    )
    assert [path.name for path in tmp_path.iterdir() if "jsonl" in path.name or "part" in path.name] == ["shop.jsonl"]


async def test_with_a_server(tmp_path: Path) -> None:
    async with served(tmp_path) as it:
        await it.linked()
        await it.store.apply_inbox("shop", it.engine.live["shop"].epoch, told())
        target = tmp_path / "shop.jsonl"
        said = await run("export", "shop", "-o", target, "--url", it.url, "--key", KEY, env={})
        assert said.code == 0, said
        check_whole(target)
        wrong = await run("export", "shop", "-o", target, "--url", it.url, "--key", "wrong", env={})
        assert "does not accept this API key" in one_sentence(wrong)
        unknown = await run("export", "nobody", "-o", tmp_path / "n", "--url", it.url, "--key", KEY, env={})
        assert "no session 'nobody'" in one_sentence(unknown)
        check_whole(target)
        found = (await it.http.get("/api/holdfast/search", params={"q": "PICT"})).json()
        assert [(one["session"], one["chat"]["name"], one["message"]["body"]) for one in found] == [
            ("shop", "Ana", "a picture")
        ]
        for path in ("search", "sessions/shop/search"):
            assert (await it.http.get(f"/api/holdfast/{path}", params={"q": "..."})).status_code == 400
            assert (await it.http.get(f"/api/holdfast/{path}")).status_code == 400
        assert (await it.http.get("/api/holdfast/sessions/nobody/search", params={"q": "x"})).status_code == 404
        assert (await it.http.get("/api/holdfast/sessions/nobody/export")).status_code == 404


async def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    await stored(tmp_path, many=MANY)
    folder = tmp_path / "out"
    folder.mkdir()
    for _ in range(TRIES):
        code, said = await _interrupted(tmp_path, folder)
        assert b"Traceback" not in said
        if code != 0:
            break
        (folder / "shop.jsonl").unlink()  # it was done before we came
    assert code == 130, said
    assert list(folder.iterdir()) == []


async def _interrupted(tmp_path: Path, folder: Path) -> tuple[int | None, bytes]:
    """The exit code of an export that gets Ctrl-C as soon as it has written something, and what it said."""
    environment = {**os.environ, **alone(tmp_path)}
    child = await asyncio.create_subprocess_exec(
        BIN / "holdfast", "export", "shop", "-o", folder / "shop.jsonl", env=environment,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        while not any(path.stat().st_size for path in folder.glob(".shop.jsonl.*.part")) and child.returncode is None:
            await asyncio.sleep(0)
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGINT)
        _, said = await child.communicate()
    return child.returncode, said
