"""Crash points, for tests only: the process ends itself at a named point of the code, as by `kill -9`.

Off unless HOLDFAST_CRASH_FILE names a file. A test arms a point by writing its name into that file. The first process
that comes by, of all that were given the file, takes it away and dies: one arming is one crash. What it took away it
leaves as `<file>.struck`. The sidecar's twin is sidecar/src/crash.ts.
"""

from __future__ import annotations

import os
import signal

_file = ""


def arm(path: str) -> None:
    """Look into that file at every point from now on; empty: at none."""
    global _file  # noqa: PLW0603 - a process has one such switch, and points are everywhere
    _file = path


def point(name: str) -> None:
    """Die here if a test asked for it."""
    if _file:
        _strike(name)


def _strike(name: str) -> None:
    try:
        with open(_file) as armed:
            if armed.read().strip() != name:
                return
        os.rename(_file, f"{_file}.struck")
    except FileNotFoundError:  # not armed, or another process was faster
        return
    os.kill(os.getpid(), signal.SIGKILL)
