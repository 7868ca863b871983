"""Leases and the fencing number (G1, G2).

A claim first locks the epoch's row, which waits for every writer that checked the old epoch; then one conditional
update of the lock's row decides, so that a renewal cannot slip in between. Renewals touch the lock's rows only and
never wait for writers.

An absent lock row (someone deleted it by hand) can be claimed one ttl after it was first seen missing, the old holder's
ttl if that is longer: it may not know yet. `session_epoch.missing_since` and `ttl` remember that; a regular release
sets `missing_since` to 0, which is long ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from sqlalchemy import Connection, delete, select, update

from holdfast.domain.rows import Hint, Holder, Json, Lease
from holdfast.store import hints
from holdfast.store.schema import db_now, instance, session_epoch, session_lock
from holdfast.store.sql import Query, listed, loads, now, rounded

_REGISTER = Query(
    "INSERT INTO instance (id, url, version, labels, facts, started_at, heartbeat_at) "
    "VALUES (?, ?, ?, ?, ?, holdfast_now(), holdfast_now()) ON CONFLICT (id) DO UPDATE SET url = excluded.url, "
    "version = excluded.version, labels = excluded.labels, facts = excluded.facts, "
    "heartbeat_at = excluded.heartbeat_at RETURNING heartbeat_at"
)


def register_instance(c: Connection, name: str, *said: str) -> float:
    """Insert or refresh; when, in database time. `said`: URL, version, labels, facts."""
    return float(_REGISTER.first(c, name, *said)[0])


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
            "facts": loads(row["facts"] or "{}"),
            "sessions": sorted(holder.session for holder in holds.get(row["id"], [])),
            "expires_in": min((holder.expires_at - at for holder in holds.get(row["id"], [])), default=None),
            "seen_ago": at - row["heartbeat_at"],
        }
        for row in rows
    ]


_SESSION = Query("SELECT 1 FROM session WHERE name = ?")
_EPOCH = Query("SELECT epoch, missing_since, ttl FROM session_epoch WHERE session_name = ? FOR UPDATE")
_TAKE = Query(
    "UPDATE session_lock SET instance_id = ?, epoch = ?, locked_at = holdfast_now(), expires_at = holdfast_now() + ? "
    "WHERE session_name = ? AND (expires_at <= holdfast_now() OR instance_id = ?) RETURNING expires_at"
)
_LOCK = Query(
    "INSERT INTO session_lock (session_name, instance_id, epoch, locked_at, expires_at) "
    "VALUES (?, ?, ?, holdfast_now(), holdfast_now() + ?) RETURNING expires_at"
)
_RAISE = Query("UPDATE session_epoch SET epoch = ?, missing_since = NULL, ttl = ? WHERE session_name = ?")
_SEEN_MISSING = Query("UPDATE session_epoch SET missing_since = ? WHERE session_name = ?")


def claim(c: Connection, name: str, instance_id: str, ttl: float) -> Lease | Holder | None:
    """See `ports.store.Store.claim`."""
    if _SESSION.first(c, name) is None or (row := _EPOCH.first(c, name)) is None:
        return None
    epoch, missing_since, held_for = row
    taken = _TAKE.first(c, instance_id, epoch + 1, ttl, name, instance_id)
    if taken is None:
        in_the_way = holders(c, [name]).get(name) or _missing(c, name, epoch, missing_since, max(ttl, held_for))
        if in_the_way is not None:
            return in_the_way
        taken = _LOCK.first(c, name, instance_id, epoch + 1, ttl)
    _RAISE.run(c, epoch + 1, ttl, name)
    return Lease(name, epoch + 1, taken[0])


def _missing(c: Connection, name: str, epoch: int, missing_since: float | None, ttl: float) -> Holder | None:
    """Nobody known is in the way, but somebody unknown may be: until when; None if the wait is over."""
    if epoch == 0:
        return None
    at = now(c)
    since = at if missing_since is None else missing_since
    if since + ttl <= at:
        return None
    if missing_since is None:
        _SEEN_MISSING.run(c, at, name)
    return Holder(name, "", epoch, since, since + ttl, False, "")


_BEAT = Query("UPDATE instance SET heartbeat_at = holdfast_now() WHERE id = ?")
_OURS = "(CAST(? AS VARCHAR), CAST(? AS BIGINT))"


@lru_cache(maxsize=32)
def _renewal(count: int) -> Query:
    return Query(  # joined from constants
        "UPDATE session_lock SET expires_at = holdfast_now() + ? WHERE instance_id = ? "  # noqa: S608
        f"AND (session_name, epoch) IN (VALUES {', '.join([_OURS] * count)}) RETURNING session_name"
    )


def renew(c: Connection, instance_id: str, epochs: Mapping[str, int], ttl: float) -> dict[str, bool]:
    """One statement for all leases, one for the heartbeat."""
    _BEAT.run(c, instance_id)
    if not epochs:
        return {}
    ours = rounded(sorted(epochs.items()))
    rows = _renewal(len(ours)).all(c, ttl, instance_id, *(value for pair in ours for value in pair))
    held = {name for (name,) in rows}
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


_HOLDERS = (
    "SELECT l.session_name, l.instance_id, l.epoch, l.locked_at, l.expires_at, "
    "CASE WHEN l.expires_at > holdfast_now() THEN 1 ELSE 0 END, COALESCE(i.url, '') "
    "FROM session_lock l LEFT JOIN instance i ON i.id = l.instance_id"
)
_ALL_HOLDERS = Query(_HOLDERS)
_HOLDERS_OF = f"{_HOLDERS} WHERE l.session_name IN ({{}})"


def holders(c: Connection, names: Iterable[str] | None) -> dict[str, Holder]:
    """By session."""
    if names is None:
        found = _ALL_HOLDERS.all(c)
    else:
        asked = rounded([*names, ""])
        found = listed(_HOLDERS_OF, len(asked)).all(c, *asked)
    return {
        name: Holder(name, holder, epoch, locked_at, expires_at, bool(valid), url)
        for name, holder, epoch, locked_at, expires_at, valid, url in found
    }
