"""Moving in, for real: the npm Baileys links and leaves a folder, and Holdfast goes on from it without a QR."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.support.baileys_folder import FRIEND, client, leave, make
from tests.support.commands import alone, one_sentence, run, settings
from tests.support.processes import BIN, Holdfast, Process, Wasim

PHONE = "40712345678"
OTHER = "40787654321"

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("processes")]


async def _talk(wasim: Wasim, server: Holdfast, name: str, phone: str, text: str) -> None:
    """A friend writes, and the session answers: both on the ratchets that came with the folder."""
    await wasim.post("inject", {"from": FRIEND, "to": phone, "text": text})
    chat = f"{FRIEND}@c.us"

    async def arrived() -> bool:
        found = await server.ask("GET", f"/api/{name}/chats/{chat}/messages", limit="50")
        return text in [message["body"] for message in found]

    async with asyncio.timeout(30):
        while not await arrived():
            await asyncio.sleep(0.05)
    sent = await server.ask("POST", "/api/sendText", {"session": name, "chatId": chat, "text": f"re: {text}"})
    assert sent["ack"] >= 1, sent


async def _no_new_device(wasim: Wasim, since: int, *, behind: bool = False) -> None:
    """Logins, no pairing, no fight; and, unless the folder is `behind`, no message that had to be asked for again."""
    log = await wasim.get("log", since=since, limit=100_000)
    kinds = {record["kind"] for record in log}
    assert "login" in kinds
    assert not [kind for kind in kinds if "pair" in kind or "qr" in kind or kind == "replaced"], kinds
    retries = [record for record in log if record["kind"] == "receipt" and record.get("type") == "retry"]
    assert behind or not retries, "a ratchet did not fit"


async def test_with_the_server_stopped_a_folder_of_many_moves_in_but_for_the_bad_ones(tmp_path: Path) -> None:
    old, data = tmp_path / "old", tmp_path / "data"
    async with Wasim(tmp_path) as wasim:
        await make(wasim, old / "session-shop", PHONE)
        await make(wasim, old / "session-desk", OTHER)
        shutil.copytree(old / "session-shop", old / "session-twin")
        shutil.copytree(old / "session-desk", old / "session-worn")
        (old / "session-worn/pre-key-9.json").write_text("")
        (old / "session-worn/creds.json").write_text('{"noiseKey"')
        (old / "session-web/Default").mkdir(parents=True)
        since = await wasim.seq()

        said = await run("import-baileys", old, env=alone(data, HOLDFAST_WHATSAPP_ROOT_KEY=wasim.root_key))
        assert said.code == 1, "what was refused must be seen by scripts"
        assert "2 imported, 3 refused." in said.out
        assert "refused   session-twin: Session 'shop' has these credentials already" in said.out
        assert "refused   session-worn: creds.json is damaged" in said.out
        assert "refused   session-worn: pre-key-9.json is damaged: it is empty." in said.out
        assert "whatsapp-web.js" in said.out
        assert "(incompatible_credentials)" in said.out

        again = await run(
            "import-baileys", old / "session-shop", env=alone(data, HOLDFAST_WHATSAPP_ROOT_KEY=wasim.root_key)
        )
        assert (again.code, "nothing was changed" in again.out) == (0, True)
        taken = await run(
            "import-baileys",
            old / "session-desk",
            "--name",
            "shop",
            env=alone(data, HOLDFAST_WHATSAPP_ROOT_KEY=wasim.root_key),
        )
        assert "Session 'desk' has these credentials already" in taken.out

        async with Holdfast(wasim, data) as server:
            await server.until_working("shop")
            await server.until_working("desk")
            views = await server.ask("GET", "/api/holdfast/sessions")
            assert sorted(view["name"] for view in views) == ["desk", "shop"]
            await _talk(wasim, server, "shop", PHONE, "after the move")
            timeline = await server.ask("GET", "/api/holdfast/sessions/shop/timeline")
            assert timeline[-1]["code"] == "imported"
            await _no_new_device(wasim, since)


async def test_with_the_server_running_it_connects_by_itself_and_a_running_one_is_not_replaced(tmp_path: Path) -> None:
    folder, data = tmp_path / "session-shop", tmp_path / "data"
    async with Wasim(tmp_path) as wasim:
        await make(wasim, folder, PHONE)
        data.mkdir()
        async with Holdfast(wasim, data) as server:
            since = await wasim.seq()
            said = await run("import-baileys", folder, env=settings(server))
            assert said.code == 0, said
            await server.until_working("shop", timeout=15)
            await _talk(wasim, server, "shop", PHONE, "to a running server")

            await _no_new_device(wasim, since)

            refused = await run("import-baileys", folder, "--replace", env=settings(server))
            assert refused.code == 1
            assert "'shop' is running on a server. Stop it there first" in refused.out
            await server.until_working("shop", timeout=1)

            await server.ask("POST", "/api/sessions/shop/stop")
            async with client(wasim, folder) as plain:  # the old program once more: its ratchets move on
                await plain.connect()
                await wasim.post("inject", {"from": FRIEND, "to": PHONE, "text": "to the old program"})
                await plain.until("message", text="to the old program")
                await leave(plain)
            said = await run("import-baileys", folder, "--replace", env=settings(server))
            assert said.code == 0, said
            await server.until_working("shop", timeout=30)
            await _talk(wasim, server, "shop", PHONE, "back again")
            texts = [m["body"] for m in await server.ask("GET", f"/api/shop/chats/{FRIEND}@c.us/messages", limit="50")]
            assert "to a running server" in texts, "the conversation stayed"
            await _no_new_device(wasim, since, behind=True)


async def test_an_existing_session_is_not_touched(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim:
        await make(wasim, tmp_path / "session-shop", PHONE)
        await make(wasim, tmp_path / "other/session-shop", OTHER)
        env = alone(tmp_path / "data")
        assert (await run("import-baileys", tmp_path / "session-shop", env=env)).code == 0
        kept = _kept(tmp_path / "data")
        assert kept
        said = await run("import-baileys", tmp_path / "other", env=env)
        assert said.code == 1
        assert "A session named 'shop' exists already. Give --replace" in said.out
        said = await run("import-baileys", tmp_path / "other", "--replace", env=env)
        assert "'shop' belongs to +407****78, and these credentials to +407****21" in said.out
        assert _kept(tmp_path / "data") == kept


def _kept(data: Path) -> list[tuple[object, ...]]:
    """Sessions and credentials, as they are stored."""
    with sqlite3.connect(data / "holdfast.sqlite3", timeout=10) as db:
        found = [
            db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in ("credential", "session")
        ]
    return [row for rows in found for row in rows]


async def test_ctrl_c_loses_nothing(tmp_path: Path) -> None:
    old, data = tmp_path / "old", tmp_path / "data"
    async with Wasim(tmp_path) as wasim:
        await make(wasim, old / "session-s000", PHONE)
    for file in (old / "session-s000").glob("pre-key-*.json"):  # many files make only the test slow
        file.unlink()
    text = (old / "session-s000/creds.json").read_text()
    creds = json.loads(text)
    identity = creds["signedIdentityKey"]["public"]["data"]
    for number in range(1, 120):  # each with an identity of its own, so that none is a twin
        folder = Path(shutil.copytree(old / "session-s000", old / f"session-s{number:03}"))
        (folder / "creds.json").write_text(text.replace(identity, f"{number:04}{identity[4:]}"))
    async with Process(BIN / "holdfast", "import-baileys", old, env={**alone(data), "COLUMNS": "500"}) as child:
        assert "imported" in await child.line()
        child.child.send_signal(signal.SIGINT)
        assert child.child.stdout is not None
        rest = (await child.child.stdout.read()).decode()
        assert await child.child.wait() == 130, rest
    done = 1 + rest.count("imported  ")
    assert f"{done} imported, 0 refused." in rest
    assert f"Stopped before the last {120 - done}." in rest
    said = await run("import-baileys", old, env=alone(data))
    assert said.code == 0
    assert said.out.count("nothing was changed") == done
    assert f"{120 - done} imported, 0 refused." in said.out


async def test_bad_use_is_told_in_one_sentence(tmp_path: Path) -> None:
    env = alone(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    assert "There is no folder" in one_sentence(await run("import-baileys", tmp_path / "none", env=env))
    assert "holds no credentials" in one_sentence(await run("import-baileys", tmp_path / "empty", env=env))
    for name in ("session-a", "session-b"):
        (tmp_path / "two" / name).mkdir(parents=True)
    said = await run("import-baileys", tmp_path / "two", "--name", "shop", env=env)
    assert "--name is for one folder" in one_sentence(said)
    said = await run("import-baileys", tmp_path / "two/session-a", "--name", "my shop", env=env)
    assert said.code == 1
