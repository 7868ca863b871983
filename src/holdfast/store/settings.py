"""Small facts of the installation, by key."""

from __future__ import annotations

from sqlalchemy import Connection, select

from holdfast.store.schema import db_now, setting
from holdfast.store.sql import insert


def get(c: Connection, key: str) -> str | None:
    """The value, or None."""
    value: str | None = c.execute(select(setting.c.value).where(setting.c.key == key)).scalar()
    return value


def put(c: Connection, key: str, value: str, *, only_if_absent: bool = False) -> str:
    """Store, and return the value that stands afterwards."""
    stmt = insert(c, setting).values(key=key, value=value, updated_at=db_now())
    if only_if_absent:
        c.execute(stmt.on_conflict_do_nothing(index_elements=["key"]))
        stands = get(c, key)
        return value if stands is None else stands
    c.execute(stmt.on_conflict_do_update(index_elements=["key"], set_={"value": value, "updated_at": db_now()}))
    return value
