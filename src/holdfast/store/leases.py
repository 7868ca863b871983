"""Leases and the fencing number (G1, G2).

A claim first locks the epochs' rows, which waits for every writer that checked an old epoch; then one conditional
update of the locks' rows decides, so that a renewal cannot slip in between. Renewals touch the locks' rows only and
never wait for writers. Claims lock rows in the order of names, and of many pass over those that somebody is at, so that
neither two claims nor a claim and a late renewal can wait for each other.

An absent lock row (someone deleted it by hand) can be claimed one ttl after it was first seen missing, the old holder's
ttl if that is longer: it may not know yet. `session_epoch.missing_since` and `ttl` remember that; a regular release
sets `missing_since` to 0, which is long ago.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from sqlalchemy import Connection, delete, update

from holdfast.domain.rows import Backlog, Hint, Holder, Json, Lease
from holdfast.domain.whatsapp import WhatsApp
from holdfast.store import hints, root_key
from holdfast.store.schema import db_now, instance, session_lock
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


_INSTANCES = Query(
    "SELECT id, url, version, labels, facts, started_at, heartbeat_at, holdfast_now() - heartbeat_at, holdfast_now() "
    "FROM instance ORDER BY heartbeat_at DESC, id"
)


def instances(c: Connection) -> list[Json]:
    """Every instance, newest heartbeat first: the sessions that it holds, and when the first of its leases ends."""
    holds: dict[str, list[Holder]] = {}
    for holder in holders(c, None).values():
        if holder.valid:
            holds.setdefault(holder.instance, []).append(holder)
    return [
        {
            "id": id_,
            "url": url,
            "version": version,
            "labels": labels,
            "facts": loads(facts or "{}"),
            "started_at": started_at,
            "heartbeat_at": heartbeat_at,
            "sessions": sorted(holder.session for holder in holds.get(id_, [])),
            "expires_in": min((holder.expires_at - at for holder in holds.get(id_, [])), default=None),
            "seen_ago": seen_ago,
        }
        for id_, url, version, labels, facts, started_at, heartbeat_at, seen_ago, at in _INSTANCES.all(c)
    ]


_EPOCHS = (
    "SELECT session_name, epoch, missing_since, ttl FROM session_epoch WHERE session_name IN ({}) "
    "AND EXISTS (SELECT 1 FROM session WHERE name = session_name) ORDER BY session_name FOR UPDATE"
)
_TAKE = (
    "WITH free AS (SELECT session_name FROM session_lock WHERE session_name IN ({}) "
    "AND (expires_at <= holdfast_now() OR instance_id = ?) ORDER BY session_name FOR UPDATE) "
    "UPDATE session_lock SET instance_id = ?, locked_at = holdfast_now(), expires_at = holdfast_now() + ?, "
    "epoch = (SELECT e.epoch + 1 FROM session_epoch e WHERE e.session_name = session_lock.session_name) "
    "WHERE session_name IN (SELECT session_name FROM free) RETURNING session_name, expires_at"
)
_LOCK = (
    "INSERT INTO session_lock (session_name, instance_id, epoch, locked_at, expires_at) "
    "SELECT session_name, ?, epoch + 1, holdfast_now(), holdfast_now() + ? FROM session_epoch "
    "WHERE session_name IN ({}) AND (epoch = 0 OR missing_since + GREATEST(?, ttl) <= holdfast_now()) "
    "AND NOT EXISTS (SELECT 1 FROM session_lock l WHERE l.session_name = session_epoch.session_name) "
    "RETURNING session_name, expires_at"
)
_RAISE = "UPDATE session_epoch SET epoch = epoch + 1, missing_since = NULL, ttl = ? WHERE session_name IN ({})"
_SEEN_MISSING = "UPDATE session_epoch SET missing_since = ? WHERE session_name IN ({}) AND missing_since IS NULL"
_PASSING = " FOR UPDATE", " FOR UPDATE SKIP LOCKED"


def claim(
    c: Connection, names: Collection[str], instance_id: str, ttl: float, whatsapp: WhatsApp
) -> dict[str, Lease | Holder]:
    """Take the leases that can be had; for the others who is in the way. See `ports.store.Store.claim`.

    Of several, those that somebody is at are passed over, and not in the answer: one writer that takes its time would
    keep all of them waiting.
    """
    asked = rounded(sorted(names))
    one = len(set(asked)) == 1
    epochs = {row[0]: row[1:] for row in _of(_EPOCHS, asked, one).all(c, *asked)}
    if not epochs:
        return {}
    root_key.check(c, whatsapp)  # after the epochs were locked: whoever stores the first credentials is done
    known = rounded(sorted(epochs))
    won = dict(_of(_TAKE, known, one).all(c, *known, instance_id, instance_id, ttl))
    if absent := epochs.keys() - won.keys():
        left = rounded(sorted(absent))
        won.update(_of(_LOCK, left, one).all(c, instance_id, ttl, *left, ttl))
    found: dict[str, Lease | Holder] = {name: Lease(name, epochs[name][0] + 1, at) for name, at in won.items()}
    if won:
        taken = rounded(sorted(won))
        listed(_RAISE, len(taken)).run(c, ttl, *taken)
    if lost := epochs.keys() - won.keys():
        there = holders(c, lost)
        found |= there | _missing(c, {name: epochs[name] for name in sorted(lost - there.keys())}, ttl)
    return found


_BACKLOG = (
    "SELECT s.name, "
    "EXISTS (SELECT 1 FROM inbox i WHERE i.session_name = s.name AND i.done_at IS NULL), "
    "EXISTS (SELECT 1 FROM media m WHERE m.session_name = s.name AND m.state = 'awaited'), "
    "EXISTS (SELECT 1 FROM cursor u WHERE u.session_name = s.name) "
    "FROM session s WHERE s.name IN ({})"
)


def backlogs(c: Connection, names: Collection[str]) -> dict[str, Backlog]:
    """Of sessions that were just claimed: nobody but their new holder adds to it any more."""
    if not names:
        return {}
    asked = rounded(sorted(names))
    return {name: Backlog(*map(bool, facts)) for name, *facts in listed(_BACKLOG, len(asked)).all(c, *asked)}


def _of(sql: str, names: list[str], one: bool) -> Query:
    return listed(sql if one else sql.replace(*_PASSING), len(names))


def _missing(c: Connection, epochs: Mapping[str, tuple[int, float | None, float]], ttl: float) -> dict[str, Holder]:
    """Nobody known holds these, but somebody unknown may: until when. What was not seen missing before is now."""
    if not epochs:
        return {}
    at, names = now(c), rounded(list(epochs))
    listed(_SEEN_MISSING, len(names)).run(c, at, *names)
    dated = {name: (epoch, at if since is None else since, held) for name, (epoch, since, held) in epochs.items()}
    return {
        name: Holder(name, "", epoch, since, since + max(ttl, held), False, "")
        for name, (epoch, since, held) in dated.items()
    }


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


_HELD_STILL = Query("SELECT epoch FROM session_epoch WHERE session_name = ? FOR UPDATE")
_GIVE_BACK = Query(
    "DELETE FROM session_lock WHERE session_name = ? AND instance_id = ? AND epoch = ? RETURNING session_name"
)
_FREED = Query("UPDATE session_epoch SET missing_since = 0.0 WHERE session_name = ?")


def release(c: Connection, name: str, instance_id: str, epoch: int) -> None:
    """Remove the row if it is still ours."""
    _HELD_STILL.all(c, name)
    if _GIVE_BACK.all(c, name, instance_id, epoch):
        hints.tell(c, Hint("freed", name))
        _FREED.run(c, name)


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
