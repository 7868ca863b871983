"""What a database's own error means to us."""

from __future__ import annotations

import sqlite3
import ssl
from pathlib import PurePath

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from holdfast.domain.errors import (
    DataDirNotWritable,
    HoldfastError,
    StoreDamaged,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

_DAMAGED = ("malformed", "not a database")
_NOT_WRITABLE = ("readonly database", "unable to open", "permission denied")


def of_sqlite(error: BaseException, path: str) -> HoldfastError | None:
    """The domain's error for one of SQLite's, or None if it is a mistake of the program. Its sentence has the file's
    name, its facts the `path`.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, sqlite3.DatabaseError) or isinstance(cause, (sqlite3.IntegrityError, sqlite3.DataError)):
        return None
    said, file = str(cause).lower(), f"database file {PurePath(path).name}"
    if any(words in said for words in _DAMAGED):
        return StoreDamaged(
            f"The {file} is damaged ({cause}). Restore it from a backup, or move it away to start afresh.",
            path=path,
        )
    if any(words in said for words in _NOT_WRITABLE):
        return DataDirNotWritable(
            f"The {file} cannot be written ({cause}). Set HOLDFAST_DATA_DIR to a folder of this user.",
            path=path,
        )
    if "locked" in said or "busy" in said:
        return StoreUnavailable(f"Another program keeps the {file} locked. End it, or wait.", path=path)
    if "full" in said:
        return StoreFull(f"The disk is full: the {file} cannot grow. Free some space.", path=path)
    if "i/o error" in said:
        return StoreUnavailable(
            f"The disk under the {file} does not answer ({cause}); whether the last write happened is unknown.",
            path=path,
        )
    if "interrupted" in said or "closed" in said:
        return StoreUnavailable()
    return None


# --- PostgreSQL ---------------------------------------------------------------------------------------------------
REPEATABLE = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: PostgreSQL says that the transaction was undone, and to try again."""

OTHER_TABLES = "0A000"
UNPREPARED = frozenset({"26000", "42P05", OTHER_TABLES})
"""A prepared statement is not there, or there already, or was made for other tables than there are now."""

LOCK_TIMEOUT = "55P03"

_GONE = ("08", "25P03", "57P01", "57P02", "57P03", "57P05")
"""SQLSTATEs by which a server or a pooler says that this connection ended or cannot be had."""

_NO_MORE = ("too many clients", "remaining connection slots", "no more connections", "max client connections")
_ENDED = ("connection was closed", "connection is closed", "connection_lost", "server closed", "unexpected connection")

_SENTENCES = {
    "53300": "The database takes no more connections ({said}). Raise its limit, put a pooler in front of it, or let "
    "each instance open fewer: add connection_limit=5 to HOLDFAST_DATABASE_URL.",
    "53100": "The database's disk is full ({said}). Free some space on its server.",
    "53": "The database has run out of disk or memory ({said}).",
    "57014": "The database broke a statement off because it took too long ({said}).",
    "57P03": "The database is starting up or shutting down ({said}).",
    "57": "The database is being stopped or restarted ({said}).",
    "55": "The database cannot give a lock in time ({said}).",
    "25006": "The database is read-only ({said}): this is a standby, or a failover is under way. "
    "HOLDFAST_DATABASE_URL must lead to the primary.",
    "25": "The database ended a transaction that took too long ({said}).",
    "28": "The database refuses the login ({said}). Check the user and the password in HOLDFAST_DATABASE_URL.",
    "3D": "There is no such database ({said}). Create it, or correct HOLDFAST_DATABASE_URL.",
    "42501": "The database user lacks a right ({said}). Grant it CREATE on the schema and ownership of its tables, or "
    "let its owner run what `holdfast migrate --sql` prints.",
    "40": "The database undid the transaction because of others, again and again ({said}).",
    "58": "The database server has trouble with its files ({said}).",
    "XX": "The database server failed inside ({said}).",
}
"""By SQLSTATE, the longest that fits."""

_KINDS = {"53100": StoreFull, "25006": StoreReadOnly}


def of_postgres(error: BaseException) -> HoldfastError | None:
    """The domain's error for a lost, refused or overloaded PostgreSQL, or None if it is a mistake of the program."""
    if isinstance(error, SQLAlchemyError) and "QueuePool" in str(error):
        return StoreUnavailable("All connections to the database are busy.")
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        return StoreUnavailable(
            f"The database cannot be reached over TLS ({cause.reason or cause}). Check sslmode and the certificates."
        )
    if any(words in str(cause).lower() for words in _NO_MORE):
        return StoreUnavailable(_SENTENCES["53300"].format(said=_said(cause)))
    state = sqlstate(error)
    for code in sorted((code for code in _SENTENCES if state.startswith(code)), key=len, reverse=True):
        return _KINDS.get(code, StoreUnavailable)(_SENTENCES[code].format(said=_said(cause)))
    return StoreUnavailable(_unreachable(cause)) if is_lost(error) else None


def _cause(error: BaseException) -> BaseException:
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's five-letter code, or empty."""
    return "" if error is None else str(getattr(_cause(error), "sqlstate", None) or "")


def is_lost(error: BaseException) -> bool:
    """Whether the connection ended, or none could be had: before a COMMIT that means that nothing happened."""
    cause = _cause(error)
    if isinstance(cause, (OSError, TimeoutError)) or getattr(error, "connection_invalidated", False):
        return True
    ended = type(cause).__module__.startswith("asyncpg") and any(words in str(cause).lower() for words in _ENDED)
    return ended or sqlstate(error).startswith(_GONE)


def is_repeatable(error: BaseException) -> bool:
    """Whether the same transaction may succeed if it is run again at once."""
    return sqlstate(error) in REPEATABLE | UNPREPARED


def is_unprepared(error: BaseException) -> bool:
    """Whether a statement that was prepared is not to be had on this connection."""
    return sqlstate(error) in UNPREPARED


def is_refusal(error: BaseException) -> bool:
    """Whether the server answered a COMMIT with a plain no, and not with its own end (which says nothing of it)."""
    state = sqlstate(error)
    return bool(state) and (state == "57014" or not state.startswith(("08", "53", "57", "58", "XX")))


def _said(cause: BaseException) -> str:
    return str(cause).strip().partition("\n")[0].rstrip(".") or type(cause).__name__


def _unreachable(cause: BaseException) -> str:
    return f"The database cannot be reached ({_said(cause)})."


def unknown(error: BaseException) -> str:
    """The sentence for a COMMIT that was sent and not answered."""
    return f"The database went away while it committed ({_said(_cause(error))}); whether it did is unknown."


def slow(seconds: float) -> str:
    """The sentence for a transaction that was not answered in time."""
    return f"The database did not answer in {seconds:g} s; whether the last write happened is unknown."
