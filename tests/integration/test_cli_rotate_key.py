"""`holdfast rotate-key` as an operator meets it, without a server; `verify` A.8 plays it on running ones."""

from __future__ import annotations

import stat
from pathlib import Path

from holdfast.domain.access import key_hash
from holdfast.runtime.clock import SystemClock
from holdfast.store import open_store
from tests.support.commands import alone, one_sentence, run


async def test_each_rotation_prints_stores_and_files_one_new_key(tmp_path: Path) -> None:
    env, keys = {**alone(tmp_path), "HOLDFAST_API_KEY": ""}, []
    for _ in range(2):
        said = await run("rotate-key", "--yes", env=env)
        assert said.code == 0, said
        key = (tmp_path / "api-key").read_text().strip()
        assert f"API key: {key}\n" in said.out
        assert stat.S_IMODE((tmp_path / "api-key").stat().st_mode) == 0o600
        keys.append(key)
    store = open_store(f"sqlite:///{tmp_path / 'holdfast.sqlite3'}", SystemClock())
    await store.open()
    assert await store.setting("api_key_hash") == key_hash(keys[1])
    await store.close()
    assert keys[0] != keys[1]
    assert len(keys[0]) == 32


async def test_without_a_yes_nothing_changes(tmp_path: Path) -> None:
    said = await run("rotate-key", env={**alone(tmp_path), "HOLDFAST_API_KEY": ""}, stdin="n\n")
    assert said.code == 1
    assert not (tmp_path / "api-key").exists()


async def test_a_key_from_the_environment_is_changed_there(tmp_path: Path) -> None:
    sentence = one_sentence(await run("rotate-key", "--yes", env=alone(tmp_path)))
    assert "HOLDFAST_API_KEY" in sentence
    assert not (tmp_path / "api-key").exists()
