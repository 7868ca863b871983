"""Alerts that stand, one document per session or webhook receiver among the settings: few, small, and gone when all is
well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, select, update

from holdfast.domain.errors import StaleEpoch
from holdfast.domain.rows import Json, SessionRow
from holdfast.store import sessions, settings
from holdfast.store.schema import db_now, session, setting
from holdfast.store.sql import Query, check_epoch, dumps, insert, loads

_PREFIX = "alerts:"
_OUTAGE = "outage:"


_EVERY = Query("SELECT key, value FROM setting WHERE key LIKE ?")
_UNHELD = Query(
    f"{sessions.ROWS} WHERE NOT EXISTS (SELECT 1 FROM session_lock l WHERE l.session_name = s.name "  # noqa: S608
    "AND l.expires_at > holdfast_now()) AND ((s.desired = 'running' AND s.phase = 'terminal') "
    f"OR EXISTS (SELECT 1 FROM setting WHERE key = '{_PREFIX}' || s.name)) ORDER BY s.name"
)
_LEFT = Query(
    f"SELECT key FROM setting WHERE key LIKE '{_PREFIX}%' "  # noqa: S608
    f"AND NOT EXISTS (SELECT 1 FROM session s WHERE key = '{_PREFIX}' || s.name)"
)


def every(c: Connection) -> dict[str, list[Json]]:
    """By session."""
    return _of(c, _PREFIX)


def _of(c: Connection, prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): loads(value) for key, value in _EVERY.all(c, f"{prefix}%")}


def unheld(c: Connection) -> tuple[list[SessionRow], list[str]]:
    """See `ports.store.Store.unheld`."""
    rows = [sessions.row_of(found) for found in _UNHELD.all(c)]
    return rows, [key.removeprefix(_PREFIX) for (key,) in _LEFT.all(c)]


def save(c: Connection, name: str, epoch: int | None, alerts: Sequence[Json]) -> None:
    """See `ports.store.Store.save_alerts`."""
    if epoch is not None:
        check_epoch(c, name, epoch)
    elif c.execute(select(session.c.name).where(session.c.name == name)).first() is not None:
        raise StaleEpoch(session=name)
    if alerts:
        settings.put(c, _PREFIX + name, dumps(list(alerts)))
    else:
        c.execute(delete(setting).where(setting.c.key == _PREFIX + name))


def outages(c: Connection) -> dict[str, Json]:
    """By receiver."""
    return _of(c, _OUTAGE)


def swap_outage(c: Connection, receiver: str, before: Json | None, after: Json | None) -> bool:
    """See `ports.store.Store.swap_outage`."""
    key = _OUTAGE + receiver
    if before is None:
        new = insert(c, setting).values(key=key, value=dumps(after), updated_at=db_now())
        return bool(c.execute(new.on_conflict_do_nothing().returning(setting.c.key)).all())
    same = and_(setting.c.key == key, setting.c.value == dumps(before))
    if after is None:
        return c.execute(delete(setting).where(same)).rowcount > 0
    return c.execute(update(setting).where(same).values(value=dumps(after), updated_at=db_now())).rowcount > 0
