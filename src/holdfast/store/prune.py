"""What may be forgotten, a bounded number of rows at a time, so that no other transaction waits long."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, select

from holdfast.domain.outbox import FINAL
from holdfast.store.schema import cursor, db_now, delivery, event, inbox, instance, outbox

AT_ONCE = 1000
INSTANCE_KEPT = 86_400.0
"""How long an instance that gave no sign of life is listed, in seconds."""


def prune(c: Connection, age: float, events: float, dead: float) -> int:
    """See `ports.store.Store.prune`."""
    old = db_now() - age
    behind = exists().where(cursor.c.session_name == event.c.session_name, cursor.c.seq < event.c.seq)
    open_ = exists().where(delivery.c.event_seq == event.c.seq)
    return (
        _some(c, inbox, inbox.c.done_at < old)
        + _some(c, outbox, outbox.c.updated_at < old, outbox.c.state.in_(sorted(FINAL | {"sent", "delivered"})))
        + _some(c, delivery, delivery.c.state == "dead", delivery.c.updated_at < db_now() - dead)
        + _some(c, event, event.c.at < db_now() - events, ~behind, ~open_)
        + c.execute(delete(instance).where(instance.c.heartbeat_at < db_now() - INSTANCE_KEPT)).rowcount
    )


def _some(c: Connection, table: Table, *which: ColumnElement[bool]) -> int:
    oldest = select(table.c.seq).where(*which).order_by(table.c.seq).limit(AT_ONCE)
    return c.execute(delete(table).where(table.c.seq.in_(oldest.scalar_subquery()))).rowcount
