"""A real PgBouncer in transaction mode in front of the tests' PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
import time
from types import TracebackType
from typing import Self

from tests.support.postgres import Postgres, free_port, private_folder, unprivileged
from tests.support.programs import environment, program

_SETTINGS = """
[databases]
* = host={server} port={port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
server_idle_timeout = 2
ignore_startup_parameters =
"""


class PgBouncer:
    """`with PgBouncer(postgres) as pooler:` every database of the server, at most `size` connections to each."""

    def __init__(self, server: Postgres, size: int = 4) -> None:
        self._program = program("pgbouncer")
        self._server = server
        self._size = size
        self.port = free_port()

    def __enter__(self) -> Self:
        self._root = private_folder("hf-pgb-")
        settings = _SETTINGS.format(
            server=self._server.socket, port=self._server.port, listen=self.port, size=self._size
        )
        (self._root / "pgbouncer.ini").write_text(settings)
        log = self._root / "log"
        with log.open("wb") as said:
            self._child = subprocess.Popen(
                [self._program, str(self._root / "pgbouncer.ini")],
                stdin=subprocess.DEVNULL,
                stderr=said,
                env=environment("pgbouncer"),
                **unprivileged(),
            )
        end = time.monotonic() + 10
        while "process up" not in log.read_text():
            assert self._child.poll() is None, f"PgBouncer did not start: {log.read_text()}"
            assert time.monotonic() < end, f"PgBouncer does not get ready: {log.read_text()}"
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.terminate()
        self._child.wait()
        shutil.rmtree(self._root, ignore_errors=True)

    def dsn(self, database: str) -> str:
        """The URL of a database through the pooler."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
