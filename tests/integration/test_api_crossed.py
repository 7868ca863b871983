"""Requests that come at the wrong moment, or several at once: a clear answer to each, and one outcome."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.served import Served, check


def opened(it: Served, kind: str) -> int:
    """How often the engine was told to `pair`, or to log in."""
    return [what for _, what, _ in it.engine.log].count(kind)


def test_connects_regenerations_and_restarts_that_cross_have_one_outcome(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        post = it.http.post
        assert (await post("/api/sessions", json={"name": "shop", "start": False})).status_code == 201
        starts = await asyncio.gather(*(post("/api/sessions/shop/start") for _ in range(4)))
        assert [answer.status_code for answer in starts] == [201] * 4
        await it.until("shop", "SCAN_QR_CODE")
        asked = [post("/api/whatsapp/regenerate-qr", json={"accountId": "shop"}) for _ in range(4)]
        shown = [answer.json() for answer in await asyncio.gather(*asked)]
        assert {(said["status"], said["qr"]) for said in shown} == {("qr_ready", shown[0]["qr"])}
        assert opened(it, "pair") == 1, "a QR that is on show was thrown away"
        it.engine.scan("shop")
        await it.until("shop", "WORKING")
        again = await post("/api/sessions/shop/start")
        assert (again.status_code, again.json()["status"]) == (201, "WORKING")
        before = opened(it, "login")
        restarts = await asyncio.gather(*(post("/api/sessions/shop/restart") for _ in range(4)))
        assert [answer.status_code for answer in restarts] == [201] * 4
        await it.until("shop", "WORKING")
        assert 1 <= opened(it, "login") - before <= 4
        assert opened(it, "login") + opened(it, "pair") - opened(it, "closed") == 1, "one connection is left"
        asked = [post("/api/v1/waha/restart", params={"session": "shop"}) for _ in range(3)]
        told = [answer.json()["data"]["currentStatus"] for answer in await asyncio.gather(*asked)]
        assert told == ["WORKING"] * 3

    check(tmp_path, body)
