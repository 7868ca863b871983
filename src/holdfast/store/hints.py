"""Wake-ups between instances on PostgreSQL: NOTIFY, heard by those who have a direct connection.

Only a hint: whoever is woken reads the facts, polling finds them without it, and where a pooler stands in between
nobody hears. What seldom happens and is waited for (a lease that is free, an order, a message for a session held
elsewhere) is told by the very transaction that does it. What happens all the time is told afterwards, gathered, by the
listening connection (`Driver.tell`): NOTIFY takes one lock for the whole server until the commit is on disk, so as part
of every commit it would make all of them wait in line.
"""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.domain.rows import Hint
from holdfast.store.sql import Query

CHANNEL = "holdfast"

_TELL = Query("SELECT pg_notify('holdfast', said) FROM unnest(CAST(? AS TEXT[])) said")


def tell(c: Connection, *hints: Hint) -> None:
    """With the commit."""
    if hints and c.dialect.name == "postgresql":
        _TELL.run(c, [written(hint) for hint in hints])


def written(hint: Hint) -> str:
    """As it is sent; none of its words holds a blank."""
    return f"{hint.kind} {hint.session} {hint.id}"


def read(payload: str) -> Hint | None:
    """What was sent, or None for what is none of ours."""
    parts = payload.split(" ")
    return Hint(parts[0], parts[1], parts[2]) if len(parts) == 3 else None
