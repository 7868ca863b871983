"""A database file whose content is gone is never taken for a new one."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from holdfast.domain.errors import HoldfastError, InvalidSettings, StoreDamaged
from holdfast.store import database_file, open_store
from holdfast.store.examine import examine
from tests.contract.conftest import MovedClock


async def refused(path: Path, kind: type[HoldfastError] = StoreDamaged) -> str:
    before = path.read_bytes() if path.exists() else None
    store = open_store(f"sqlite:///{path}", MovedClock())
    with pytest.raises(kind) as caught:
        await store.open()
    await store.close()
    assert (path.read_bytes() if path.exists() else None) == before, "it is left as it was"
    return caught.value.sentence


@pytest.fixture
def filled(migrated_file: Path, tmp_path: Path) -> Path:
    """A database of some pages."""
    path = tmp_path / "h.db"
    path.write_bytes(migrated_file.read_bytes())
    return path


async def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    path.touch()
    said = await refused(path)
    assert "empty (0 bytes)" in said
    assert "Restore it from a backup" in said
    assert "delete the file" in said
    with pytest.raises(StoreDamaged):
        await examine(f"sqlite:///{path}")


@pytest.mark.parametrize("left", [1, 20, 99, 100, 511, 4096, 0.5, 0.99])
async def test_a_file_that_is_cut_off(filled: Path, left: float) -> None:
    size = filled.stat().st_size
    os.truncate(filled, int(left * size) if isinstance(left, float) else left)
    assert "damaged" in await refused(filled)


async def test_a_log_without_its_file(tmp_path: Path) -> None:
    (tmp_path / "h.db-wal").write_bytes(b"pages" * 100)
    assert "its log h.db-wal is there" in await refused(tmp_path / "h.db")


async def test_a_database_of_a_different_program(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    db.close()
    store = open_store(f"sqlite:///{path}", MovedClock())
    with pytest.raises(InvalidSettings, match="a different program"):
        await store.open()
    await store.close()
    db = sqlite3.connect(path)
    assert [row[0] for row in db.execute("SELECT name FROM sqlite_master")] == ["bookmarks"]
    db.close()


async def test_a_first_start_that_was_killed_leaves_a_file_that_the_next_one_takes(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    database_file.create(path)
    assert path.stat().st_size > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["h.db"]
    store = open_store(f"sqlite:///{path}", MovedClock())
    await store.open()
    await store.close()


async def test_pages_that_are_still_in_the_log_are_not_missing(filled: Path) -> None:
    """After a crash amid a checkpoint the file may be shorter than its header says; SQLite then reads the log."""
    db = sqlite3.connect(filled, isolation_level=None)
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("CREATE TABLE more AS SELECT zeroblob(100000) AS b")
    database_file.check(filled)
    db.close()


@pytest.mark.parametrize(("trace", "way_out"), [("api-key", "api-key"), ("media/shop/1", "media")])
async def test_a_data_folder_without_its_database(tmp_path: Path, trace: str, way_out: str) -> None:
    url = f"sqlite:///{tmp_path}/holdfast.sqlite3"
    database_file.check_not_lost(url, tmp_path)
    (tmp_path / trace).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / trace).write_text("left")
    with pytest.raises(StoreDamaged, match=f"in use before .*{way_out}.* HOLDFAST_DATABASE_URL .*{way_out} away"):
        database_file.check_not_lost(url, tmp_path)
    database_file.check_not_lost("postgresql://u@h/d", tmp_path)
    database_file.create(tmp_path / "holdfast.sqlite3")
    database_file.check_not_lost(url, tmp_path)
