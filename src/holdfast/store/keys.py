"""Credentials and Signal keys: the hot path, in plain SQL text.

Baileys' credentials themselves are `("creds", "")`; every other pair is one Signal key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, update

from holdfast.domain.errors import SessionNotFound
from holdfast.domain.rows import EngineWrite
from holdfast.domain.whatsapp import WhatsApp
from holdfast.store import inbox, root_key
from holdfast.store.schema import credential, session_epoch, session_lock
from holdfast.store.sql import check_epoch, raw

CREDS = ("creds", "")
_ONE = "SELECT value FROM credential WHERE session_name = ? AND type = ? AND id = ?"
_SEVERAL = "SELECT id, value FROM credential WHERE session_name = ? AND type = ? AND id IN ({})"
_PUT = (
    "INSERT INTO credential (session_name, type, id, value) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (session_name, type, id) DO UPDATE SET value = excluded.value"
)
_DROP = "DELETE FROM credential WHERE session_name = ? AND type = ? AND id = ?"
_AT_ONCE = 500


def read(c: Connection, name: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """The values that exist."""
    if len(keys) == 1:
        (kind, key) = keys[0]
        value = raw(c, _ONE, (name, kind, key)).scalar()
        return {} if value is None else {(kind, key): bytes(value)}
    found: dict[tuple[str, str], bytes] = {}
    by_type: dict[str, list[str]] = {}
    for kind, key in keys:
        by_type.setdefault(kind, []).append(key)
    for kind, ids in by_type.items():
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            statement = _SEVERAL.format(",".join("?" * _rounded(len(part))))
            padded = [*part, *[part[-1]] * (_rounded(len(part)) - len(part))]
            for row in raw(c, statement, (name, kind, *padded)):
                found[(kind, row[0])] = bytes(row[1])
    return found


def _rounded(count: int) -> int:
    """The next power of two: few distinct statements, so that the databases can keep them prepared."""
    return 1 << (count - 1).bit_length()


def write_engine(c: Connection, name: str, epoch: int, write: EngineWrite, whatsapp: WhatsApp) -> None:
    """Keys and inbox rows of one engine transaction, under the epoch."""
    check_epoch(c, name, epoch)
    if write.keys.get(CREDS) is not None:
        root_key.record(c, name, whatsapp)
    put_all(c, name, write.keys)
    inbox.add(c, name, write.inbox)


def put_all(c: Connection, name: str, keys: Mapping[tuple[str, str], bytes | None]) -> None:
    """Upsert values, delete where the value is None."""
    puts = [(name, kind, key, value) for (kind, key), value in keys.items() if value is not None]
    drops = [(name, kind, key) for (kind, key), value in keys.items() if value is None]
    if puts:
        raw(c, _PUT, puts)
    if drops:
        raw(c, _DROP, drops)


def clear(c: Connection, name: str) -> int:
    """Raise the epoch, then delete: whoever holds the session cannot write its keys back, and its next renewal is
    refused. How many values there were.
    """
    raised = update(session_epoch).where(session_epoch.c.session_name == name)
    epoch = c.execute(raised.values(epoch=session_epoch.c.epoch + 1).returning(session_epoch.c.epoch)).scalar()
    if epoch is None:
        raise SessionNotFound(f"There is no session '{name}'.")
    c.execute(update(session_lock).where(session_lock.c.session_name == name).values(epoch=epoch))
    return c.execute(delete(credential).where(credential.c.session_name == name)).rowcount
