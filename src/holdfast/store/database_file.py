"""An SQLite file before it is opened: what SQLite would take for a new database although there was one.

SQLite makes an empty file into an empty database without a word, and does not notice a file whose end is missing until
it reads there. For a gateway this means that all sessions are unlinked.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import struct
from pathlib import Path

from holdfast.domain.errors import StoreDamaged
from holdfast.store import urls

_MAGIC = b"SQLite format 3\x00"
_HEADER = 100
_SMALLEST = 512
"""Bytes of the smallest page, and so of the smallest database."""
_BIGGEST_PAGE = 65_536
"""What the header writes as 1, since it does not fit into two bytes."""


def check(path: str | Path) -> None:
    """Raises `StoreDamaged` for a file that is empty, cut off, or missing next to its own log. Any other is left to
    SQLite, a missing one is a new database.
    """
    file = Path(path).resolve()
    try:
        facts = file.stat()
    except FileNotFoundError:
        if _has_log(file):
            raise StoreDamaged(
                f"The database file {file.name} is missing, but its log {file.name}-wal is there. Restore both from a "
                "backup. To start with an empty database, move the log away.",
                path=str(file),
            ) from None
        return
    except OSError:
        return
    if not stat.S_ISREG(facts.st_mode):
        return
    if facts.st_size == 0:
        raise StoreDamaged(
            f"The database file {file.name} is empty (0 bytes): whatever it held is lost. Restore it from a backup. To "
            "start with an empty database, delete the file.",
            path=str(file),
        )
    expected = _size_in_header(file)
    if facts.st_size < expected and not _has_log(file):
        raise StoreDamaged(
            f"The database file {file.name} is damaged (it ends after {facts.st_size:,} of {expected:,} bytes). "
            "Restore it from a backup, or move it away to start afresh.",
            path=str(file),
        )


def check_not_lost(url: str, data_dir: Path) -> None:
    """Raises `StoreDamaged` if the data folder was in use before, and its database is missing."""
    path = urls.sqlite_path(url)
    if path is None or path == urls.MEMORY or Path(path).exists():
        return
    key, media = data_dir / "api-key", data_dir / "media"
    traces = [str(key)] if key.exists() else []
    with contextlib.suppress(OSError):
        if any(media.iterdir()):
            traces.append(str(media))
    if traces:
        file = Path(path)
        raise StoreDamaged(
            f"The database file {file.name} is missing, but this data folder was in use before "
            f"({' and '.join(traces)}). Restore the file from a backup, or set HOLDFAST_DATABASE_URL to the database "
            f"that is in use. To start with an empty database, move {' and '.join(traces)} away.",
            path=str(file.resolve()),
        )


def create(path: str | Path) -> None:
    """Create an empty database that only this user can read, all at once: whoever is killed meanwhile leaves no empty
    file behind. Nothing happens if there is one. Raises `OSError`, `sqlite3.Error`.
    """
    file = Path(path).resolve()
    if file.exists():
        return
    draft = file.with_name(f".{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as db:
            db.execute("PRAGMA user_version = 0")
            db.execute("VACUUM")  # writes the first page
        with contextlib.suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink()


def _has_log(file: Path) -> bool:
    """Whether a log holds pages that the file may lack."""
    for suffix in ("-wal", "-journal"):
        with contextlib.suppress(OSError):
            if file.with_name(file.name + suffix).stat().st_size > 0:
                return True
    return False


def _size_in_header(file: Path) -> int:
    """Bytes that the file should have; 0 if it does not say. Source: sqlite.org/fileformat2.html, section 1.3."""
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER)
    except OSError:
        return 0
    if not header.startswith(_MAGIC[: len(header)]):
        return 0
    if len(header) < _HEADER:
        return _SMALLEST
    page = struct.unpack(">H", header[16:18])[0]
    changes, pages = struct.unpack(">II", header[24:32])
    (valid_for,) = struct.unpack(">I", header[92:96])
    return pages * (_BIGGEST_PAGE if page == 1 else page) if changes == valid_for else 0
