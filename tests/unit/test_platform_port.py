"""A platform that sets PORT is listened to on all addresses, and only under a key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.config import check_reachable, load
from holdfast.domain.errors import InvalidSettings

KEY = "a-key-of-the-platform"


@pytest.fixture(autouse=True)
def _without_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("HOLDFAST_") or name == "PORT"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("env", "given", "host"),
    [
        ({}, {}, "127.0.0.1"),
        ({"PORT": "8080"}, {}, "0.0.0.0"),
        ({"PORT": "8080", "HOLDFAST_HOST": "::"}, {}, "::"),
        ({"PORT": "8080"}, {"host": "10.0.0.1"}, "10.0.0.1"),
        ({"PORT": "8080", "HOLDFAST_PORT": "3000"}, {}, "127.0.0.1"),
        ({"PORT": "8080"}, {"port": 3000}, "127.0.0.1"),
    ],
)
def test_the_address(env: dict[str, str], given: dict[str, object], host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert load(**given).host == host


def test_a_key_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    with pytest.raises(InvalidSettings, match="HOLDFAST_API_KEY"):
        check_reachable(load())
    monkeypatch.setenv("HOLDFAST_API_KEY", KEY)
    check_reachable(load())


def test_a_chosen_address_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    monkeypatch.setenv("HOLDFAST_HOST", "127.0.0.1")
    check_reachable(load())


def test_serve_refuses(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    done = subprocess.run(
        [Path(sys.executable).parent / "holdfast", "serve"],
        cwd=tmp_path,
        env={**env, "PORT": "8080"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "set HOLDFAST_API_KEY" in done.stderr
    assert list(tmp_path.iterdir()) == []
