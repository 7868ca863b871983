"""Who is signed in at the dashboard, and the key that lets them in. Only hashes are stored."""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.store import settings
from holdfast.store.sql import Query

API_KEY_HASH = "api_key_hash"
"""Setting: SHA-256 of the generated API key, in hex. A key from the environment is not stored."""

_ADD = Query(
    "INSERT INTO dashboard_session (id_hash, created_at, expires_at) VALUES (?, holdfast_now(), holdfast_now() + ?)"
)
_STANDS = Query("SELECT 1 FROM dashboard_session WHERE id_hash = ? AND expires_at > holdfast_now()")
_END = Query("DELETE FROM dashboard_session WHERE id_hash = ?")
_END_ALL = Query("DELETE FROM dashboard_session")


def add(c: Connection, id_hash: str, lifetime: float) -> None:
    """See `ports.store.Store.add_dashboard_session`."""
    _ADD.run(c, id_hash, lifetime)


def stands(c: Connection, id_hash: str) -> bool:
    """See `ports.store.Store.dashboard_session_stands`."""
    return _STANDS.first(c, id_hash) is not None


def end(c: Connection, id_hash: str) -> None:
    """See `ports.store.Store.end_dashboard_session`."""
    _END.run(c, id_hash)


def rotate_key(c: Connection, key_hash: str) -> int:
    """See `ports.store.Store.rotate_key`."""
    settings.put(c, API_KEY_HASH, key_hash)
    return _END_ALL.count(c)
