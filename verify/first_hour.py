"""A.1: linked sessions meet no other WhatsApp, whatever leads one to their database."""

from __future__ import annotations

import tempfile
from pathlib import Path

import asyncpg

from tests.support.baileys_folder import make
from tests.support.cluster import cluster
from tests.support.commands import one_sentence, run, settings
from tests.support.processes import Wasim, free_port
from verify.harness import alone

PHONE = "40712345678"
TABLES = ("credential", "session", "session_epoch", "timeline")


@alone("A.1", "demo, start and import with another WhatsApp leave the linked sessions of a PostgreSQL alone")
async def linked_sessions_stay() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        elsewhere = Path(name) / "elsewhere"
        elsewhere.mkdir()
        async with cluster(Path(name), postgres=True) as ours, Wasim(elsewhere) as theirs:
            assert ours.database is not None
            server = await ours.start()
            await server.link(ours.wasim, "shop", PHONE, {})
            await make(theirs, elsewhere / "session-desk", "40787654321")
            wrong = {**settings(server), "HOLDFAST_PORT": str(free_port()), "HOLDFAST_DATA_DIR": str(elsewhere)}
            wrong |= {"HOLDFAST_WHATSAPP_URL": theirs.url, "HOLDFAST_WHATSAPP_ROOT_KEY": theirs.root_key}
            refused = 0
            for stopped in (False, True):  # whether or not an instance lives
                if stopped:
                    await server.stop()
                before = await _rows(ours.database.dsn("holdfast"))
                for command in (["serve"], ["import-baileys", elsewhere / "session-desk"]):
                    one_sentence(await run(*command, env=wrong))
                    refused += 1
                said = await run("demo", "--once", env={**wrong, "DATABASE_URL": ours.database.dsn("holdfast")})
                assert said.code == 0, said
                assert await _rows(ours.database.dsn("holdfast")) == before
            since = await ours.wasim.seq()
            await server.start()
            await server.until_working("shop")
            log = await ours.wasim.get("log", since=since, limit=100_000)
            assert not [entry for entry in log if "pair" in entry["kind"] or entry["kind"] == "failure"], log
    return f"{refused} refused, 2 demos, 0 rows changed, WORKING again without a QR code"


async def _rows(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything that another WhatsApp's answers could change."""
    db = await asyncpg.connect(dsn)
    try:
        columns = {"session": "name, phase, desired, state ->> 'phone', me"}
        return {
            table: [
                tuple(row) for row in await db.fetch(f"SELECT {columns.get(table, '*')} FROM {table} ORDER BY 1, 2")
            ]
            for table in TABLES
        }
    finally:
        await db.close()
