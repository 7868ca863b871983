"""A stopping instance says that it is not ready while it still answers, so that load balancers pass it over."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.processes import Holdfast, Wasim

pytestmark = pytest.mark.xdist_group("processes")


async def test_it_answers_while_it_drains_and_a_second_signal_ends_it(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim, Holdfast(wasim, tmp_path, HOLDFAST_DRAIN="600") as holdfast:
        assert await holdfast.ask("GET", "/api/status") == {"ready": True}
        holdfast.child.send_signal(signal.SIGTERM)
        status = 200
        while status == 200:
            async with holdfast.http.get(f"{holdfast.url}/api/status") as answer:
                status = answer.status
        assert status == 503
        assert await holdfast.ask("GET", "/ping") == {"message": "pong"}
        assert await holdfast.ask("GET", "/api/sessions") == []
        holdfast.child.send_signal(signal.SIGTERM)
        assert await holdfast.child.wait() == 130
