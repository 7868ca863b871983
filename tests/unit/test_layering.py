"""The house plan, held: imports go one way, the core stays pure, and files stay small enough to read."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
MODULES = sorted(SRC.rglob("*.py"))

MAY_IMPORT = {
    "domain": {"domain"},
    "ports": {"domain", "ports"},
    "engines": {"domain", "ports", "engines"},
    "store": {"domain", "ports", "store"},
    "runtime": {"domain", "ports", "engines", "store", "runtime"},
    "api": {"domain", "ports", "runtime", "api", "web"},
    "web": {"domain", "ports", "runtime", "api", "web"},
    "commands": {"domain", "ports", "engines", "store", "runtime", "commands"},
}
"""Which rooms of `holdfast` each room may use; modules beside the rooms put them together and may use all."""

IMPURE = frozenset(["asyncio", "io", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"])
"""What the core may not touch: it decides, others act and tell the time."""
CLOCKS = frozenset(["datetime.now", "datetime.utcnow", "datetime.today", "date.today"])
"""What of `datetime`, which else reads and writes dates, tells the time."""

SPEAKS_WASIM = {"demo"}
"""The only module of `holdfast` that may use the simulator: the demo, which the command line starts."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "holdfast" and (SRC / "holdfast" / parts[1]).is_dir() else None


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    here = room(name_of(path))
    if here is not None:
        wrong = {used for used in imports(path) if (there := room(used)) and there not in MAY_IMPORT[here]}
        assert not wrong, f"{name_of(path)} is in {here} and must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", sorted((SRC / "holdfast/domain").glob("*.py")), ids=name_of)
def test_the_core_is_pure(path: Path) -> None:
    tops = {used.split(".")[0] for used in imports(path)}
    assert not tops & IMPURE, f"{name_of(path)} must take time, chance and I/O as arguments"
    assert tops <= {"holdfast", "__future__", *sys.stdlib_module_names}, f"{name_of(path)}: only the standard library"
    tree = ast.parse(path.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]
    assert not {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & CLOCKS


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_two_packages_are_apart(path: Path) -> None:
    module = name_of(path)
    tops = {used.split(".")[0] for used in imports(path)}
    if module.startswith("wasim"):
        assert "holdfast" not in tops, f"{module}: the simulator is usable without Holdfast"
    elif not module.startswith(tuple(f"holdfast.{name}" for name in SPEAKS_WASIM)):
        assert "wasim" not in tops, f"{module}: only the demo uses the simulator"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 500, f"{name_of(path)} is too long"
    if "migrations" in path.parts:
        return  # a schema is a list
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines < 50, f"{name_of(path)}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{name_of(path)} has no docstring"
