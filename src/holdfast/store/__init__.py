"""Everything durable: one store on SQLAlchemy Core, for SQLite and PostgreSQL.

Rooms: `schema` (tables), `migrations`, `drivers` (who runs a transaction, on which thread, in which commit), one module
of transaction functions per noun (`leases`, `sessions`, `keys`, `inbox`, `outbox`, `messages`, `people`, `events`),
and `facade.SqlStore`, the port.
"""

from __future__ import annotations

from holdfast.domain.errors import InvalidSettings
from holdfast.domain.whatsapp import WhatsApp
from holdfast.ports.clock import Clock
from holdfast.store import urls
from holdfast.store.bootclock import DatabaseTime
from holdfast.store.drivers import Driver
from holdfast.store.drivers.inline import InlineDriver
from holdfast.store.drivers.sqlite import SqliteDriver
from holdfast.store.facade import SqlStore
from holdfast.store.migrate import migration_sql

__all__ = ["SqlStore", "migration_sql", "open_store"]


def open_store(
    url: str, clock: Clock, *, direct_url: str = "", boot_id: str | None = None, whatsapp: WhatsApp | None = None
) -> SqlStore:
    """The store for a URL; its `open` connects. `sqlite://` is one in memory without threads. `direct_url` leads to the
    same PostgreSQL past a pooler, for hints. `boot_id` is for tests. `whatsapp`: where sessions of this process are
    linked; WhatsApp itself unless given.

    Raises `InvalidSettings` for a URL of another kind.
    """
    return SqlStore(_driver(url, direct_url, DatabaseTime(clock, boot_id)), clock, whatsapp)


def _driver(url: str, direct_url: str, time: DatabaseTime) -> Driver:
    path = urls.sqlite_path(url)
    if path is not None:
        return InlineDriver(time) if path == urls.MEMORY else SqliteDriver(path, time)
    if urls.is_postgres(url):
        from holdfast.store.drivers.postgres import PostgresDriver  # noqa: PLC0415 - slow to import, and seldom needed

        direct = urls.postgres(direct_url, "HOLDFAST_DATABASE_DIRECT_URL") if direct_url else None
        return PostgresDriver(urls.postgres(url), direct=direct)
    raise InvalidSettings(
        "HOLDFAST_DATABASE_URL must begin with sqlite:/// or postgresql://; "
        + (f"'{url.partition('://')[0]}' is not supported." if "://" in url else "it has no '://'.")
    )
