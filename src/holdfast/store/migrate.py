"""Brings a database to this version's schema, or says that it is newer. Alembic is loaded only if there is work."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select, text

from holdfast.domain.errors import InvalidSettings, StoreNewer
from holdfast.store.schema import metadata, setting

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0012"
"""The newest revision in `migrations/versions`; a test holds that."""

OLDEST = "0004"
"""The oldest revision whose Holdfast works on this schema: it may go on running, and start again, while a rolling
deploy lasts. Raise it only with a migration that takes away or changes what that version uses (CONTRIBUTING.md)."""

OLDEST_KEY = "schema.oldest"
"""Where the database keeps it, for versions that do not know its revision."""

ATTEMPTS = 20
"""How often a migration that waits for others' locks steps back, so that they go on, and tries again."""

LOCK_WAIT = 3.0
"""Seconds to wait for one lock before stepping back: whoever waits holds up all behind, renewals of leases included."""

LOCK = 0x686F6C64
""""hold": the advisory lock of one transaction under which PostgreSQL is migrated; poolers pass it on."""

_FOLDER = Path(__file__).parent / "migrations"


def upgrade(c: Connection) -> None:
    """Run what is missing, inside the caller's transaction. Raises `StoreNewer`.

    On PostgreSQL others may be at work: a table that cannot be locked in time fails the transaction (55P03).
    """
    if c.dialect.name == "postgresql":
        c.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        c.execute(text(f"SET LOCAL lock_timeout = {int(LOCK_WAIT * 1000)}"))
    if is_current(c):
        return
    from alembic import command  # noqa: PLC0415 - costs a tenth of a second, and most starts need it not

    current = revision(c)
    refuse_newer(current)
    if current is None and c.dialect.name == "sqlite" and inspect(c).get_table_names():
        raise InvalidSettings(
            "The database file belongs to a different program: it has tables, but none of Holdfast's. Set "
            "HOLDFAST_DATABASE_URL or HOLDFAST_DATA_DIR to another place."
        )
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
    """Whether there is nothing to do: the schema is this version's, or a later one's that lets this version run."""
    current = revision(c)
    if current is None or current == HEAD or current in _known(_config()):
        return current == HEAD
    oldest = c.execute(select(setting.c.value).where(setting.c.key == OLDEST_KEY)).scalar()
    return oldest is not None and oldest <= HEAD


def create(c: Connection) -> None:
    """The whole schema at once, for a database that lives in memory."""
    metadata.create_all(c)


def revision(c: Connection) -> str | None:
    """What the database is at; None if it is empty."""
    if not inspect(c).has_table("alembic_version"):
        return None
    found: str | None = c.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def migration_sql(url: str, since: str = "") -> str:
    """The SQL that `psql` or `sqlite3` would run to make the schema from nothing, or from revision `since`."""
    from alembic import command  # noqa: PLC0415 - see `upgrade`

    config = _config()
    if since and since not in _known(config):
        raise InvalidSettings(f"There is no schema {since!r}; this version knows {', '.join(sorted(_known(config)))}.")
    config.attributes["dialect"] = "sqlite" if url.startswith("sqlite") else "postgresql"
    config.output_buffer = io.StringIO()
    command.upgrade(config, f"{since}:head" if since else "head", sql=True)
    return config.output_buffer.getvalue()


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see `upgrade`

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def _known(config: Config) -> set[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see `upgrade`

    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
