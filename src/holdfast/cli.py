"""The command line: gives the commands their names, and ends mistakes in one sentence."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape

import holdfast
from holdfast.commands import contacts, credentials, database, doctor, moving, server, sessions, show
from holdfast.commands.options import err, out
from holdfast.domain.errors import HoldfastError

app = typer.Typer(
    name="holdfast",
    help="The WhatsApp session gateway that does not lose sessions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(server.serve)
app.command()(sessions.pair)
app.command()(sessions.sessions)
app.command("import-baileys")(moving.import_baileys)
app.command("clear-auth")(credentials.clear_auth)
app.command("export-contacts")(contacts.export_contacts)
app.command()(doctor.doctor)
app.command()(database.migrate)
app.command()(show.demo)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The WhatsApp session gateway that does not lose sessions."""
    if version:
        out.print(f"holdfast {holdfast.__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: mistakes of use end in one sentence, not in a trace."""
    try:
        app()
    except HoldfastError as error:
        err.print(f"[bold red]Error:[/] {escape(error.sentence)}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
