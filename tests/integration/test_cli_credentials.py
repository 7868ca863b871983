"""`clear-auth` and `export-contacts`, with the server running and with the server stopped."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from pathlib import Path

import pytest

from tests.support.baileys_folder import FRIEND
from tests.support.commands import Said, alone, one_sentence, run, settings
from tests.support.processes import Holdfast, Wasim

PHONE = "40712345678"
OTHER = "40787654321"

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("processes")]


def credentials(folder: Path, name: str) -> int:
    with sqlite3.connect(folder / "holdfast.sqlite3", timeout=10) as db:
        return int(db.execute("SELECT count(*) FROM credential WHERE session_name = ?", (name,)).fetchone()[0])


async def _talk(wasim: Wasim, server: Holdfast) -> None:
    """A conversation, which must outlive the credentials."""
    await wasim.post("inject", {"from": FRIEND, "to": PHONE, "text": "hello"})
    sent = await server.ask("POST", "/api/sendText", {"session": "shop", "chatId": f"{FRIEND}@c.us", "text": "kept"})
    assert sent["ack"] >= 1, sent


async def _texts(server: Holdfast, name: str) -> list[str]:
    found = await server.ask("GET", f"/api/{name}/chats/{FRIEND}@c.us/messages", limit="10")
    return [message["body"] for message in found]


async def test_at_a_running_server_the_device_is_logged_out_and_a_new_qr_shown(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim, Holdfast(wasim, tmp_path) as server:
        await server.link(wasim, "shop", PHONE)
        await server.link(wasim, "desk", OTHER)
        await _talk(wasim, server)

        kept = await run("clear-auth", "shop", env=settings(server), stdin="n\n")
        assert kept.code == 1
        assert "Clear the credentials of 'shop'?" in kept.out
        await server.until_working("shop", timeout=1)

        since = await wasim.seq()
        said = await run("clear-auth", "shop", env=settings(server), stdin="y\n")
        assert said.code == 0, said
        assert "Show it with `holdfast pair shop`" in said.out
        view = await server.until("shop", lambda view: view["status"] == "SCAN_QR_CODE", timeout=15)
        assert "Scan the QR code" in view["message"]
        gone = await wasim.get("log", since=since, limit=10_000)
        assert [r for r in gone if r["kind"] in ("logout", "removed", "unlinked")], {r["kind"] for r in gone}
        await server.until_working("desk", timeout=1)

        await server.scan(wasim, "shop", PHONE)
        await server.until_working("shop")
        assert "kept" in await _texts(server, "shop")


async def test_at_a_running_server_all_at_once(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim, Holdfast(wasim, tmp_path) as server:
        await server.link(wasim, "shop", PHONE)
        await server.link(wasim, "desk", OTHER)
        await server.ask("POST", "/api/sessions/desk/stop")
        said = await run("clear-auth", "--all", "--yes", env=settings(server))
        assert said.code == 0, said
        await server.until("shop", lambda view: view["status"] == "SCAN_QR_CODE", timeout=15)
        assert "desk: cleared. Logged out by the user. Connect to link it again.\n" in said.out
        assert credentials(tmp_path, "desk") == 0


async def test_with_the_server_stopped_the_next_start_asks_for_a_qr(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim:
        async with Holdfast(wasim, tmp_path) as server:
            await server.link(wasim, "shop", PHONE)
            await _talk(wasim, server)
        said = await run("clear-auth", "shop", "--yes", env=alone(tmp_path))
        assert said.code == 0, said
        assert "The server asks for a QR code at its next start." in said.out
        assert credentials(tmp_path, "shop") == 0
        async with Holdfast(wasim, tmp_path) as server:
            await server.until("shop", lambda view: view["status"] == "SCAN_QR_CODE", timeout=15)
            await server.scan(wasim, "shop", PHONE)
            await server.until_working("shop")
            assert "kept" in await _texts(server, "shop")


async def test_on_the_database_of_a_server_that_runs_elsewhere_it_is_fenced(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim, Holdfast(wasim, tmp_path, HOLDFAST_TIME_FACTOR="0.2") as server:
        await server.link(wasim, "shop", PHONE)
        said = await run("clear-auth", "shop", "--yes", env=alone(tmp_path))  # as if on another machine
        assert said.code == 0, said
        await server.until("shop", lambda view: view["status"] == "SCAN_QR_CODE", timeout=30)
        assert credentials(tmp_path, "shop") == 0, "the holder wrote nothing back"


async def test_contacts_are_exported_without_credentials(tmp_path: Path) -> None:
    evil = '=HYPERLINK("http://evil","click")'
    async with Wasim(tmp_path) as wasim:
        async with Holdfast(wasim, tmp_path) as server:
            await server.link(wasim, "shop", PHONE)
            await server.ask("POST", "/api/sessions/shop/stop")
            with sqlite3.connect(tmp_path / "holdfast.sqlite3", timeout=10) as db:
                row = ("shop", f"{FRIEND}@s.whatsapp.net", FRIEND, "777@lid", evil, "Ana")
                db.execute("INSERT OR REPLACE INTO contact VALUES (?, ?, ?, ?, ?, ?)", row)
            env = settings(server)
            running = await _exported(env)
            assert "There is no session 'none'" in one_sentence(await run("export-contacts", "none", env=env))
            async with server.http.get(f"{server.url}/api/holdfast/sessions/shop/contacts?format=csv") as answer:
                assert answer.headers["Content-Type"].startswith("text/csv")
                assert answer.headers["Content-Disposition"] == 'attachment; filename="contacts-shop.csv"'
                assert (await answer.read()).decode() == running["csv"].out
            async with server.http.get(f"{server.url}/api/holdfast/sessions/shop/contacts?format=pdf") as answer:
                assert answer.status == 400
            async with server.http.get(
                f"{server.url}/api/holdfast/sessions/shop/contacts", headers={"X-Api-Key": "wrong"}
            ) as answer:
                assert answer.status == 401
        env = alone(tmp_path)
        stopped = await _exported(env)
        assert "There is no session 'none'" in one_sentence(await run("export-contacts", "none", env=env))
        _check(running)
        assert {form: said.out for form, said in stopped.items()} == {form: said.out for form, said in running.items()}

        file = tmp_path / "out.vcf"
        said = await run("export-contacts", "shop", "--format", "vcard", "-o", file, env=env)
        assert (said.code, said.out) == (0, "")
        assert file.read_bytes().decode() == stopped["vcard"].out
        said = await run("export-contacts", "shop", "-o", tmp_path, env=env)
        assert "cannot be written" in one_sentence(said)


async def _exported(env: dict[str, str]) -> dict[str, Said]:
    forms = ("json", "csv", "vcard")
    said = await asyncio.gather(*(run("export-contacts", "shop", "--format", form, env=env) for form in forms))
    return dict(zip(forms, said, strict=True))


def _check(said: dict[str, Said]) -> None:
    assert [one.code for one in said.values()] == [0, 0, 0]
    contacts = {contact["phone"]: contact for contact in json.loads(said["json"].out)}
    assert set(contacts[FRIEND]) == {"id", "phone", "lid", "name", "push_name"}
    rows = {row["phone"]: row for row in csv.DictReader(io.StringIO(said["csv"].out))}
    assert rows.keys() == contacts.keys()
    assert rows[FRIEND]["name"] == f"'{contacts[FRIEND]['name']}"
    assert f"TEL;TYPE=CELL:+{FRIEND}" in said["vcard"].out


async def test_bad_use_is_told_in_one_sentence(tmp_path: Path) -> None:
    env = alone(tmp_path)
    assert "Name one session, or give --all." in one_sentence(await run("clear-auth", env=env))
    assert "Name one session, or give --all." in one_sentence(await run("clear-auth", "shop", "--all", env=env))
    assert "There is no session 'shop'." in one_sentence(await run("clear-auth", "shop", env=env))
    assert (await run("clear-auth", "--all", env=env)).out == "There are no sessions.\n"
    gone = await run("clear-auth", "--all", "--url", "http://127.0.0.1:1", env=env)
    assert "No Holdfast answers at http://127.0.0.1:1" in one_sentence(gone)
