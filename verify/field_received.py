"""What phones send in the field: sealed edits, templates, lists, LIDs, hosted devices, people without a number."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support import field_received
from tests.support.cluster import cluster
from tests.support.conversations import SHOP, Scenario, Talk
from tests.support.processes import Receiver
from verify.harness import World, alone, check


def _line(id: str, what: str, *scenarios: Scenario) -> None:
    @check(id, what)
    async def run(w: World) -> str:
        await w.link()
        talk = Talk(w.wasim, w.holdfast, w.hook)
        return ", ".join(filter(None, [await scenario(talk) for scenario in scenarios]))


_line("F.1", "sealed edits: by LID and number, captions, early, forged", field_received.sealed_edits)
_line("F.1.own", "the own phone's sealed edits of what Holdfast sent, over restarts", field_received.own_phone_edits)
_line("F.2", "templates, buttons, lists, products, invoices: text and file", field_received.templates)
_line("F.3", "broadcast lists: in the chat with the sender, and answered there", field_received.broadcast_lists)
_line("F.4", "LIDs inside messages are by number, and we are recognised", field_received.lids_inside)
_line("F.5", "what is no message to a person is no message event; orders and payments", field_received.phantoms)
_line("F.6", "hosted devices are the person, by number and by LID", field_received.hosted_devices)
_line("F.7", "event messages with name, answers and edits", field_received.events)
_line("F.8", "replies to buttons, lists and flows: id and text of the choice", field_received.choices)


@alone("F.1.postgres", "the same sealed edits on PostgreSQL")
async def _on_postgres() -> str:
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with cluster(Path(folder), postgres=True) as world, Receiver() as hook:
            holdfast = await world.start()
            await holdfast.link(world.wasim, "shop", SHOP, hook.config())
            return await field_received.sealed_edits(Talk(world.wasim, holdfast, hook))
