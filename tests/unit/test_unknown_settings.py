"""Variables that look like settings and are none are named, without their values."""

from __future__ import annotations

from pathlib import Path

from holdfast.config import Settings
from holdfast.setting_sources import ENV_FILE, PREFIX
from holdfast.unknown_settings import OF_WAHA, table, without_effect

KNOWN = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def test_every_setting_has_an_effect_and_is_not_named() -> None:
    assert (
        list(without_effect([*KNOWN, "PATH", "PORT", "DATABASE_URL", ENV_FILE, *(name.lower() for name in KNOWN)]))
        == []
    )


def test_misspelt_settings_and_those_of_waha_are_named() -> None:
    said = list(without_effect(["HOLDFAST_WEBHOK_URL", "HOLDFAST_XYZZYPLUGH", "WHATSAPP_HOOK_URL"]))
    assert said == [
        "HOLDFAST_WEBHOK_URL is no setting and has no effect. Did you mean HOLDFAST_WEBHOOK_URL?",
        "HOLDFAST_XYZZYPLUGH is no setting and has no effect.",
        "WHATSAPP_HOOK_URL is WAHA's setting and has no effect here: use HOLDFAST_WEBHOOK_URL.",
    ]


def test_what_is_named_instead_exists_and_is_documented() -> None:
    assert set(OF_WAHA.values()) <= KNOWN
    lines = (Path(__file__).parents[2] / "docs" / "coming-from-waha.md").read_text().splitlines()
    begin = lines.index("| WAHA's variable | here |")
    assert lines[begin : begin + len(list(table()))] == list(table())
