"""The command line: gives the commands their names, and ends mistakes in one sentence."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer
from rich.markup import escape

import holdfast
from holdfast.commands.options import err, out
from holdfast.domain.errors import HoldfastError

COMMANDS = {
    "serve": "server.serve",
    "pair": "sessions.pair",
    "sessions": "sessions.sessions",
    "import-baileys": "moving.import_baileys",
    "clear-auth": "credentials.clear_auth",
    "rotate-key": "rotate_key.rotate_key",
    "export": "history.export",
    "export-contacts": "contacts.export_contacts",
    "doctor": "doctor.doctor",
    "migrate": "database.migrate",
    "install-engine": "engine_packages.install_engine",
    "demo": "show.demo",
}
"""Each command's function in `holdfast.commands`, loaded when it is needed: a restart waits for no other's imports."""

app = typer.Typer(
    name="holdfast",
    help="The WhatsApp session gateway that does not lose sessions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def load(*names: str) -> typer.Typer:
    """The application with these commands."""
    for name in names:
        module, function = COMMANDS[name].split(".")
        app.command(name)(getattr(import_module(f"holdfast.commands.{module}"), function))
    return app


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The WhatsApp session gateway that does not lose sessions."""
    if version:
        out.print(f"holdfast {holdfast.__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: mistakes of use end in one sentence, not in a trace."""
    asked = sys.argv[1:2]
    try:
        load(*(asked if asked and asked[0] in COMMANDS else COMMANDS))()
    except HoldfastError as error:
        err.print(f"[bold red]Error:[/] {escape(error.in_full)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
