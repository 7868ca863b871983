"""The log of a real server, at its most talkative, after a day's work: no key, no text, no whole number."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import websockets

from holdfast import logs
from tests.support.served import KEY, Served, check

CHAT, TEXT = "40722000111", "meet me at noon"


def test_nothing_secret_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", out)
        logs.setup(level="info", style="json", instance="one")
    structlog.configure(cache_logger_on_first_use=False)  # later tests have a configuration of their own

    async def body(it: Served) -> None:
        await it.linked()
        url = it.url.replace("http", "ws")
        async with websockets.connect(f"{url}/ws?after=0&x-api-key={KEY}") as socket:
            await socket.recv()
        async with it.http.stream("GET", f"/api/holdfast/events?x-api-key={KEY}") as stream:
            await anext(stream.aiter_lines())
        async with httpx.AsyncClient(base_url=it.url, headers={"Authorization": f"Bearer {KEY}"}) as other:
            assert (await other.get("/api/sessions")).status_code == 200
        message = {"session": "shop", "chatId": CHAT, "text": TEXT}
        assert (await it.http.post("/api/sendText", json=message)).status_code == 201

        async def breaks(*_: Any, **__: Any) -> Any:
            raise ValueError(f"cannot do {TEXT} for {CHAT}")

        with monkeypatch.context() as patch:
            patch.setattr(it.store, "messages", breaks)
            answer = await it.http.get(f"/api/shop/chats/{CHAT}@c.us/messages")
        assert answer.status_code == 500
        assert TEXT not in answer.text

    try:
        check(tmp_path, body)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    for secret in (KEY, TEXT, CHAT):
        assert secret not in out.getvalue(), [line for line in lines if secret in str(line)]
    (bug,) = [line for line in lines if line.get("code") == "bug"]
    assert "ValueError" in bug["exception"]
    assert bug["path"] == "/api/shop/chats/+407****11@c.us/messages"
    assert any("/ws?" in line["event"] for line in lines), "the server no longer logs the address: look for another"
    assert all(line["instance"] for line in lines)
