"""The documents name every setting, command and option that there is, and no setting that there is not."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import typer.main

from holdfast.cli import COMMANDS, load
from holdfast.config import Settings
from holdfast.setting_sources import PREFIX

DOCS = Path(__file__).parents[2] / "docs"


def test_each_setting_is_documented_as_it_is() -> None:
    lines = (DOCS / "settings.md").read_text().splitlines()
    told = {found.group(1): line for line in lines if (found := re.match(r"\| `(\w+)` \|", line))}
    real = {f"{PREFIX}{name.upper()}": field for name, field in Settings.model_fields.items()}
    assert told.keys() == real.keys()
    for name, field in real.items():
        assert field.description, name
        assert field.description.replace("|", "\\|") in told[name], name
        if field.default not in (None, ""):
            assert f"`{field.default}`" in told[name], name


def test_each_command_and_option_is_documented() -> None:
    text = (DOCS / "commands.md").read_text().splitlines()
    root = typer.main.get_command(load(*COMMANDS))
    commands = root.commands  # type: ignore[attr-defined]
    told = {found.group(1): line for line in text if (found := re.match(r"\| `holdfast (\w[\w-]*)", line))}
    assert told.keys() == commands.keys()
    for name, command in commands.items():
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in told[name], f"{name} {option}"


def test_the_page_of_disconnects_is_the_table() -> None:
    spec = importlib.util.spec_from_file_location("why", DOCS.parent / "scripts" / "why.py")
    assert spec is not None
    assert spec.loader is not None
    why = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(why)
    assert why.PAGE.read_text() == why.page(), "run python scripts/why.py"
