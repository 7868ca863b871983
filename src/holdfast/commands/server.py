"""`serve`: the server in the foreground, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import uuid
from importlib import import_module
from typing import Annotated, Any

import structlog
import typer
from dotenv import dotenv_values

from holdfast import logs
from holdfast.commands.options import DataDir, Host, Port, out, settings_of
from holdfast.config import Settings, check_reachable
from holdfast.key_file import path_of
from holdfast.setting_sources import ENV_FILE
from holdfast.unknown_settings import without_effect

log = structlog.get_logger(__name__)


def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    change_root_key: Annotated[
        bool,
        typer.Option(
            "--change-root-key",
            help="Record HOLDFAST_WHATSAPP_ROOT_KEY as that of the stored sessions, though they were linked under "
            "another. Only if the same WhatsApp changed its key: any other logs them out.",
        ),
    ] = False,
) -> None:
    """Run the server until Ctrl-C. Connections close properly; a second Ctrl-C stops at once."""
    settings = settings_of(host=host, port=port, data_dir=data_dir)
    check_reachable(settings)
    instance = str(uuid.uuid4())
    logs.setup(level=settings.log_level, style=settings.log_format, instance=instance)
    file = os.environ.get(ENV_FILE, ".env")
    for said in without_effect([*os.environ, *(dotenv_values(file) if file else ())]):
        log.warning(said, action="start", code="unknown_setting")
    import uvloop  # noqa: PLC0415 - only the server needs it

    uvloop.run(_serve(settings, instance, change_root_key=change_root_key))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all is closed; the interpreter's own tidying would only keep the next instance waiting


async def _serve(settings: Settings, instance: str, *, change_root_key: bool) -> None:
    from holdfast.ground import bind, ground  # noqa: PLC0415 - `--help` stays fast

    listener = bind(settings.host, settings.port)
    port = listener.getsockname()[1]
    async with ground(settings, instance) as base:
        app = await asyncio.to_thread(import_module, "holdfast.app")
        async with app.running(base, port, change_root_key=change_root_key) as (node, _):
            access, fresh = await app.access_of(node, settings)
            http = await app.server(node, settings, access)
            with _stop_signals(http, node, settings.drain):
                _announce(settings, port, fresh)
                gc.freeze()  # what was loaded stays: the collector need not stop everything to look through it again
                await http.serve(sockets=[listener])


def _announce(settings: Settings, port: int, fresh: str | None) -> None:
    host = "localhost" if settings.host in ("0.0.0.0", "127.0.0.1", "::") else settings.host  # noqa: S104 - compared
    out.print(f"[bold green]Holdfast is ready:[/] http://{host}:{port}/dashboard   (API docs: /docs)", highlight=False)
    if settings.platform_port:
        out.print(
            f"Listening on all addresses, because the platform set PORT={port}. HOLDFAST_HOST overrides this.",
            highlight=False,
            soft_wrap=True,
        )
    if fresh:
        said = f"[bold]API key:[/] {fresh}   (also in {path_of(settings)}, readable by you only)"
        out.print(said, highlight=False, soft_wrap=True)
    elif path_of(settings).exists() and settings.api_key is None:
        out.print(f"API key: in {path_of(settings)}", highlight=False, soft_wrap=True)
    sys.stdout.flush()


class _stop_signals:  # noqa: N801 - used as a block
    """SIGINT and SIGTERM end the server in order, after `drain` seconds; the second one ends the process at once."""

    def __init__(self, http: Any, node: Any, drain: float) -> None:
        self._http = http
        self._node = node
        self._drain = drain
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
        self._node.leave()
        asyncio.get_running_loop().call_later(self._drain, self._stop)

    def _stop(self) -> None:
        self._node.stop_waiting()
        self._http.should_exit = True


class _nothing:  # noqa: N801 - used as a block
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
