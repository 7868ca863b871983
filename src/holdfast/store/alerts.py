"""Alerts that stand, one document per session among the settings: few, small, and gone when all is well."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from holdfast.domain.errors import StaleEpoch
from holdfast.domain.rows import Json
from holdfast.store import settings
from holdfast.store.schema import session, setting
from holdfast.store.sql import check_epoch, dumps, loads

_PREFIX = "alerts:"


def every(c: Connection) -> dict[str, list[Json]]:
    """By session."""
    rows = c.execute(select(setting.c.key, setting.c.value).where(setting.c.key.startswith(_PREFIX)))
    return {key.removeprefix(_PREFIX): loads(value) for key, value in rows}


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
