"""What an instance stands on before the rest of the program is loaded: its port, its folder, its first sidecar.

Node takes as long to start as Python does to load the store and the API. So this module loads nothing heavy, and the
two go on side by side: that is a good part of what a restart costs a session.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from holdfast import crash
from holdfast.config import Settings
from holdfast.domain.errors import DataDirNotWritable, HoldfastError
from holdfast.engines.baileys.options import BaileysOptions
from holdfast.engines.baileys.pool import Pool
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.presence import Presence

log = structlog.get_logger(__name__)


class PortTaken(HoldfastError):
    """The port is taken."""

    code = "port_taken"


@dataclass(frozen=True)
class Ground:
    """An instance's id (a UUID) and what it has already. The sidecars inherit the lock of `presence`."""

    settings: Settings
    instance: str
    presence: Presence
    options: BaileysOptions
    pool: Pool
    clock: SystemClock


@asynccontextmanager
async def ground(settings: Settings, instance: str) -> AsyncIterator[Ground]:
    """For an instance of that id; no sidecar is left when the block ends. Raises `DataDirNotWritable`, and
    `InvalidSettings` for the engine's. A sidecar that does not start is told of when the engine starts.
    """
    _prepare(settings.data_dir)
    _arm(settings)
    clock = SystemClock()
    with Presence(settings.data_dir / "instances", instance) as presence:
        options = _baileys(settings, presence.fd)
        pool = Pool(options, clock)
        starting = asyncio.create_task(pool.start())
        starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            yield Ground(settings, instance, presence, options, pool, clock)
        finally:
            starting.cancel()
            await pool.stop()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is found before anything starts. Raises `PortTaken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"Cannot listen on {host}:{port} ({error.strerror}). "
            "Stop what uses it, or set HOLDFAST_PORT to another port."
        ) from error
    listener.listen(512)
    listener.setblocking(False)
    return listener


def _arm(settings: Settings) -> None:
    crash.arm(settings.crash_file)
    if settings.crash_file:
        log.error(
            "CRASH POINTS ARE ON: this process kills itself where a test asks for it. Unset HOLDFAST_CRASH_FILE.",
            action="crash",
            code="crash_points",
        )


def _prepare(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise DataDirNotWritable(
            f"The data folder {data_dir} cannot be made ({error.strerror}). Set HOLDFAST_DATA_DIR to another folder."
        ) from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise DataDirNotWritable(
            f"The data folder {data_dir} cannot be written. Set HOLDFAST_DATA_DIR to a folder of this user."
        )


def _baileys(settings: Settings, fd: int) -> BaileysOptions:
    options = BaileysOptions(
        data_dir=settings.data_dir,
        node=settings.node,
        root_key=settings.whatsapp_root_key or None,
        ca_file=Path(settings.whatsapp_ca_file) if settings.whatsapp_ca_file else None,
        wa_version=settings.whatsapp_version or None,
        version_url=settings.whatsapp_version_url,
        browser=settings.browser_name,
        keepalive=settings.keepalive,
        liveness=settings.liveness_deadline,
        memory_limit_mb=settings.sidecar_memory_mb,
        sessions_per_sidecar=settings.sessions_per_sidecar,
        crash_file=settings.crash_file,
        inherit_fds=(fd,),
        routes=settings.routes(),
        time_factor=settings.time_factor,
        whatsapp_url=settings.whatsapp_url,
        store_patience=3600.0 if settings.lease_mode == "lenient" else 10.0,
    )
    options.version_parts()
    return options
