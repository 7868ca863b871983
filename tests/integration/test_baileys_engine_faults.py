"""How connections end, and what the engine says of it; grants, silence and errors that nobody waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.errors import BadRequest, InvalidMessage, NotConnected, NotOnWhatsApp, SendInDoubt
from holdfast.engines.baileys import BaileysEngine
from holdfast.ports import engine as port
from tests.support.baileys_world import World, running

ANA, BEA = "40711111111", "40722222222"
BEA_JID = f"{BEA}@s.whatsapp.net"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    times = {"keepalive": 1.0, "liveness": 3.0, "send_timeout": 3.0, "query_timeout": 3.0, "proved_every": 1.0}
    async with running(tmp_path, **times) as world:
        await world.pair("a", ANA)
        yield world


@pytest.mark.parametrize(
    ("fault", "code", "tag"),
    [
        ({"kind": "stream_error", "code": 401, "conflict": "device_removed"}, 401, "device_removed"),
        ({"kind": "stream_error", "conflict": "device_removed"}, 440, "device_removed"),
        ({"kind": "stream_error", "conflict": "replaced"}, 440, "replaced"),
        ({"kind": "stream_error", "code": 503}, 503, "stream:error"),
        ({"kind": "stream_error", "code": 515}, 515, "restart_required"),
        ({"kind": "drop"}, 428, "socket"),
    ],
)
async def test_ends_of_an_open_connection(world: World, fault: dict[str, Any], code: int, tag: str) -> None:
    await world.admin("fault", {**fault, "jid": ANA})
    closed = await world.take(port.Closed)
    assert (closed.code, closed.tag) == (code, tag)


async def test_refused_logins_and_upgrades(world: World) -> None:
    await world.engine.close("a", world.numbers["a"])
    await world.admin("fault", {"kind": "failure", "jid": ANA, "reason": 402, "expire": "600", "count": 1})
    await world.open("a")
    closed = await world.take(port.Closed)
    assert (closed.code, closed.tag, closed.attrs["expire"]) == (402, "failure", "600")
    await world.admin("fault", {"kind": "refuse_upgrade", "status": 429, "count": 1})
    await world.open("a")
    closed = await world.take(port.Closed, within=3.0)
    assert (closed.code, closed.tag) == (429, "upgrade")


async def test_a_black_hole_is_found_out(world: World) -> None:
    await world.admin("fault", {"kind": "blackhole", "jid": ANA})
    with pytest.raises((SendInDoubt, NotConnected)):
        await world.send("a", BEA_JID, "into the dark", "3EB0D0")
    closed = await world.take(port.Closed, within=10.0)
    assert closed.tag == "liveness"
    with pytest.raises(NotConnected):
        await world.send("a", BEA_JID, "nobody there", "3EB0D1")


async def test_a_corrupt_frame_closes_that_socket_only(world: World) -> None:
    await world.pair("b", BEA)
    pid = world.pid()
    await world.admin("fault", {"kind": "corrupt_frame", "jid": ANA})
    closed = await world.take(port.Closed)
    assert (closed.session, closed.tag) == ("a", "socket")
    assert world.pid() == pid
    assert await world.engine.probe("b", world.numbers["b"], listed=False, timeout=5.0) is port.Probed.ALIVE


async def test_the_servers_refusal_of_a_message_is_told(world: World) -> None:
    await world.pair("b", BEA)
    await world.admin("fault", {"kind": "ack_error", "jid": ANA, "code": 463, "count": 1})
    assert (await world.send("a", BEA_JID, "no", "3EB0E0")).error == 463
    assert (await world.send("a", BEA_JID, "yes", "3EB0E1")).error == 0


async def test_an_ack_that_never_comes_is_in_doubt(world: World) -> None:
    await world.pair("b", BEA)
    await world.admin("fault", {"kind": "no_ack", "jid": ANA, "count": 1})
    with pytest.raises(SendInDoubt):
        await world.send("a", BEA_JID, "hm", "3EB0F0")


async def test_what_cannot_be_sent_or_asked_is_refused_in_words(world: World) -> None:
    number = world.numbers["a"]
    await world.admin("phones", {"phone": BEA})
    with pytest.raises(InvalidMessage, match="text"):
        await world.engine.send("a", number, port.OutgoingMessage("3EB0", BEA_JID, {"type": "text"}))
    with pytest.raises(BadRequest):
        await world.engine.call("a", number, "dance", {})
    with pytest.raises(NotConnected):
        await world.engine.call("a", number + 1, "check_number", {"phone": BEA})
    with pytest.raises(NotConnected):
        await world.engine.call("nobody", 1, "check_number", {"phone": BEA})


async def test_probes_ask_whatsapp(world: World) -> None:
    number = world.numbers["a"]
    assert await world.engine.probe("a", number, listed=False, timeout=5.0) is port.Probed.ALIVE
    assert await world.engine.probe("a", number, listed=True, timeout=5.0) is port.Probed.ALIVE
    assert await world.engine.probe("nobody", 1, listed=False, timeout=5.0) is port.Probed.SILENT


async def test_traffic_proves_life(world: World) -> None:
    proved = await world.take(port.Proved, within=20.0)
    assert 0.0 <= proved.age < 10.0


async def test_a_lapsed_grant_closes_and_a_renewed_one_does_not(world: World) -> None:
    await world.engine.grant({"a": world.grant("a", 1.5)})
    await world.engine.grant({"a": world.grant("a", 3.0)})
    start = world.engine._clock.boot()
    closed = await world.take(port.Closed, within=10.0)
    assert closed.tag == "grant"
    assert 2.0 < world.engine._clock.boot() - start <= 3.3


async def test_a_grant_that_ran_out_on_the_way_opens_nothing(world: World) -> None:
    await world.engine.close("a", world.numbers["a"])
    connected = len(await world.seen(kind="connected"))
    await world.open("a", grant=world.grant("a", 0.0))
    assert (await world.take(port.Closed)).tag == "grant"
    await world.login("a")
    assert len(await world.seen(kind="connected")) == connected + 1


async def test_a_stale_epoch_ends_the_connection_and_writes_nothing(world: World) -> None:
    await world.pair("b", BEA)
    await world.store.clear_credentials("b")  # raises the epoch, as a new holder does
    ack = await world.send("a", BEA_JID, "for whoever holds b now", "3EB0C0")
    assert ack.error == 0
    closed = await world.take(port.Closed)
    assert (closed.session, closed.tag) == ("b", "grant")
    assert await world.store.inbox_pending("b", 10) == []


async def test_logout_unlinks_the_device(world: World) -> None:
    await world.engine.close("a", world.numbers["a"], logout=True)
    phones = await world.admin("phones")
    [ana] = [phone for phone in phones if ANA in str(phone)]
    assert len(ana["devices"]) <= 1


async def test_credentials_that_cannot_be_read_are_told_apart(world: World) -> None:
    from holdfast.domain.rows import EngineWrite

    await world.engine.close("a", world.numbers["a"])
    await world.store.write_engine("a", world.epochs["a"], EngineWrite(keys={("creds", ""): b"{broken"}))
    await world.open("a")
    assert "cannot be read" in (await world.take(port.CredentialsBroken)).detail
    await world.session("empty")
    await world.open("empty")
    assert "no saved credentials" in (await world.take(port.CredentialsBroken)).detail


async def test_pairing_is_refused_over_credentials(world: World) -> None:
    await world.engine.close("a", world.numbers["a"])
    await world.open("a", pair=True)
    assert (await world.take(port.Closed)).tag == "has_credentials"


async def test_a_refused_version_is_looked_up_and_used_by_the_next_login(world: World) -> None:
    await world.engine.close("a", world.numbers["a"])
    await world.admin("fault", {"kind": "outdated"})
    await world.open("a")
    assert (await world.take(port.Closed)).code == 405
    await asyncio.gather(*(world.engine.refresh_version({}) for _ in range(20)))
    assert len(await world.seen(kind="version-asked")) == 1, "sessions that are refused together ask once"
    await world.login("a")


async def test_a_newer_connection_ends_the_older_one_first(world: World) -> None:
    await world.login("a")
    stats = await world.admin("stats")
    assert stats["online"] == 1


async def test_a_killed_sidecar_is_replaced(world: World) -> None:
    import os
    import signal

    pid = world.pid()
    os.kill(pid, signal.SIGKILL)
    died = await world.take(port.EngineDied)
    assert died.sessions == {"a": world.numbers["a"]}
    with pytest.raises(NotConnected):
        await world.send("a", BEA_JID, "x", "3EB0")
    await world.login("a")
    assert world.pid() != pid
    facts = world.engine.facts()
    assert facts["restarts"] == 1
    assert facts["processes"][0]["memory"] > 10_000_000
    assert isinstance(world.engine, BaileysEngine)


async def test_another_number_than_expected_is_refused_before_the_phone_is_answered(world: World) -> None:
    await world.session("b")
    await world.open("b", pair=True, expect=BEA)
    qr = (await world.take(port.QrShown, "b")).qr
    await world.admin("mock-phone/scan-qr", qr, phone="40733333333")
    closed = await world.take(port.Closed, "b")
    assert (closed.tag, closed.attrs) == ("another_number", {"phone": "40733333333"})
    assert await world.store.read_keys("b", [("creds", "")]) == {}, "nothing of it is kept"
    await world.open("b", pair=True, expect=BEA)
    await world.admin("mock-phone/scan-qr", (await world.take(port.QrShown, "b")).qr, phone=BEA)
    assert (await world.take(port.Paired, "b")).phone == BEA


async def test_what_is_delivered_is_told_apart_from_answers(world: World) -> None:
    await world.admin("inject", {"from": BEA, "to": ANA, "text": "hello"})
    while (proved := await world.take(port.Proved)).delivered_age is None:
        pass
    first = proved.delivered_age
    while (proved := await world.take(port.Proved)).delivered_age is None or proved.delivered_age <= first + 1.0:
        pass
    assert proved.age < 3.0, "it answers on, while nothing is delivered"


async def test_a_restriction_is_told_with_its_end(world: World) -> None:
    ends = 4_000_000_000
    await world.admin("phones", {"phone": BEA})
    await world.admin("fault", {"kind": "ack_error", "jid": ANA, "code": 463, "ends": str(ends)})
    ack = await world.send("a", BEA_JID, "hello", "3EB0D1")
    assert ack.error == 463
    assert (await world.take(port.Restricted)).until == ends


async def test_whatsapp_reports_restrictions_and_quotas_of_its_own_accord(world: World) -> None:
    ends = 4_000_000_000
    lock = {"is_active": True, "time_enforcement_ends": str(ends), "enforcement_type": "WEB_COMPANION_ONLY"}
    data = {"xwa2_notify_account_reachout_timelock": lock}
    await world.admin(
        "fault", {"kind": "mex", "jid": ANA, "op": "NotificationUserReachoutTimelockUpdate", "data": data}
    )
    restricted = await world.take(port.Restricted)
    assert (restricted.until, restricted.enforcement) == (ends, "WEB_COMPANION_ONLY")
    info = {"capping_status": "CAPPED", "total_quota": "100", "used_quota": 100, "cycle_end_timestamp": str(ends)}
    data = {"xwa2_notify_new_chat_messages_capping_info_update": info}
    await world.admin("fault", {"kind": "mex", "jid": ANA, "op": "MessageCappingInfoNotification", "data": data})
    quota = (await world.take(port.Capped)).quota
    assert (quota["cappingStatus"], quota["totalQuota"], quota["usedQuota"]) == ("CAPPED", 100, 100)
    assert (quota["cycleStart"], quota["cycleEnd"]) == (None, ends)


async def test_a_number_that_is_not_on_whatsapp_is_said_so(world: World) -> None:
    with pytest.raises(NotOnWhatsApp):
        await world.send("a", "40799999990@s.whatsapp.net", "hello", "3EB0D2")
