"""Credentials belong to one WhatsApp: no store that leads to a different one can claim sessions or add credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from holdfast.domain.errors import WrongWhatsApp
from holdfast.domain.rows import EngineWrite, Lease, MovedIn
from holdfast.domain.whatsapp import OFFICIAL_ROOT_KEY, WhatsApp
from holdfast.store import SqlStore, keys, root_key
from tests.contract.conftest import World
from tests.contract.test_postgres_interleavings import blocked, halfway
from tests.support.leases import take_lease

OTHER = WhatsApp.of("AB" * 32, "ws://user:secret@127.0.0.1:9/ws/chat?token=1")
CREDS = EngineWrite({("creds", ""): b"linked"})
MOVED = MovedIn({("creds", ""): b"moved"}, "40712345678", "", "")


def elsewhere(world: World, whatsapp: WhatsApp = OTHER) -> SqlStore:
    """The same database, seen by a process that leads to a different WhatsApp."""
    return SqlStore(world.store._driver, world.clock, whatsapp)


async def refused(work: Awaitable[object]) -> str:
    with pytest.raises(WrongWhatsApp) as caught:
        await work
    return caught.value.sentence


async def test_the_first_credentials_decide_and_every_way_in_is_closed_to_others(held: World) -> None:
    other = elsewhere(held)
    assert await other.settle_root_key() is None, "nothing is linked yet"
    await held.store.write_engine("a", 1, EngineWrite({("pre-key", "1"): b"no credentials"}))
    assert await other.settle_root_key() is None
    await held.store.write_engine("a", 1, CREDS)
    assert await held.store.setting(root_key.ROOT_KEY) == ""

    said = await refused(other.settle_root_key())
    assert "theirs: WhatsApp's own; here: abababababab…" in said
    assert "`holdfast serve --change-root-key`" in said
    await refused(other.claim(["a"], "two", 15))
    await refused(other.write_engine("a", 1, CREDS))
    await refused(other.move_in("b", "baileys", MOVED, over=False))
    assert await held.store.session("b") is None, "the refused import left nothing behind"
    assert await held.store.read_keys("a", [("creds", "")]) == {("creds", ""): b"linked"}
    assert await held.store.settle_root_key() is None, "its own process goes on"
    await held.store.write_engine("a", 1, CREDS)


async def test_of_two_that_started_at_once_the_one_that_links_second_is_refused(held: World) -> None:
    """Both passed the check at their start, and both hold sessions."""
    other = elsewhere(held)
    await held.store.create_session("b", "baileys", {}, "running")
    assert isinstance(await take_lease(other, "b", "two", 15), Lease)
    await held.store.write_engine("a", 1, CREDS)
    await refused(other.write_engine("b", 1, CREDS))
    assert await held.store.read_keys("b", [("creds", "")]) == {}
    await held.advance(30)
    await refused(take_lease(other, "a", "two", 15))
    assert isinstance(await take_lease(held.store, "a", "three", 15), Lease)


async def test_an_import_records_the_root_key_too(held: World) -> None:
    other = elsewhere(held)
    await other.move_in("b", "baileys", MOVED, over=False)
    assert await held.store.setting(root_key.ROOT_KEY) == "ab" * 32
    await refused(held.store.settle_root_key())


async def test_a_record_without_credentials_counts_for_nothing(held: World) -> None:
    await held.store.write_engine("a", 1, CREDS)
    await held.store.clear_credentials("a")
    other = elsewhere(held)
    assert await other.settle_root_key() is None
    assert await held.store.setting(root_key.ROOT_KEY) is None
    await other.move_in("b", "baileys", MOVED, over=False)
    await refused(held.store.settle_root_key())


async def test_sessions_on_waha_servers_have_no_root_key(held: World) -> None:
    await held.store.create_session("w", "waha", {}, "running")
    await take_lease(held.store, "w", "one", 15)
    await held.store.write_engine("w", 1, CREDS)
    assert await held.store.setting(root_key.ROOT_KEY) is None
    assert await elsewhere(held).settle_root_key() is None


async def test_credentials_without_a_record_are_adopted_unless_that_is_refused(held: World) -> None:
    """As a version before left them."""
    await held.store.write_engine("a", 1, CREDS)
    await held.sql("DELETE FROM setting WHERE key LIKE 'whatsapp.%'")
    other = elsewhere(held)
    assert "no record" in await refused(other.settle_root_key(adopt=False))
    assert await held.store.setting(root_key.ROOT_KEY) is None
    await held.store.settle_root_key()
    await refused(other.settle_root_key())


async def test_it_is_changed_on_purpose(held: World) -> None:
    await held.store.write_engine("a", 1, CREDS)
    other = elsewhere(held)
    assert await other.settle_root_key(change=True) is None
    assert await other.settle_root_key() is None
    await refused(held.store.settle_root_key())
    assert await held.store.read_keys("a", [("creds", "")]) == {("creds", ""): b"linked"}


async def test_another_url_is_reported_once_without_its_secrets(held: World) -> None:
    here, there = WhatsApp.of("", "wss://web.whatsapp.com/ws/chat"), WhatsApp.of("", OTHER.url)
    await elsewhere(held, here).write_engine("a", 1, CREDS)
    assert await elsewhere(held, there).settle_root_key() == "wss://web.whatsapp.com/ws/chat"
    assert await elsewhere(held, there).settle_root_key() is None
    assert await held.store.setting(root_key.URL) == OTHER.url == "ws://127.0.0.1:9/ws/chat"


@pytest.mark.parametrize("spelling", [OFFICIAL_ROOT_KEY, OFFICIAL_ROOT_KEY.upper(), "", f" {OFFICIAL_ROOT_KEY}"])
async def test_whatsapps_own_key_has_one_spelling(held: World, spelling: str) -> None:
    await held.store.write_engine("a", 1, CREDS)
    assert await elsewhere(held, WhatsApp.of(spelling, "")).settle_root_key() is None


@pytest.mark.parametrize("kind", ["postgres"])
async def test_a_start_waits_for_the_first_credentials_that_are_being_stored(held: World) -> None:
    """It would else find neither credentials nor a current record."""
    await held.store.move_in("b", "baileys", MOVED, over=False)
    await held.store.clear_credentials("b")
    assert await held.store.setting(root_key.ROOT_KEY) == "", "a stale record"
    async with halfway(held.store, lambda c: keys.write_engine(c, "a", 1, CREDS, WhatsApp())) as first:
        start = await blocked(held.url, asyncio.create_task(elsewhere(held).settle_root_key()))
        await first.commit()
    await refused(start)


@pytest.mark.parametrize("kind", ["postgres"])
async def test_two_first_credentials_at_once_are_not_of_two_whatsapps(held: World) -> None:
    await held.store.create_session("b", "baileys", {}, "running")
    async with halfway(held.store, lambda c: keys.write_engine(c, "a", 1, CREDS, WhatsApp())) as first:
        moving = elsewhere(held).move_in("b2", "baileys", MOVED, over=False)
        second = await blocked(held.url, asyncio.create_task(moving))
        await first.commit()
    await refused(second)
