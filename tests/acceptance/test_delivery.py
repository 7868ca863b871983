"""Webhooks between real processes: the receiver away, the instance killed meanwhile, two instances on one file."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.cluster import cluster, me, until_owner
from tests.support.processes import Holdfast, Receiver, Wasim

SHOP, ANA, BEN = "40712345678", "40712345601", "40712345602"

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("processes")]


async def inject(wasim: Wasim, count: int, since: int = 0) -> None:
    """Messages in turn from two people, each text with its sender and number."""
    for number in range(since, since + count):
        sender = (ANA, BEN)[number % 2]
        await wasim.post("inject", {"from": sender, "to": SHOP, "text": f"{sender} {number:03d}"})


def complete(hook: Receiver, count: int) -> None:
    """Everything came, and each person's in order."""
    for sender in (ANA, BEN):
        came = [text for text in hook.texts() if text.startswith(sender)]
        assert came == sorted(came)
    assert len(hook.texts()) == count
    assert hook.refused == 0


async def test_a_receiver_that_was_away_gets_all_of_it_though_the_instance_was_killed(tmp_path: Path) -> None:
    async with Wasim(tmp_path) as wasim, Receiver() as hook, Holdfast(wasim, tmp_path) as holdfast:
        await holdfast.link(wasim, "shop", SHOP, hook.config("message"))
        hook.says = lambda _: 500
        await inject(wasim, 20)
        await hook.until(lambda: len({e["id"] for e in hook.turned_away}) >= 2)
        first = {e["payload"]["id"]: e["id"] for e in hook.turned_away}
        await holdfast.stop(signal.SIGKILL)
        await inject(wasim, 10, since=20)
        await holdfast.start()
        await holdfast.until_working("shop")
        hook.says = lambda _: 200
        await hook.until(lambda: len(hook.texts()) == 30, timeout=60)
        complete(hook, 30)
        ids = {e["payload"]["id"]: e["id"] for e in hook.envelopes}
        assert first.items() <= ids.items(), "an id changed between two attempts"
        assert await holdfast.ask("GET", "/api/holdfast/deliveries", state="dead") == []


async def test_two_instances_deliver_each_event_once_and_one_takes_over_from_the_other(tmp_path: Path) -> None:
    async with cluster(tmp_path, postgres=False) as world, Receiver() as hook:
        first = await world.start()
        await first.link(world.wasim, "shop", SHOP, hook.config("message"))
        second = await world.start()
        await inject(world.wasim, 20)
        await hook.until(lambda: len(hook.texts()) == 20)
        await first.stop()
        await until_owner(second, await me(second))
        await inject(world.wasim, 20, since=20)
        await hook.until(lambda: len(hook.texts()) == 40, timeout=60)
        complete(hook, 40)
        assert len(hook.envelopes) == 40, "some came twice"
