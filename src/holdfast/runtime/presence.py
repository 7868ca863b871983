"""Proof that an instance on this machine is dead, so that its leases need not run out first.

Each instance holds a file lock in the data folder, and its sidecars inherit the open file: the kernel frees the lock
only when the last of them is gone. So a lock that can be taken proves that neither process nor socket is left. A file
that is missing proves nothing: that instance may run on another machine.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class Presence:
    """This instance's lock; `fd` is to be inherited by every process that holds connections for it."""

    def __init__(self, folder: Path, instance: str) -> None:
        self._folder = folder
        self._path = folder / f"{instance}.lock"
        self.fd = -1
        self._dead: set[str] = set()

    def __enter__(self) -> Self:
        """Take the lock. Raises OSError when the folder cannot be written."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go and tidy up."""
        self._path.unlink(missing_ok=True)
        os.close(self.fd)
        self.fd = -1

    def proved_dead(self, instance: str) -> bool:
        """Whether that instance ran here and nothing of it is left."""
        path = self._folder / f"{instance}.lock"
        if instance in self._dead or path == self._path:
            return instance in self._dead
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            path.unlink(missing_ok=True)
            self._dead.add(instance)
            return True
        finally:
            os.close(fd)
