"""Finds a PgBouncer for the tests, or unpacks Debian's into `.venv/pgbouncer`: nothing is installed on the machine.

What was found is written to `.venv/.holdfast-pgbouncer` (its path), where the tests read it. Runs in the environment
of `scripts/setup.sh`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from browser import as_root, run, say

VENV = Path(__file__).resolve().parents[1] / ".venv"
CHOICE = VENV / ".holdfast-pgbouncer"
UNPACKED = VENV / "pgbouncer"
SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")


def environment(program: str) -> dict[str, str]:
    """With the libraries that were unpacked beside it."""
    beside = [str(found.parent) for found in UNPACKED.glob("usr/lib/**/*.so*")] if str(UNPACKED) in program else []
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(dict.fromkeys(beside))} if beside else dict(os.environ)


def starts(program: str) -> bool:
    """Whether it says its version."""
    asked = subprocess.run([program, "--version"], capture_output=True, check=False, env=environment(program))
    return asked.returncode == 0 and b"PgBouncer" in asked.stdout


def found() -> str | None:
    """One on this machine that starts."""
    path = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), *SBIN)))
    return path if path and starts(path) else None


def unpack() -> str | None:
    """Debian's package and what it needs and this machine lacks, unpacked into the environment."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return None
    say("Fetching PgBouncer for the PostgreSQL tests")
    with tempfile.TemporaryDirectory() as folder:
        fetch = ["apt-get", "install", "-q", "-y", "--no-install-recommends", "--download-only"]
        fetch += ["-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={folder}", "pgbouncer"]
        os.makedirs(f"{folder}/partial")
        root = as_root()
        if not run(*fetch) and (root is None or not run(*root, "apt-get", "update", "-q") or not run(*fetch)):
            return None
        shutil.rmtree(UNPACKED, ignore_errors=True)
        for package in Path(folder).glob("*.deb"):
            if not run("dpkg-deb", "-x", str(package), str(UNPACKED)):
                return None
    program = str(UNPACKED / "usr/sbin/pgbouncer")
    return program if starts(program) else None


def main() -> int:
    """Find or unpack; 1, with the way out, where neither works."""
    if CHOICE.exists() and Path(CHOICE.read_text()).exists():
        return 0
    program = found() or unpack()
    if program is None:
        sys.stderr.write(
            "\033[1;31mError:\033[0m The PostgreSQL tests need PgBouncer, and it could not be had. "
            "Install it (on Debian: sudo apt-get install pgbouncer), then run make again.\n"
        )
        return 1
    CHOICE.write_text(program)
    return 0


if __name__ == "__main__":
    sys.exit(main())
