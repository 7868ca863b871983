"""Database time on SQLite: the boot clock put on the wall once per boot.

A lease must not move because someone set the wall clock, so time is `boot + offset`, with the offset chosen when the
database is first opened in a boot of the host and stored with the boot's id; every process of that boot uses it. After
a reboot the wall is read again, but never placed before the last heartbeat stored: time does not go back, and a lease
of an earlier boot ends at most one ttl later.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, func, select

from holdfast.ports.clock import Clock
from holdfast.store import settings, sql
from holdfast.store.schema import instance

KEY = "sqlite.boot"


def current_boot() -> str:
    """An id of this boot of the host; empty where the system has none (then every start counts as a boot)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class DatabaseTime:
    """The SQL function `holdfast_now()`. Before `anchor` it is the wall clock: good enough for migrations."""

    def __init__(self, clock: Clock, boot_id: str | None = None) -> None:
        self._clock = clock
        self._boot_id = current_boot() if boot_id is None else boot_id
        self._offset = clock.now() - clock.boot()

    def __call__(self) -> float:
        """Unix seconds."""
        return self._clock.boot() + self._offset

    def anchor(self, c: Connection) -> None:
        """Take the stored offset of this boot, or choose and store it. Runs in a write transaction."""
        stored = settings.get(c, KEY)
        facts = sql.loads(stored) if stored else {}
        if self._boot_id and facts.get("boot_id") == self._boot_id:
            self._offset = float(facts["offset"])
            return
        last = c.execute(select(func.max(instance.c.heartbeat_at))).scalar() or 0.0
        self._offset = max(self._clock.now(), last) - self._clock.boot()
        settings.put(c, KEY, sql.dumps({"boot_id": self._boot_id, "offset": self._offset}))
