"""F: what is sent arrives as WhatsApp's apps send it, or is refused in words; cases from public bug reports."""

from __future__ import annotations

from tests.support.conversations import Scenario, Talk
from tests.support.outgoing_cases import CASES
from verify.harness import World, check


def _line(id: str, what: str, play: Scenario) -> None:
    @check(id, what)
    async def run(w: World) -> str:
        await w.link()
        return await play(Talk(w.wasim, w.holdfast, w.hook))


for _id, (_what, _play) in CASES.items():
    _line(_id, _what, _play)
