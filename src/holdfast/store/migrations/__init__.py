"""Alembic migrations, run by `holdfast.store.migrate`."""
