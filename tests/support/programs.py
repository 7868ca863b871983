"""The servers that `scripts/debian.py` found or unpacked for the tests."""

from __future__ import annotations

import os
from pathlib import Path

VENV = Path(__file__).resolve().parents[2] / ".venv"


def program(name: str) -> str:
    """Its path."""
    choice = VENV / f".holdfast-{name}"
    assert choice.exists(), f"{name} is missing: run `make setup-tests`, or `scripts/setup.sh --tests`."
    return choice.read_text()


def environment(name: str) -> dict[str, str]:
    """With the libraries that were unpacked beside it."""
    beside = {str(found.parent) for found in (VENV / name / "usr" / "lib").rglob("*.so*")}
    return {**os.environ, **({"LD_LIBRARY_PATH": ":".join(beside)} if beside else {})}
