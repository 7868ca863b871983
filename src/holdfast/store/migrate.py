"""Brings a database to this version's schema, or says that it is newer. Alembic is loaded only if there is work."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from holdfast.domain.errors import StoreNewer
from holdfast.store.schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0004"
"""The newest revision in `migrations/versions`; a test holds that."""

ATTEMPTS = 20
"""How often a migration that waits for others' locks steps back, so that they go on, and tries again."""

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x686F6C64  # "hold": the advisory lock under which PostgreSQL is migrated


def upgrade(c: Connection) -> None:
    """Run what is missing, inside the caller's transaction. Raises `StoreNewer`."""
    if c.dialect.name == "postgresql":
        c.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    current = revision(c)
    if current == HEAD:
        return
    from alembic import command  # noqa: PLC0415 - costs a tenth of a second, and most starts need it not

    refuse_newer(current)
    config = _config()
    config.attributes["connection"] = c
    command.upgrade(config, "head")


def refuse_newer(current: str | None) -> None:
    """Raises `StoreNewer` for a revision that this version does not know."""
    if current not in (None, HEAD) and current not in _known(_config()):
        raise StoreNewer(
            f"The database was written by a newer Holdfast (schema {current}, this one knows up to {HEAD}). "
            "Start that version, or restore an older backup."
        )


def is_current(c: Connection) -> bool:
    """Whether there is nothing to do; needs no lock."""
    return revision(c) == HEAD


def create(c: Connection) -> None:
    """The whole schema at once, for a database that lives in memory."""
    metadata.create_all(c)


def revision(c: Connection) -> str | None:
    """What the database is at; None if it is empty."""
    if not inspect(c).has_table("alembic_version"):
        return None
    found: str | None = c.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def migration_sql(url: str) -> str:
    """The SQL that `psql` or `sqlite3` would run to make the schema from nothing."""
    from alembic import command  # noqa: PLC0415 - see `upgrade`

    config = _config()
    config.attributes["dialect"] = "sqlite" if url.startswith("sqlite") else "postgresql"
    config.output_buffer = io.StringIO()
    command.upgrade(config, "head", sql=True)
    return config.output_buffer.getvalue()


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see `upgrade`

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def _known(config: Config) -> set[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see `upgrade`

    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
