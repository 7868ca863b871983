"""``wasim serve``."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer

from wasim.server import WasimServer
from wasim.state import StateError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="A WhatsApp server for tests, demos and benchmarks.")


@app.callback()
def _root() -> None:
    """Keep ``serve`` a named command while it is the only one."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on. Loopback: there is no password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8411,
    media_port: Annotated[int, typer.Option(min=0, max=65535, help="TLS port for media; 0 picks a free one.")] = 0,
    state: Annotated[Path | None, typer.Option(help="File that keeps accounts and queues over restarts.")] = None,
) -> None:
    """Run the simulator until Ctrl-C; prints the URL, the root key and the CA file that clients need."""
    try:
        asyncio.run(_serve(host, port, media_port, state))
    except StateError as error:
        typer.echo(f"wasim: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"wasim: cannot listen on {host}:{port}: {error.strerror}. Choose another --port.", err=True)
        raise typer.Exit(1) from None


async def _serve(host: str, port: int, media_port: int, state: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows there are no such handlers: Ctrl-C ends it there
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with WasimServer(host, port, media_port=media_port, state=state) as wasim:
        typer.echo(f"url       {wasim.url}")
        typer.echo(f"root-key  {wasim.root_key_hex}")
        typer.echo(f"ca-file   {wasim.ca_file or '-'}")
        typer.echo(f"admin     {wasim.admin_url}")
        await stop.wait()


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
