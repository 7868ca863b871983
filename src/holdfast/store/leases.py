"""Leases and the fencing number (G1, G2).

A claim first locks the epoch's row, which waits for every writer that checked the old epoch; then one conditional
update of the lock's row decides, so that a renewal cannot slip in between. Renewals touch the lock's rows only and
never wait for writers.

An absent lock row (someone deleted it by hand) can be claimed one ttl after it was first seen missing: the old holder
may not know yet. `session_epoch.missing_since` remembers that; a regular release sets it to 0, which is long ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, case, delete, func, or_, select, tuple_, update

from holdfast.domain.rows import Hint, Holder, Json, Lease
from holdfast.store import hints
from holdfast.store.schema import db_now, instance, session, session_epoch, session_lock
from holdfast.store.sql import insert, now


def register_instance(c: Connection, name: str, url: str, version: str, labels: str) -> None:
    """Insert or refresh."""
    facts = {"url": url, "version": version, "labels": labels, "heartbeat_at": db_now()}
    stmt = insert(c, instance).values(id=name, started_at=db_now(), **facts)
    c.execute(stmt.on_conflict_do_update(index_elements=["id"], set_=facts))


def deregister_instance(c: Connection, name: str) -> None:
    """Remove it."""
    c.execute(delete(instance).where(instance.c.id == name))


def instances(c: Connection) -> list[Json]:
    """Every instance, newest heartbeat first: the sessions that it holds, and when the first of its leases ends."""
    holds: dict[str, list[Holder]] = {}
    for holder in holders(c, None).values():
        if holder.valid:
            holds.setdefault(holder.instance, []).append(holder)
    at = now(c)
    rows = c.execute(select(instance).order_by(instance.c.heartbeat_at.desc(), instance.c.id)).mappings()
    return [
        {
            **row,
            "sessions": sorted(holder.session for holder in holds.get(row["id"], [])),
            "expires_in": min((holder.expires_at - at for holder in holds.get(row["id"], [])), default=None),
            "seen_ago": at - row["heartbeat_at"],
        }
        for row in rows
    ]


def claim(c: Connection, name: str, instance_id: str, ttl: float) -> Lease | Holder | None:
    """See `ports.store.Store.claim`."""
    if c.execute(select(session.c.name).where(session.c.name == name)).first() is None:
        return None
    row = c.execute(
        select(session_epoch.c.epoch, session_epoch.c.missing_since)
        .where(session_epoch.c.session_name == name)
        .with_for_update()
    ).first()
    if row is None:
        return None
    taken = c.execute(
        update(session_lock)
        .where(session_lock.c.session_name == name)
        .where(or_(session_lock.c.expires_at <= db_now(), session_lock.c.instance_id == instance_id))
        .values(instance_id=instance_id, locked_at=db_now(), expires_at=db_now() + ttl, epoch=row.epoch + 1)
        .returning(session_lock.c.expires_at)
    ).scalar()
    if taken is None:
        in_the_way = holders(c, [name]).get(name) or _missing(c, name, row, ttl)
        if in_the_way is not None:
            return in_the_way
        taken = c.execute(
            insert(c, session_lock)
            .values(
                session_name=name, instance_id=instance_id, epoch=row.epoch + 1,
                locked_at=db_now(), expires_at=db_now() + ttl,
            )
            .returning(session_lock.c.expires_at)
        ).scalar_one()  # fmt: skip
    c.execute(
        update(session_epoch)
        .where(session_epoch.c.session_name == name)
        .values(epoch=row.epoch + 1, missing_since=None)
    )
    return Lease(name, row.epoch + 1, taken)


def _missing(c: Connection, name: str, row: Row[Any, Any], ttl: float) -> Holder | None:
    """Nobody known is in the way, but somebody unknown may be: until when; None if the wait is over."""
    if row.epoch == 0:
        return None
    at = now(c)
    since = at if row.missing_since is None else row.missing_since
    if since + ttl <= at:
        return None
    if row.missing_since is None:
        c.execute(update(session_epoch).where(session_epoch.c.session_name == name).values(missing_since=at))
    return Holder(name, "", row.epoch, since, since + ttl, False, "")


def renew(c: Connection, instance_id: str, epochs: Mapping[str, int], ttl: float) -> dict[str, bool]:
    """One statement for all leases, one for the heartbeat."""
    c.execute(update(instance).where(instance.c.id == instance_id).values(heartbeat_at=db_now()))
    if not epochs:
        return {}
    ours = tuple_(session_lock.c.session_name, session_lock.c.epoch).in_(sorted(epochs.items()))
    held = set(
        c.execute(
            update(session_lock)
            .where(session_lock.c.instance_id == instance_id, ours)
            .values(expires_at=db_now() + ttl)
            .returning(session_lock.c.session_name)
        ).scalars()
    )
    return {name: name in held for name in epochs}


def release(c: Connection, name: str, instance_id: str, epoch: int) -> None:
    """Remove the row if it is still ours."""
    c.execute(select(session_epoch.c.epoch).where(session_epoch.c.session_name == name).with_for_update())
    gone = c.execute(
        delete(session_lock).where(
            session_lock.c.session_name == name,
            session_lock.c.instance_id == instance_id,
            session_lock.c.epoch == epoch,
        )
    ).rowcount
    if gone:
        hints.tell(c, Hint("freed", name))
        c.execute(update(session_epoch).where(session_epoch.c.session_name == name).values(missing_since=0.0))


def expire_instance(c: Connection, instance_id: str) -> list[str]:
    """End the leases of an instance that is proved dead. Its sessions."""
    ended = update(session_lock).where(session_lock.c.instance_id == instance_id, session_lock.c.expires_at > db_now())
    names = sorted(c.execute(ended.values(expires_at=db_now()).returning(session_lock.c.session_name)).scalars())
    hints.tell(c, *(Hint("freed", name) for name in names))
    return names


def holders(c: Connection, names: Iterable[str] | None) -> dict[str, Holder]:
    """By session."""
    lock = session_lock.c
    rows = select(
        lock.session_name,
        lock.instance_id,
        lock.epoch,
        lock.locked_at,
        lock.expires_at,
        case((lock.expires_at > db_now(), 1), else_=0),
        func.coalesce(instance.c.url, ""),
    ).outerjoin(instance, instance.c.id == lock.instance_id)
    if names is not None:
        rows = rows.where(lock.session_name.in_(list(names)))
    return {found[0]: Holder(*found[:5], bool(found[5]), found[6]) for found in c.execute(rows)}
