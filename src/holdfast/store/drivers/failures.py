"""What a database's own error means to us."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from holdfast.domain.errors import DataDirNotWritable, HoldfastError, StoreDamaged, StoreUnavailable

_DAMAGED = ("malformed", "not a database")
_NOT_WRITABLE = ("readonly database", "unable to open", "permission denied")


def of_sqlite(error: BaseException, path: str) -> HoldfastError | None:
    """The domain's error for one of SQLite's, or None if it is a mistake of the program."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, sqlite3.DatabaseError) or isinstance(cause, (sqlite3.IntegrityError, sqlite3.DataError)):
        return None
    said = str(cause).lower()
    if any(words in said for words in _DAMAGED):
        return StoreDamaged(
            f"The database file {path} is damaged ({cause}). Restore it from a backup, or move it away to start afresh."
        )
    if any(words in said for words in _NOT_WRITABLE):
        return DataDirNotWritable(
            f"The database file {path} cannot be written ({cause}). Set HOLDFAST_DATA_DIR to a folder of this user."
        )
    if "locked" in said or "busy" in said:
        return StoreUnavailable(f"Another program keeps the database file {path} locked. End it, or wait.")
    if "full" in said:
        return StoreUnavailable(f"The disk is full: {path} cannot grow. Free some space.")
    if "i/o error" in said:
        return StoreUnavailable(
            f"The disk under {path} does not answer ({cause}); whether the last write happened is unknown."
        )
    if "interrupted" in said or "closed" in said:
        return StoreUnavailable()
    return None


def of_postgres(error: BaseException) -> HoldfastError | None:
    """The domain's error for a lost, refused or overloaded PostgreSQL, or None if it is a mistake of the program."""
    if isinstance(error, (OSError, TimeoutError)):
        return StoreUnavailable(_unreachable(error))
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig.__cause__ or error.orig
        if error.connection_invalidated:
            return StoreUnavailable(_unreachable(cause))
    elif isinstance(error, SQLAlchemyError) and "QueuePool" in str(error):
        return StoreUnavailable("All connections to the database are busy.")
    state = sqlstate(cause)
    if isinstance(cause, (OSError, TimeoutError)) or state[:2] in _TRANSIENT or _is_lost(cause):
        return StoreUnavailable(_unreachable(cause))
    return None


_TRANSIENT = {"08", "53", "57", "58", "28", "3D", "40", "55", "25"}
"""SQLSTATE classes: connection, resources, operator intervention, system, login, no such database, rollback, lock,
read-only after a failover."""


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's five-letter code, or empty."""
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(getattr(cause, "sqlstate", None) or "")


def _is_lost(cause: BaseException) -> bool:
    said = str(cause)
    return type(cause).__module__.startswith("asyncpg") and ("connection" in said and "clos" in said)


def _unreachable(cause: BaseException) -> str:
    return (
        f"The database cannot be reached ({type(cause).__name__}: {cause}); whether the last write happened is unknown."
    )
