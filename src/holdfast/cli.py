"""The command line: `holdfast serve`, `pair`, `sessions`, `migrate`, `demo`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import holdfast
from holdfast import logs
from holdfast.config import Settings, load
from holdfast.domain.errors import HoldfastError

app = typer.Typer(
    name="holdfast",
    help="The WhatsApp session gateway that does not lose sessions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)

Host = Annotated[str | None, typer.Option(help="Address to listen on (HOLDFAST_HOST).")]
Port = Annotated[int | None, typer.Option(help="Port to listen on (HOLDFAST_PORT).")]
DataDir = Annotated[Path | None, typer.Option(help="Folder for database and media (HOLDFAST_DATA_DIR).")]
Url = Annotated[str | None, typer.Option(help="Where the server answers; default: host and port of the settings.")]
Key = Annotated[str | None, typer.Option(help="API key; default: HOLDFAST_API_KEY, else the file in the data folder.")]


def _settings(**given: Any) -> Settings:
    return load(**{name: value for name, value in given.items() if value is not None})


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The WhatsApp session gateway that does not lose sessions."""
    if version:
        out.print(f"holdfast {holdfast.__version__}")
        raise typer.Exit


@app.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run the server until Ctrl-C. Connections close properly; a second Ctrl-C stops at once."""
    settings = _settings(host=host, port=port, data_dir=data_dir)
    instance = str(uuid.uuid4())
    logs.setup(level=settings.log_level, style=settings.log_format, instance=instance)
    import uvloop  # noqa: PLC0415 - only the server needs it

    uvloop.run(_serve(settings, instance))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all is closed; the interpreter's own tidying would only keep the next instance waiting


async def _serve(settings: Settings, instance: str) -> None:
    from holdfast.app import api_key, bind, running, server  # noqa: PLC0415 - `--help` stays fast

    listener = bind(settings.host, settings.port)
    port = listener.getsockname()[1]
    async with running(settings, instance) as (node, store):
        hashed, fresh = await api_key(settings, store)
        http = await server(node, settings, hashed)
        with _stop_signals(http, node.stop_waiting):
            _announce(settings, port, fresh)
            await http.serve(sockets=[listener])


def _announce(settings: Settings, port: int, fresh: str | None) -> None:
    host = "localhost" if settings.host in ("0.0.0.0", "127.0.0.1", "::") else settings.host  # noqa: S104 - compared
    out.print(f"[bold green]Holdfast is ready:[/] http://{host}:{port}/dashboard   (API docs: /docs)", highlight=False)
    if fresh:
        where = settings.data_dir / "api-key"
        out.print(f"[bold]API key:[/] {fresh}   (also in {where}, readable by you only)", highlight=False)
    elif (settings.data_dir / "api-key").exists() and settings.api_key is None:
        out.print(f"API key: in {settings.data_dir / 'api-key'}", highlight=False)
    sys.stdout.flush()


class _stop_signals:  # noqa: N801 - used as a block
    """SIGINT and SIGTERM end the server in order; the second one ends the process at once."""

    def __init__(self, http: Any, stop_waiting: Callable[[], None]) -> None:
        self._http = http
        self._stop_waiting = stop_waiting
        self._asked = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._http.install_signal_handlers = lambda: None
        self._http.capture_signals = _nothing
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        """Handlers stay: a second signal must count while sessions close."""

    def _on_signal(self) -> None:
        if self._asked:
            os._exit(130)
        self._asked = True
        self._stop_waiting()
        self._http.should_exit = True


class _nothing:  # noqa: N801 - used as a block
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@app.command()
def pair(
    name: Annotated[str, typer.Argument(help="Session to link; made if it does not exist.")] = "default",
    code: Annotated[str | None, typer.Option(help="Phone number: show a code to type instead of a QR.")] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Link a WhatsApp number: show its QR here, until it is scanned."""
    from holdfast.client import Client, pair_in_terminal  # noqa: PLC0415 - `--help` stays fast

    settings = _settings(data_dir=data_dir)
    with Client.of(settings, url, key) as client:
        pair_in_terminal(client, name, code, out)


@app.command()
def sessions(
    name: Annotated[str | None, typer.Argument(help="One session with its timeline; default: all.")] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """List sessions, or show one with its timeline."""
    from holdfast.client import Client, show_sessions  # noqa: PLC0415 - `--help` stays fast

    settings = _settings(data_dir=data_dir)
    with Client.of(settings, url, key) as client:
        show_sessions(client, name, out)


@app.command()
def migrate(
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Bring the database up to this version. The server does it by itself at its start."""
    from holdfast.runtime.clock import SystemClock  # noqa: PLC0415 - `--help` stays fast
    from holdfast.store import migration_sql, open_store  # noqa: PLC0415

    settings = _settings(data_dir=data_dir)
    if sql:
        sys.stdout.write(migration_sql(settings.url))
        return

    async def upgrade() -> None:
        store = open_store(settings.url, SystemClock())
        await store.open()
        await store.close()

    asyncio.run(upgrade())
    out.print("The database is up to date.")


@app.command()
def demo(
    port: Port = None,
    once: Annotated[bool, typer.Option(help="Link, exchange a message, and end: a check of the installation.")] = False,
) -> None:
    """See it all without a WhatsApp account: a simulated WhatsApp, Holdfast, and two phones that talk."""
    from holdfast.demo import run_demo  # noqa: PLC0415 - only the demo needs the simulator

    logs.setup(level="warning", style="console", instance="demo")
    asyncio.run(run_demo(port if port is not None else 3000, once=once, console=out))


def main() -> None:
    """Entry point: mistakes of use end in one sentence, not in a trace."""
    try:
        app()
    except HoldfastError as error:
        err.print(f"[bold red]Error:[/] {error.sentence}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
