"""Before anything else is loaded: this machine's own settings do not reach the tests."""

from __future__ import annotations

from tests.support.environment import isolate

isolate()
