"""Keeps this machine's own settings away from tests, proofs and figures.

A `DATABASE_URL` or an `.env` that is meant for a real server would else lead a test's instance, and with it a
simulator, to a database with linked sessions.
"""

from __future__ import annotations

import os

from holdfast.config import Settings
from holdfast.setting_sources import ENV_FILE, PREFIX


def isolate() -> None:
    """Remove every setting of Holdfast from this process's environment, for itself and all that it starts."""
    unprefixed = {
        alias
        for field in Settings.model_fields.values()
        for alias in getattr(field.validation_alias, "choices", ())
        if isinstance(alias, str)
    }
    for name in list(os.environ):
        if name.upper().startswith(PREFIX) or name.upper() in unprefixed:
            del os.environ[name]
    os.environ[ENV_FILE] = ""
