"""Finds the servers that tests talk to, or unpacks Debian's packages into `.venv`: nothing is installed on the machine.

The path of each is written to `.venv/.holdfast-<name>`, where the tests read it (`tests/support/programs.py`). Runs in
the environment of `scripts/setup.sh`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from browser import as_root, run, say

VENV = Path(__file__).resolve().parents[1] / ".venv"
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")


@dataclass(frozen=True)
class Program:
    """A server: Debian's package of it, where that has the program, and how the program tells that it starts."""

    name: str
    package: str
    path: str
    probe: tuple[str, ...]
    says: bytes
    purpose: str

    @property
    def choice(self) -> Path:
        return VENV / f".holdfast-{self.name}"

    @property
    def unpacked(self) -> Path:
        return VENV / self.name


PROGRAMS = (
    Program("pgbouncer", "pgbouncer", "usr/sbin/pgbouncer", ("--version",), b"PgBouncer", "the PostgreSQL tests"),
    Program("tinyproxy", "tinyproxy-bin", "usr/bin/tinyproxy", ("-v",), b"tinyproxy", "the tests of HTTP proxies"),
    Program("microsocks", "microsocks", "usr/bin/microsocks", ("-?",), b"MicroSocks", "the tests of SOCKS5 proxies"),
)


def environment(program: Program, path: str) -> dict[str, str]:
    """With the libraries that were unpacked beside it."""
    inside = str(program.unpacked) in path
    beside = [str(found.parent) for found in program.unpacked.glob("usr/lib/**/*.so*")] if inside else []
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(dict.fromkeys(beside))} if beside else dict(os.environ)


def starts(program: Program, path: str) -> bool:
    """Whether it says what it is."""
    try:
        asked = subprocess.run([path, *program.probe], capture_output=True, check=False, env=environment(program, path))
    except OSError:
        return False
    return program.says in asked.stdout + asked.stderr


def found(program: Program) -> str | None:
    """One on this machine that starts."""
    path = shutil.which(Path(program.path).name, path=os.pathsep.join((os.environ.get("PATH", ""), *PLACES)))
    return path if path and starts(program, path) else None


def unpack(program: Program) -> str | None:
    """Debian's package and what it needs and this machine lacks, unpacked into the environment."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return None
    say(f"Fetching {program.name} for {program.purpose}")
    with tempfile.TemporaryDirectory() as folder:
        fetch = ["apt-get", "install", "-q", "-y", "--no-install-recommends", "--download-only"]
        fetch += ["-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={folder}", program.package]
        os.makedirs(f"{folder}/partial")
        root = as_root()
        if not run(*fetch) and (root is None or not run(*root, "apt-get", "update", "-q") or not run(*fetch)):
            return None
        shutil.rmtree(program.unpacked, ignore_errors=True)
        for package in Path(folder).glob("*.deb"):
            if not run("dpkg-deb", "-x", str(package), str(program.unpacked)):
                return None
    path = str(program.unpacked / program.path)
    return path if starts(program, path) else None


def provide(program: Program) -> bool:
    """Find or unpack it; False, with the way out, where neither works."""
    if program.choice.exists() and Path(program.choice.read_text()).exists():
        return True
    path = found(program) or unpack(program)
    if path is None:
        sys.stderr.write(
            f"\033[1;31mError:\033[0m {program.purpose} need {program.name}, which could not be fetched. "
            f"Install it (on Debian: sudo apt-get install {program.package}), then run make again.\n"
        )
        return False
    program.choice.write_text(path)
    return True


def main() -> int:
    """1 if one of them is missing."""
    provided = [provide(program) for program in PROGRAMS]
    return 0 if all(provided) else 1


if __name__ == "__main__":
    sys.exit(main())
