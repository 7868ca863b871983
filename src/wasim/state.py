"""What survives a restart of the simulator: facts in one SQLite file, written as they change.

Facts are named by kind and key and hold JSON (bytes as ``{"b64": …}``). Puts collect in one transaction; ``commit``
ends it, and is called before anything is answered that the client may rely on. Durability is against a killed process;
a power cut may lose the last moment, which a simulator may.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TABLE = "CREATE TABLE IF NOT EXISTS facts (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))"
_LOAD = "SELECT key, value FROM facts WHERE kind = ? AND key >= ? AND key < ? ORDER BY key"


class StateError(RuntimeError):
    """The state file cannot be used; the message says why and what to do."""


class State:
    """The store; without a path it keeps nothing and costs nothing."""

    def __init__(self, path: Path | None) -> None:
        self._db: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS facts (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))"
            )
        except (sqlite3.Error, OSError) as error:
            raise StateError(
                f"cannot use the state file {path}: {error}. Is another wasim using it? "
                "Name another file with --state, or delete this one to start afresh."
            ) from error

    def put(self, kind: str, key: str, value: Any) -> None:
        """Store one fact, in the open transaction."""
        if self._db is not None:
            self._begin()
            text = json.dumps(value, default=_pack)
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (kind, key, text))

    def delete(self, kind: str, key: str) -> None:
        """Remove one fact, in the open transaction."""
        if self._db is not None:
            self._begin()
            self._db.execute("DELETE FROM facts WHERE kind = ? AND key = ?", (kind, key))

    def load(self, kind: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Give the facts of a kind whose key starts with ``prefix``, ordered by key."""
        if self._db is not None:
            bounds = (kind, prefix, prefix + "\U0010ffff")
            for key, text in self._db.execute(_LOAD, bounds).fetchall():
                yield key, json.loads(text, object_hook=_unpack)

    def commit(self) -> None:
        """End the open transaction, if there is one."""
        if self._db is not None and self._db.in_transaction:
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Commit and close."""
        if self._db is not None:
            self.commit()
            self._db.close()
            self._db = None

    def _begin(self) -> None:
        if self._db is not None and not self._db.in_transaction:
            self._db.execute("BEGIN")


def _pack(value: object) -> object:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _unpack(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["b64"]) if value.keys() == {"b64"} else value
