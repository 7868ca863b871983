"""The engines behind the port, each over the simulator: what the contract suite runs on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.support.baileys_world import World, running

WORLDS: dict[str, Callable[[Path], AbstractAsyncContextManager[World]]] = {"baileys": running}
