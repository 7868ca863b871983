"""S4.l: what the fourth report's script and its reader checked after a deploy, in its order, on two instances."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from holdfast.domain.identity import account_name
from holdfast.domain.jids import mask
from tests.support.cluster import Cluster, cluster, me, until_owner
from tests.support.processes import Holdfast
from verify.harness import CHECKS, alone

PHONE = "40712345678"
ID = account_name(PHONE)
FACTOR = 0.05
ENV = {"HOLDFAST_TIME_FACTOR": str(FACTOR), "HOLDFAST_LEASE_TTL": "300", "HOLDFAST_LEASE_RENEW": "100"}
ROWS = "abcdefghijk"


@alone("S4.l", "the report's own check list, one after the other; and each of its rows has a line here")
async def check_list() -> str:
    lines = {one.id for one in CHECKS}
    assert {f"S4.{row}" for row in ROWS} <= lines, sorted(lines)
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        async with cluster(Path(folder), postgres=False) as world:
            second = await _passive_becomes_active(world)
            await _a_401_ends_it(world, second)
            lasted = await _the_qr_stays(second)
            await _the_id_stays(world, second)
    return f"4 of 4; the QR stood for {lasted:.0f} scaled s"


async def _post(instance: Holdfast, what: str, **body: str) -> dict[str, Any]:
    found: dict[str, Any] = await instance.ask("POST", f"/api/whatsapp/{what}", body)
    return found


def _logged(world: Cluster, instance: str, event: str) -> list[dict[str, Any]]:
    """The lines of the log in which that instance tells of that."""
    lines = [json.loads(line) for line in (world.folder / "holdfast.log").read_text().splitlines()]
    return [line for line in lines if line["instance"] == instance and line["event"].startswith(event)]


async def _passive_becomes_active(world: Cluster) -> Holdfast:
    first = await world.start(**ENV)
    assert (await _post(first, "add-account", phone=f"+{PHONE}", company_id="c1"))["accountId"] == ID
    assert (await _post(first, "regenerate-qr", accountId=ID))["status"] == "qr_ready"
    await first.scan(world.wasim, ID, PHONE)
    await first.until_working(ID)
    second = await world.start(**ENV)
    mine = await me(second)
    await second.until_working(ID)
    assert _logged(world, mine, "could not acquire lock"), "the passive one says nothing"
    assert not _logged(world, mine, "lock acquired")
    await first.stop(signal.SIGTERM)
    await until_owner(second, mine, ID)
    assert _logged(world, mine, "lock acquired")
    assert await world.overlaps() == []
    return second


async def _a_401_ends_it(world: Cluster, instance: Holdfast) -> None:
    mine = await me(instance)
    await world.wasim.post("fault", {"kind": "logout", "jid": f"{PHONE}@s.whatsapp.net"})
    await instance.until(ID, lambda view: bool(view["needs_qr"]))
    online = len(_logged(world, mine, "online"))
    since = await world.wasim.seq()
    came = await world.wasim.get("wait", since=since, kind="connected", timeout=5)
    assert came == [], "it reconnected after the logout"
    assert len(_logged(world, mine, "online")) == online
    now = await instance.ask("GET", "/api/whatsapp/status", company_id="c1")
    assert (now["status"], now["requiresQR"]) == ("needs_qr", True), now


async def _the_qr_stays(instance: Holdfast) -> float:
    """For ten minutes, past the one after which it was cut off."""
    began = time.time()
    assert (await _post(instance, "regenerate-qr", company_id="c1"))["status"] == "qr_ready"
    view = await instance.until(ID, lambda view: view["status"] != "SCAN_QR_CODE", timeout=60)
    lasted = (time.time() - began) / FACTOR
    assert (view["reason"], view["needs_qr"]) == ("pairing_expired", True), view
    assert 590 <= lasted <= 700, f"the QR stood for {lasted:.0f} scaled s"
    return lasted


async def _the_id_stays(world: Cluster, instance: Holdfast) -> None:
    await instance.stop(signal.SIGTERM)
    deployed = await world.start(**ENV, NODE_ENV="development")
    assert (await _post(deployed, "add-account", phone="+40 712 345 678"))["accountId"] == ID
    legacy = ID.replace("account_prod_", "account_dev_")
    assert (await deployed.ask("GET", "/api/whatsapp/status", accountId=legacy))["session"] == ID
    text = (world.folder / "holdfast.log").read_text()
    assert mask(PHONE) in text
    assert PHONE not in text, "a whole phone number is in the log"
