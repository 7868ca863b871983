"""A database with linked sessions, and what leads a different WhatsApp to it: the demo, a start, an import."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.support.baileys_folder import make
from tests.support.commands import Said, alone, one_sentence, run, settings
from tests.support.processes import Holdfast, Wasim, free_port

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("processes")]

PHONE = "40712345678"


def _rows(database: Path) -> list[tuple[object, ...]]:
    """All that another WhatsApp could destroy."""
    with sqlite3.connect(database) as db:
        return [
            row
            for table in ("credential", "session", "session_epoch", "timeline", "instance")
            for row in db.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        ]


async def _serve(env: dict[str, str], *options: str) -> Said:
    return await run("serve", *options, env={**env, "HOLDFAST_PORT": str(free_port())})


async def test_linked_sessions_meet_no_other_whatsapp(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    database = data / "holdfast.sqlite3"
    async with Wasim(data) as ours, Wasim(elsewhere) as theirs:
        async with Holdfast(ours, data) as server:
            await server.link(ours, "shop", PHONE, {})
        before = _rows(database)
        env = settings(server)
        await make(theirs, elsewhere / "session-desk", "40787654321")
        wrong = {**env, "HOLDFAST_WHATSAPP_URL": theirs.url, "HOLDFAST_WHATSAPP_ROOT_KEY": theirs.root_key.upper()}
        for said in (await _serve(wrong), await run("import-baileys", elsewhere / "session-desk", env=wrong)):
            assert "linked to a different WhatsApp" in one_sentence(said)
            assert "`holdfast serve --change-root-key`" in said.err
        demo = {**env, "DATABASE_URL": f"sqlite:///{database}", "HOLDFAST_WEBHOOK_URL": "http://127.0.0.1:1/"}
        demo |= {"HOLDFAST_WAHA_SERVERS": '{"x": {"url": "http://127.0.0.1:1"}}', "HOLDFAST_LOG_LEVEL": "not a level"}
        said = await run("demo", "--once", env=demo)
        assert (said.code, "All is well." in said.out) == (0, True), said
        assert _rows(database) == before
        since = await theirs.seq()
        async with Holdfast(ours, data) as server:
            await server.until_working("shop")
        assert not await theirs.get("log", since=since, kind="login,failure")


async def test_the_demo_reads_no_env_file_but_for_its_port(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "settings").write_text(f"HOLDFAST_PORT={port}\nHOLDFAST_DATA_DIR={tmp_path}/data\nDATABASE_URL=no\n")
    said = await run("demo", "--once", env={"HOLDFAST_ENV_FILE": str(tmp_path / "settings")})
    assert said.code == 0, said
    assert not (tmp_path / "data").exists()


async def test_the_root_key_is_changed_on_purpose(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim:
        async with Holdfast(wasim, tmp_path) as server:
            await server.link(wasim, "shop", PHONE, {})
        changed = Holdfast(wasim, tmp_path, HOLDFAST_WHATSAPP_ROOT_KEY="cd" * 32)
        changed.argv.append("--change-root-key")
        async with changed:
            said = await _serve(settings(server), "--change-root-key")
            assert "differs from that of a running instance" in one_sentence(said)
        assert "linked to a different WhatsApp" in one_sentence(await _serve(settings(server)))
        again = Holdfast(wasim, tmp_path)
        again.argv.append("--change-root-key")
        async with again:
            await again.until_working("shop")


async def test_doctor_names_the_difference(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim:
        async with Holdfast(wasim, tmp_path) as server:
            await server.link(wasim, "shop", PHONE, {})
        said = await run("doctor", "--json", env=alone(tmp_path))
        assert said.code == 1
        assert "linked to a different WhatsApp" in said.out
        assert "different WhatsApp" not in (await run("doctor", "--json", env=settings(server))).out
