"""What a sidecar is started with means the same in its own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.engines.baileys.options import BaileysOptions
from holdfast.engines.baileys.pool import Pool
from tests.support.moved import MovedClock


def test_a_relative_data_folder_is_not_looked_for_below_the_sidecar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = Pool(BaileysOptions(data_dir=Path("data")), MovedClock())._environment()
    assert environment["NODE_COMPILE_CACHE"] == str(tmp_path / "data/cache/node")
