"""Linters and type checks, as tests: one command shows all that is wrong, and nothing is checked only elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.engines.baileys.install import find_node

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.timeout(400)


def passes(*command: str | Path, cwd: Path = ROOT) -> None:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"


def test_python_has_no_lint() -> None:
    passes(BIN / "ruff", "check", ".")


def test_python_is_formatted() -> None:
    passes(BIN / "ruff", "format", "--check", ".")


def test_python_types_hold() -> None:
    passes(BIN / "mypy")


def test_sidecar_types_hold() -> None:
    passes(find_node(), ROOT / "sidecar/node_modules/typescript/bin/tsc", "--noEmit", "-p", ".", cwd=ROOT / "sidecar")


def test_sidecar_units() -> None:
    passes(find_node(), "--test", "--test-reporter=spec", "test/*.test.ts", cwd=ROOT / "sidecar")


def test_shell_scripts_parse() -> None:
    passes("sh", "-n", "scripts/setup.sh")
    passes("bash", "-n", ".ci/run")
