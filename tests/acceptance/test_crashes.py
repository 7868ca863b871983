"""A few of the crash points, in real processes under load; `make verify ONLY=G3.a` and its like strike them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.config import load
from holdfast.domain.errors import InvalidSettings
from tests.support.arena import Texts, arena
from tests.support.exchanges import Exchanges

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("processes")]


async def test_what_is_killed_at_any_point_agrees_with_the_rest_afterwards(tmp_path: Path) -> None:
    texts = ("message.stored", "receiver.kept", "send.written")
    others = ("change.applying", "notification.stored", "waiting.receipted", "file.arrived", "upload.filed")
    async with arena(tmp_path, Texts, Exchanges) as it:
        for point in (*texts, *others):
            await it.crash(point)
            await it.until_working()
        await it.settled()
        assert "0 lost, 0 under two ids, order kept" in await it.agree()


def test_crash_points_are_refused_where_whatsapp_is_meant() -> None:
    with pytest.raises(InvalidSettings, match=r"HOLDFAST_CRASH_FILE is for tests"):
        load(crash_file="somewhere")
    assert load(crash_file="somewhere", whatsapp_url="ws://127.0.0.1:1/ws/chat").crash_file == "somewhere"
