"""`doctor`: what is wrong with an installation, or with a running server, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.commands.findings import tell
from holdfast.commands.options import DataDir, Key, settings_of


def doctor(
    url: Annotated[str | None, typer.Option(help="Look at the server there, not at this installation.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Check this installation, or with --url a running server. Exit code 1 if there is a problem."""
    from holdfast.client import Client  # noqa: PLC0415 - `--help` stays fast
    from holdfast.commands import inspection, installation  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)
    if url is None:
        tell(list(installation.look(settings)), as_json=as_json)
        return
    with Client.of(settings, url, key) as client:
        tell(list(inspection.look(client)), as_json=as_json)
