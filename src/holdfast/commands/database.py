"""`migrate`: the database, brought up to this version."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from holdfast.commands.options import DataDir, out, settings_of


def migrate(
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")] = False,
    since: Annotated[
        str,
        typer.Option(help="With --sql: only what came after this schema (`SELECT version_num FROM alembic_version`)."),
    ] = "",
    data_dir: DataDir = None,
) -> None:
    """Bring the database up to this version. The server does it by itself at its start."""
    from holdfast.runtime.clock import SystemClock  # noqa: PLC0415 - `--help` stays fast
    from holdfast.store import migration_sql, open_store  # noqa: PLC0415
    from holdfast.store.database_file import check_not_lost  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)
    if sql:
        sys.stdout.write(migration_sql(settings.url, since))
        return

    async def upgrade() -> None:
        check_not_lost(settings.url, settings.data_dir)
        store = open_store(settings.url, SystemClock())
        await store.open()
        await store.close()

    asyncio.run(upgrade())
    out.print("The database is up to date.")
