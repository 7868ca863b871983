"""The file that holds a generated API key, for the command line on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.config import Settings


def path_of(settings: Settings) -> Path:
    """Where it is."""
    return settings.data_dir / "api-key"


def write_key(path: Path, key: str) -> None:
    """Replace the file as a whole. Only this user can read it."""
    partial = path.with_name(f"{path.name}.partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(key + "\n")
    partial.replace(path)
