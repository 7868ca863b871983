"""`install-engine`: the WhatsApp engine's packages, before anything is served."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.commands.options import DataDir, out, settings_of


def install_engine(
    data_dir: DataDir = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Next to the installed package, for every data folder: for images.")
    ] = False,
) -> None:
    """Install the WhatsApp engine's packages now, so that no later start downloads anything."""
    from holdfast.engines.baileys.install import ensure_sidecar, install_beside_package  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)

    def progress(line: str) -> None:
        out.print(line, highlight=False)

    if shared:
        installed = install_beside_package(progress, settings.node)
    else:
        installed = ensure_sidecar(settings.data_dir, progress, settings.node)
    out.print(f"The engine's packages are in {installed.main.parents[1] / 'node_modules'}", highlight=False)
