"""Options that several commands share, and the consoles that they write to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from holdfast.config import Settings, load

out = Console()
err = Console(stderr=True)

Host = Annotated[str | None, typer.Option(help="Address to listen on (HOLDFAST_HOST).")]
Port = Annotated[int | None, typer.Option(help="Port to listen on (HOLDFAST_PORT).")]
DataDir = Annotated[Path | None, typer.Option(help="Folder for database and media (HOLDFAST_DATA_DIR).")]
Url = Annotated[str | None, typer.Option(help="Where the server answers; default: host and port of the settings.")]
Key = Annotated[str | None, typer.Option(help="API key; default: HOLDFAST_API_KEY, else the file in the data folder.")]


def settings_of(**given: Any) -> Settings:
    """The settings, with what was given on the command line in place of the environment's."""
    return load(**{name: value for name, value in given.items() if value is not None})
