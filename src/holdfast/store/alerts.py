"""Alerts that stand, one document per session or webhook receiver among the settings: few, small, and gone when all is
well.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, exists, literal, or_, select, update

from holdfast.domain.errors import StaleEpoch
from holdfast.domain.rows import Json, SessionRow
from holdfast.store import sessions, settings
from holdfast.store.schema import db_now, session, session_lock, setting
from holdfast.store.sql import check_epoch, dumps, insert, loads

_PREFIX = "alerts:"
_OUTAGE = "outage:"


def every(c: Connection) -> dict[str, list[Json]]:
    """By session."""
    rows = c.execute(select(setting.c.key, setting.c.value).where(setting.c.key.startswith(_PREFIX)))
    return {key.removeprefix(_PREFIX): loads(value) for key, value in rows}


def unheld(c: Connection) -> tuple[list[SessionRow], list[str]]:
    """See `ports.store.Store.unheld`."""
    key = literal(_PREFIX) + session.c.name
    held = exists().where(session_lock.c.session_name == session.c.name, session_lock.c.expires_at > db_now())
    lost = and_(session.c.desired == "running", session.c.phase == "terminal")
    rows = sessions.read(c, ~held, or_(lost, exists().where(setting.c.key == key)))
    left = select(setting.c.key).where(setting.c.key.startswith(_PREFIX), ~exists().where(key == setting.c.key))
    return rows, [str(found).removeprefix(_PREFIX) for found in c.execute(left).scalars()]


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
    rows = c.execute(select(setting.c.key, setting.c.value).where(setting.c.key.startswith(_OUTAGE)))
    return {key.removeprefix(_OUTAGE): loads(value) for key, value in rows}


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
