"""Alembic's entry: uses the connection, or for offline SQL the dialect, that `holdfast.store.migrate` hands over."""

from __future__ import annotations

from alembic import context

from holdfast.store import migrate
from holdfast.store.schema import metadata

config = context.config
if context.is_offline_mode():
    context.configure(dialect_name=config.attributes["dialect"], target_metadata=metadata, literal_binds=True)
else:
    context.configure(connection=config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
with context.begin_transaction():
    if context.is_offline_mode() and config.attributes["dialect"] == "postgresql":
        context.execute(f"SELECT pg_advisory_xact_lock({migrate.LOCK})")
    context.run_migrations()
    context.execute(
        f"INSERT INTO setting (key, value, updated_at) VALUES ('{migrate.OLDEST_KEY}', '{migrate.OLDEST}', 0) "  # noqa: S608
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    )
