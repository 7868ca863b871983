"""A few of the crash points, in real processes under load; `make verify ONLY=G3.a` and its like strike them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.config import load
from holdfast.domain.errors import InvalidSettings
from tests.support.arena import arena

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("processes")]


async def test_what_is_killed_at_any_point_agrees_with_the_rest_afterwards(tmp_path: Path) -> None:
    async with arena(tmp_path) as it:
        for point in ("inbox.committed", "message.stored", "receiver.kept", "ack.told", "send.written"):
            await it.crash(point)
            await it.until_working()
        await it.load.stop()
        await it.until_settled()
        assert "0 lost, 0 under two ids, order kept" in await it.agree()


def test_crash_points_are_refused_where_whatsapp_is_meant() -> None:
    with pytest.raises(InvalidSettings, match=r"HOLDFAST_CRASH_FILE is for tests"):
        load(crash_file="somewhere")
    assert load(crash_file="somewhere", whatsapp_url="ws://127.0.0.1:1/ws/chat").crash_file == "somewhere"
