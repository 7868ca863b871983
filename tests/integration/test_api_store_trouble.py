"""A disk that is full, as users of the API see it: 507 and the cause, nothing half done, all well after."""

from __future__ import annotations

from pathlib import Path

from tests.support.served import Served, check


def test_a_full_disk_is_said_and_all_is_well_after_it(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        message = {"session": "shop", "chatId": "40722000111@c.us", "text": "x" * 60_000}
        raw = it.store._driver._connections[0].raw  # type: ignore[attr-defined]
        most, used = (raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("max_page_count", "page_count"))
        raw.execute(f"PRAGMA max_page_count = {used}").close()
        refused = await it.http.post("/api/sendText", json=message)
        assert refused.status_code == 507, refused.text
        assert refused.json()["code"] == "store_full"
        assert "disk is full" in refused.json()["message"]
        assert str(tmp_path) not in refused.text, "an outsider needs no path"
        shown = (await it.http.get("/api/holdfast/sessions/shop")).json()
        assert (shown["reason"], shown["message"]) == ("store_full", refused.json()["message"])
        health = await it.http.get("/health")
        assert (health.status_code, health.json()["error"]["database"]["status"]) == (503, "down")
        raw.execute(f"PRAGMA max_page_count = {most}").close()
        sent = await it.http.post("/api/sendText", json=message)
        assert sent.status_code == 201, sent.text
        shown = (await it.http.get("/api/holdfast/sessions/shop")).json()
        assert (shown["status"], shown["reason"]) == ("WORKING", "working")
        assert (await it.http.get("/health")).status_code == 200

    check(tmp_path, body)
