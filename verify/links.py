"""D: connections that break by themselves: network, silence, deafness, and the engine's processes."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import psutil

from holdfast.ports import engine as port
from tests.support.baileys_world import running
from verify.harness import World, alone, check
from verify.promises import within
from verify.relay import Mode, Relay, through
from verify.story import SHOP, Row, Story, delay, hear, quiet

CAFE = "40712345679"


# --- the network ------------------------------------------------------------------------------------------------


@check("D.refused_upgrade", "a proxy refuses the WebSocket (403): said so at once, tried on, back when it is gone")
async def refused_upgrade(w: World) -> str:
    await w.link()
    story = await Story.of(w)
    await w.fault("refuse_upgrade", status=403)
    await w.fault("drop", jid=SHOP)
    row = await story.told("refused_upgrade", "STARTING", "refused the connection. A proxy or firewall", timeout=10)
    await w.fault("clear")
    cleared = time.time()
    healed = await story.healed()
    assert row["at"] - story.began < 5, "the refusal was hidden behind a timeout"
    return within(healed["at"] - cleared, 6, "healing")


async def broken_network(w: World, relay: Relay, mode: Mode, code: str, words: str, limit: float) -> str:
    """Reached through the relay, broken there, explained, back within the limit of its mending."""
    await w.link()
    await through(w, relay.url)
    await w.holdfast.until_working("shop")
    story = await Story.of(w)
    await relay.become(mode)
    row = await story.told(code, "STARTING", words)
    await relay.become("open")
    mended = time.time()
    healed = await story.healed()
    assert story.credentials() > 0
    noticed = row["at"] - story.began
    return within(healed["at"] - mended, limit, "healing") + f" after it was mended (named after {noticed:.1f} s)"


@check("D.unreachable", "WhatsApp's port is closed: named, back within seconds of its opening")
async def unreachable(w: World) -> str:
    async with Relay(w.wasim) as relay:
        return await broken_network(w, relay, "closed", "unreachable", "cannot be reached from this machine", 6)


@check("D.timed_out", "the server takes the connection and says nothing: named, and tried again", TIME_FACTOR="0.1")
async def timed_out(w: World) -> str:
    async with Relay(w.wasim) as relay:
        return await broken_network(w, relay, "silent", "timed_out", "did not answer in time", 8)


@check("D.tls_failed", "a certificate that nobody vouches for: refused and named; back when the right one is shown")
async def tls_failed(w: World) -> str:
    async with Relay(w.wasim, tls=True) as relay:
        return await broken_network(w, relay, "untrusted", "tls_failed", "secure connection to WhatsApp failed", 6)


@check("D.dns_failed", "WhatsApp's name does not resolve: named, FAILED after 3 tries (no QR asked for), tried on")
async def dns_failed(w: World) -> str:
    await w.link()
    story = await Story.of(w)
    await through(w, "wss://whatsapp.invalid/ws/chat")
    await story.told("dns_failed", "STARTING", "could not be resolved. Check this machine's DNS")
    view = await w.holdfast.until("shop", lambda view: view["status"] == "FAILED")
    assert (view["reason"], view["needs_qr"]) == ("dns_failed", False), view
    assert view["next_attempt_at"] > time.time() - 1, "nothing is tried any more"
    rows = [row for row in await story.rows() if row["detail"]]
    for number, row in enumerate(rows[:3]):
        assert 0.8 * 2**number <= delay(row) <= 1.2 * 2**number, [delay(row) for row in rows]
    await through(w, w.wasim.url)
    mended = time.time()
    await w.holdfast.until_working("shop")
    assert story.credentials() > 0
    return f"tried after {', '.join(f'{delay(row):.1f}' for row in rows[:3])} s; back in {time.time() - mended:.1f} s"


# --- silence ----------------------------------------------------------------------------------------------------


async def _unresponsive(w: World, *, hard: bool) -> str:
    await w.link()
    story = await Story.of(w)
    await w.fault("blackhole", jid=SHOP, hard=hard)
    row = await story.told("unresponsive", "STARTING", "nothing came through it")
    await w.fault("clear")
    cleared = time.time()
    healed = await story.healed()
    noticed = within((row["at"] - story.began) / 0.2, 32, "noticing, scaled,")
    return f"noticed in {noticed} scaled, healed in {within(healed['at'] - cleared, 6, 'healing')}"


@check("D.unresponsive", "a half-open link: noticed within 30 s, replaced", TIME_FACTOR="0.2")
async def unresponsive(w: World) -> str:
    return await _unresponsive(w, hard=False)


@check("D.unresponsive_hard", "the same where not even the close is answered", TIME_FACTOR="0.2")
async def unresponsive_hard(w: World) -> str:
    return await _unresponsive(w, hard=True)


@check("D.deaf", "connected, answers pings, delivers nothing: the slow look finds it, nothing is lost",
       TIME_FACTOR="0.02", LEASE_TTL="150", LEASE_RENEW="50", LIVENESS_DEADLINE="150",
       HEALTH_INTERVAL="150", KEEPALIVE="50")  # fmt: skip
async def deaf(w: World) -> str:
    await w.link()
    await w.inject("heard")
    await hear(w, "heard")
    story = await Story.of(w)
    await w.fault("deaf", jid=SHOP)
    await w.inject("unheard")
    row = await story.told("quiet", "STARTING", "logging in again", timeout=90)
    first = (await story.rows())[0]
    assert first["code"] == "quiet", f"{first['code']} had ended the connection before"
    await hear(w, "unheard")
    healed = await story.healed()
    noticed = within((row["at"] - story.began) / 0.02, 3600 * 1.1, "noticing, scaled,")
    return f"noticed in {noticed} scaled, heard again {healed['at'] - row['at']:.2f} s later"


@check("D.unlisted", "taken off the account's list in silence: the slow look finds it, WhatsApp confirms, terminal",
       TIME_FACTOR="0.03", LEASE_TTL="100", LEASE_RENEW="33", LIVENESS_DEADLINE="100", HEALTH_INTERVAL="100",
       KEEPALIVE="33")  # fmt: skip
async def unlisted(w: World) -> str:
    await w.link()
    story = await Story.of(w)
    await w.fault("unlisted", jid=f"{SHOP}@s.whatsapp.net")
    row = await story.told("unlisted", "STARTING", "no longer lists this device")
    await story.told("logged_out", "FAILED", "Link it again")
    view = await story.view()
    assert view["needs_qr"]
    assert story.credentials() == 0
    assert [r["kind"] for r in await story.seen()] == ["login-refused"], "one look at the door was due"
    await quiet(w, 3, "terminal")
    return f"noticed in {within((row['at'] - story.began) / 0.03, 800, 'noticing, scaled,')} scaled"


async def flaps(w: World, drops: int) -> tuple[Story, list[Row]]:
    """Its story, and the entries of so many connections that each ended as soon as it was open."""
    story = await Story.of(w)
    for _ in range(drops):
        one = await Story.of(w)
        await w.fault("drop", jid=SHOP)
        await one.healed()
    lost = [row for row in await story.rows() if row["detail"]]
    assert len(lost) == drops, [row["code"] for row in lost]
    return story, lost


@check("D.flapping", "opened and closed again and again: the delay escalates; five stable minutes reset it",
       TIME_FACTOR="0.05", LEASE_TTL="60", LEASE_RENEW="20")  # fmt: skip
async def flapping(w: World) -> str:
    await w.link()
    story, lost = await flaps(w, 7)
    assert [row["code"] for row in lost[-3:]] == ["flapping"] * 3, [row["code"] for row in lost]
    await story.told("flapping", lost[-1]["status"], "opens and closes again and again")
    delays = [delay(row) / 0.05 for row in lost]
    assert all(after > before * 1.1 for before, after in pairwise(delays[2:])), delays
    assert delays[-1] > 16, delays
    stable = await Story.of(w)
    await asyncio.sleep(301 * 0.05)
    await w.fault("drop", jid=SHOP)
    row = await stable.told("connection_lost", "STARTING", "was lost")
    assert delay(row) / 0.05 <= 1.3, "the delay was not reset"
    return "waited " + ", ".join(f"{seconds:.1f}" for seconds in delays) + " scaled s"


# --- frames -----------------------------------------------------------------------------------------------------


@check("D.unhandled_frame", "a frame nobody knows changes nothing; an unreadable one costs its own session a blink")
async def unhandled_frame(w: World) -> str:
    await w.link()
    await w.link("cafe", CAFE)
    shop, cafe = await Story.of(w), await Story.of(w, "cafe", CAFE)
    await w.fault("unknown_frame", jid=SHOP)
    await w.inject("after the unknown")
    await hear(w, "after the unknown")
    await shop.untouched()
    await w.fault("corrupt_frame", jid=SHOP)
    await shop.told("connection_lost", "STARTING", "was lost")
    healed = await shop.healed()
    await w.inject("after the unreadable")
    await hear(w, "after the unreadable")
    await cafe.untouched()
    return within(healed["at"] - shop.began, 10, "healing")


# --- the engine -------------------------------------------------------------------------------------------------


def sidecars(w: World) -> list[int]:
    """Process ids of the sidecars, oldest first."""
    children = psutil.Process(w.holdfast.child.pid).children()
    hosts = [child for child in children if any("sidecar" in part for part in child.cmdline())]
    return [child.pid for child in sorted(hosts, key=lambda child: child.create_time())]


async def _strike(w: World, pid: int, number: signal.Signals) -> tuple[Story, Story]:
    """One of two sidecars gets the signal: (the session that is struck, the other)."""
    stories = [await Story.of(w), await Story.of(w, "cafe", CAFE)]
    os.kill(pid, number)
    end = time.time() + 60
    while not (struck := [one for one in stories if await one.rows()]):
        assert time.time() < end, "nobody noticed"
        await asyncio.sleep(0.05)
    assert len(struck) == 1, "both sessions were struck"
    stories.remove(struck[0])
    return struck[0], stories[0]


async def _apart(w: World) -> int:
    """Two sessions in a sidecar each: the process id of one."""
    await w.link()
    await w.link("cafe", CAFE)
    pids = sidecars(w)
    assert len(pids) == 2, f"{len(pids)} sidecars"
    return pids[0]


@check("D.engine_crashed", "kill -9 of a sidecar: only its sessions blink, and are back within 5 s",
       SESSIONS_PER_SIDECAR="1")  # fmt: skip
async def engine_crashed(w: World) -> str:
    struck, other = await _strike(w, await _apart(w), signal.SIGKILL)
    await struck.told("engine_crashed", "STARTING", "ended unexpectedly and is replaced")
    healed = await struck.healed()
    await other.untouched()
    assert len(await struck.seen("login")) == 1
    return within(healed["at"] - struck.began, 5, "healing")


@check("D.engine_hangs", "a sidecar that hangs: found, ended, its sessions back; the others undisturbed",
       SESSIONS_PER_SIDECAR="1")  # fmt: skip
async def engine_hangs(w: World) -> str:
    struck, other = await _strike(w, await _apart(w), signal.SIGSTOP)
    row = await struck.told("engine_crashed", "STARTING", "ended unexpectedly and is replaced")
    healed = await struck.healed()
    await other.untouched()
    noticed = within(row["at"] - struck.began, 30, "noticing")
    return f"noticed in {noticed}, back {within(healed['at'] - row['at'], 5, 'healing')} later"


@alone("D.engine_memory", "a sidecar that leaks past its limit is replaced, and its sessions are back within 5 s")
async def engine_memory() -> str:
    """On the engine alone, for the leak has to be made: what a session makes of the crash is D.engine_crashed."""
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with running(Path(folder), memory_limit_mb=250, hang_timeout=60.0) as world:
            await world.pair("shop", SHOP)
            await world.pair("cafe", CAFE)
            [before] = world.engine.facts()["processes"]
            assert before["memory"] < 250_000_000, "the limit would end a healthy sidecar"
            world.leak()
            died = await world.take(port.EngineDied)
            began = time.time()
            assert (died.tag, sorted(died.sessions)) == ("memory", ["cafe", "shop"]), died
            for name in died.sessions:
                await world.login(name)
            healed = time.time() - began
            [after] = world.engine.facts()["processes"]
            assert after["pid"] != before["pid"]
            return f"{died.detail} Back in {within(healed, 5, 'healing')}"


@check("D.engine_isolated", "the session in whose company sidecars die three times gets one of its own")
async def engine_isolated(w: World) -> str:
    await w.link()
    await w.link("cafe", CAFE)
    for number in range(3):
        await asyncio.sleep(2.5)  # a session that did nothing for 2 s is above suspicion
        shop = await Story.of(w)
        await w.inject(f"busy {number}")
        await hear(w, f"busy {number}")
        [pid] = sidecars(w)
        os.kill(pid, signal.SIGKILL)
        await shop.healed()
        for name in ("shop", "cafe"):
            await w.holdfast.until_working(name)
    assert len(sidecars(w)) == 2, "nobody was put apart"
    log = (w.holdfast.folder / "holdfast.log").read_text()
    isolated = [line for line in log.splitlines() if '"isolate"' in line]
    assert ['"shop"' in line for line in isolated] == [True], isolated
    struck, other = await _strike(w, sidecars(w)[-1], signal.SIGKILL)
    healed = await struck.healed()
    await other.untouched()
    return f"one more crash cost the other nothing, itself {within(healed['at'] - struck.began, 15, 'healing')}"
