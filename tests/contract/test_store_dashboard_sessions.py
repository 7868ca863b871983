"""Sessions of the dashboard: they stand until they expire, are ended, or the key is rotated."""

from __future__ import annotations

from tests.contract.conftest import World

DAY = 86_400.0


async def test_a_session_stands_until_it_is_ended_or_expires(world: World) -> None:
    store = world.store
    for name in ("a", "b", "c"):
        await store.add_dashboard_session(name, 7 * DAY if name != "b" else -1.0)
    assert [await store.dashboard_session_stands(name) for name in ("a", "b", "c", "none")] == [
        True,
        False,
        True,
        False,
    ]
    await store.end_dashboard_session("a")
    await store.end_dashboard_session("none")
    assert not await store.dashboard_session_stands("a")
    assert await store.prune(14 * DAY) == 1
    assert await store.dashboard_session_stands("c")


async def test_a_rotated_key_ends_all_sessions_at_once(world: World) -> None:
    store = world.store
    await store.put_setting("api_key_hash", "old")
    for name in ("a", "b"):
        await store.add_dashboard_session(name, DAY)
    assert await store.rotate_key("new") == 2
    assert await store.setting("api_key_hash") == "new"
    assert not await store.dashboard_session_stands("a")
    assert await store.rotate_key("newer") == 0
