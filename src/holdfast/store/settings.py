"""Small facts of the installation, by key."""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.store.sql import Query

_GET = Query("SELECT value FROM setting WHERE key = ?")
_ADD = "INSERT INTO setting (key, value, updated_at) VALUES (?, ?, holdfast_now()) ON CONFLICT (key) DO "
_KEEP = Query(f"{_ADD} NOTHING")
_PUT = Query(f"{_ADD} UPDATE SET value = excluded.value, updated_at = excluded.updated_at")


def get(c: Connection, key: str) -> str | None:
    """The value, or None."""
    found = _GET.first(c, key)
    return None if found is None else str(found[0])


def put(c: Connection, key: str, value: str, *, only_if_absent: bool = False) -> str:
    """Store, and return the value that stands afterwards."""
    (_KEEP if only_if_absent else _PUT).run(c, key, value)
    stands = get(c, key) if only_if_absent else value
    return value if stands is None else stands
