"""G3: what is received keeps its meaning, whichever way it came, and whoever must be asked for it again."""

from __future__ import annotations

from tests.support import conversations
from tests.support.conversations import Scenario, Talk
from verify.harness import World, check


def _line(id: str, what: str, scenario: Scenario) -> None:
    @check(id, what)
    async def run(w: World) -> str:
        await w.link()
        return await scenario(Talk(w.wasim, w.holdfast, w.hook))


_line(
    "G3.h", "text, reply, caption, place, contact, poll, vanishing and view-once: meaning and raw", conversations.kinds
)
_line("G3.i", "edits, deletions and reactions find their message, by number or by LID", conversations.changes)
_line("G3.j", "what our own phone writes, edits and reacts to is ours, in the right chat", conversations.own_phone)
_line("G3.k", "the offline queue with edits, reactions and deletions comes whole and in order", conversations.away)
_line("G3.l", "votes in polls of theirs and of our phone are opened and counted", conversations.votes)
_line("G3.m", "what cannot be read is told, and comes under its id: again, or from our phone", conversations.waiting)
_line(
    "G3.n", "groups: members, names, sender keys both ways, receipts of each, reactions, votes", conversations.in_groups
)
