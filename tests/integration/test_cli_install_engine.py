"""`install-engine`: packages next to an installed package are used in place, and a checkout says whose job it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.domain.errors import EngineUnavailable
from holdfast.engines.baileys import install


def shipped(package: Path) -> Path:
    """An installed package whose sidecar has no dependencies."""
    folder = package / "_sidecar"
    (folder / "src").mkdir(parents=True)
    (folder / "src/main.ts").write_text("")
    (folder / "package.json").write_text('{"name": "sidecar", "version": "1.0.0"}')
    lock = {"name": "sidecar", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "sidecar"}}}
    (folder / "package-lock.json").write_text(json.dumps(lock))
    return folder


def test_shared_packages_are_used_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shipped(tmp_path / "lib/holdfast")
    monkeypatch.setattr(install, "__file__", str(tmp_path / "lib/holdfast/engines/baileys/install.py"))
    data = tmp_path / "data"
    (folder / "node_modules").mkdir()
    assert install.install_beside_package(lambda _: None).main == folder / "src/main.ts"
    assert install.ensure_sidecar(data).main == folder / "src/main.ts"
    assert not data.exists(), "nothing is copied or downloaded for a data folder"


def test_a_checkout_is_set_up_by_make() -> None:
    with pytest.raises(EngineUnavailable, match="make setup"):
        install.install_beside_package(lambda _: None)
