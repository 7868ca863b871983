"""`/metrics` and the alerts, as a Prometheus and an operator get them; and what the documents say of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from holdfast.domain.alerts import Kind, Limits
from holdfast.domain.errors import StoreUnavailable
from holdfast.domain.outages import Outage, Sighting, look
from holdfast.domain.rows import EngineWrite
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.metrics import Meters
from holdfast.runtime.node import Node
from tests.contract.rows import outgoing, received
from tests.support.instances import SETTINGS, Shared
from tests.support.scripted_engine import ScriptedEngine
from tests.support.served import METRICS_KEY, Served, check

DOCS = Path(__file__).parents[2] / "docs"
Labels = dict[str, str]


async def scrape(it: Served, **headers: str) -> dict[str, list[tuple[Labels, float]]]:
    """Samples by name."""
    answer = await it.http.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def one(samples: dict[str, list[tuple[Labels, float]]], name: str, **labels: str) -> float:
    [value] = [value for known, value in samples[f"holdfast_{name}"] if labels.items() <= known.items()]
    return value


def test_a_scrape_tells_how_the_sessions_are(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")
        await it.http.post("/api/sessions", json={"name": "idle", "start": False})
        found = await scrape(it)
        assert one(found, "sessions", status="STOPPED") == 1
        assert one(found, "sessions", status="WORKING", code="working") == 1
        assert (one(found, "sessions_held"), one(found, "store_up"), one(found, "outbox_depth")) == (1, 1, 0)
        assert 0 < one(found, "lease_margin_seconds") <= 13
        assert one(found, "instance_memory_bytes") > 10_000_000
        assert not any("session" in labels for samples in found.values() for labels, _ in samples)

    check(tmp_path, body)


def test_every_instance_gives_the_same_answer(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")
        await it.http.post("/api/sessions", json={"name": "idle", "start": False})
        await it.linked("lost")
        it.engine.account("lost").linked = False
        it.engine.close_with("lost", 401, "device_removed")
        await it.until("lost", "FAILED")
        other = Node(Shared(it.store), {"baileys": ScriptedEngine()}, SystemClock(), SETTINGS, instance="other")  # type: ignore[arg-type]
        async with other:
            told = {frozenset(s.labels.items()): s.value for s in _sessions(await other.metrics.render())}
            mine = {frozenset(s.labels.items()): s.value for s in _sessions(await it.node.metrics.render())}
        assert told == mine
        assert sorted(dict(labels)["status"] for labels in told) == ["FAILED", "STOPPED", "WORKING"]

    check(tmp_path, body)


def _sessions(text: bytes) -> list[Any]:
    families = text_string_to_metric_families(text.decode())
    return [sample for family in families for sample in family.samples if sample.name == "holdfast_sessions"]


def test_breaks_and_their_healing_are_counted(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")
        it.engine.close_with("shop", 515, "restart_required")
        while "holdfast_reconnects_total" not in (found := await scrape(it)):
            await it.node.gateway.wait_status("shop", until=frozenset({"WORKING"}), timeout=1.0)
        assert one(found, "disconnects_total", code="authenticated") == 1
        assert one(found, "reconnects_total", code="authenticated") == 1
        assert one(found, "heal_seconds_count") == 1
        assert 0 < one(found, "heal_seconds_sum") < 10
        await it.http.post("/api/sessions/shop/stop")
        await it.until("shop", "STOPPED")
        assert [v for _, v in (await scrape(it))["holdfast_disconnects_total"]] == [1], "a stop is no break"

    check(tmp_path, body)


def test_what_waits_is_told_and_a_logout_is_an_alert(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")
        it.engine.account("shop").linked = False
        it.engine.close_with("shop", 401, "device_removed")
        await it.until("shop", "FAILED")
        await it.store.enqueue(replace(outgoing(), session="shop"), "f")
        await it.store.write_engine("shop", 1, EngineWrite({}, [received()]))
        async with httpx.AsyncClient(base_url=it.url) as other:
            assert (await other.get("/api/holdfast/alerts")).status_code == 401
        while not (alerts := (await it.http.get("/api/holdfast/alerts")).json()):
            await it.node.alerts._clock.sleep(0.05)
        assert [(a["kind"], a["session"], a["instance"]) for a in alerts] == [("needs_qr", "shop", "test-instance")]
        assert alerts[0].keys() == {"id", "kind", "session", "severity", "code", "message", "since", "instance"}
        found = await scrape(it)
        assert one(found, "alerts", kind="needs_qr") == 1
        assert (one(found, "outbox_depth"), one(found, "inbox_unprocessed")) == (1, 1)
        bar = (await it.http.get("/dashboard/alerts")).text
        assert "shop" in bar
        assert alerts[0]["message"] in bar
        now = await it.store.now()
        seen = Sighting(now, now - 400, ("shop",))
        outage = look(Outage("hooks.test"), seen, instance="another", now=now, limits=Limits())
        assert await it.store.swap_outage("hooks.test", None, outage.to_json())
        [dead] = [a for a in (await it.http.get("/api/holdfast/alerts")).json() if a["kind"] == "webhook_dead"]
        assert (dead["session"], dead["receiver"], dead["sessions"]) == (None, "hooks.test", ["shop"])
        assert one(await scrape(it), "alerts", kind="webhook_dead") == 1
        assert "<strong>hooks.test</strong>" in (await it.http.get("/dashboard/alerts")).text

    check(tmp_path, body)


def test_the_key_for_figures_opens_nothing_else(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async with httpx.AsyncClient(base_url=it.url) as prometheus:
            bearer = {"Authorization": f"Bearer {METRICS_KEY}"}
            assert (await prometheus.get("/metrics")).status_code == 401
            assert (await prometheus.get("/metrics", headers=bearer)).status_code == 200
            assert (await prometheus.get("/metrics", headers={"X-Api-Key": METRICS_KEY})).status_code == 200
            for path in ("/api/sessions", "/api/holdfast/alerts", "/metricsx", "/dashboard/alerts"):
                assert (await prometheus.get(path, headers=bearer)).status_code in (303, 401), path

    check(tmp_path, body)


def test_without_the_store_an_instance_still_tells_of_itself(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("shop")

        async def away() -> object:
            raise StoreUnavailable()

        it.node.metrics._store = _Away(it.store, figures=away)  # type: ignore[assignment]
        found = await scrape(it)
        assert (one(found, "store_up"), one(found, "sessions_held")) == (0, 1)
        assert one(found, "outbox_depth") != one(found, "outbox_depth"), "not known is not 0"

    check(tmp_path, body)


class _Away:
    """A store of which some methods fail."""

    def __init__(self, store: object, **methods: object) -> None:
        self._store, self._methods = store, methods

    def __getattr__(self, name: str) -> object:
        return self._methods.get(name) or getattr(self._store, name)


def families() -> dict[str, str]:
    """Every metric by its full name, with its kind."""
    collected = Meters().registry.collect()
    return {f"{family.name}_total" if family.type == "counter" else family.name: family.type for family in collected}


def test_every_metric_is_documented_and_no_other() -> None:
    told = set(re.findall(r"^\| `(holdfast_\w+)` \|", (DOCS / "operations.md").read_text(), re.MULTILINE))
    assert told == families().keys()
    kinds = set(
        re.findall(r"^\| `(\w+)` \| (?:critical|warning) \|", (DOCS / "operations.md").read_text(), re.MULTILINE)
    )
    assert kinds == {kind.value for kind in Kind}


def test_every_metric_that_rules_and_the_dashboard_ask_for_exists() -> None:
    known = set()
    for name, kind in families().items():
        known |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    board = json.loads((DOCS / "grafana" / "holdfast.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = re.findall(r"expr: '([^']+)'", (DOCS / "operations.md").read_text())
    assert len(asked) > 15
    assert len(rules) > 5
    for expression in [*asked, *rules]:
        assert set(re.findall(r"holdfast_\w+", expression)) <= known, expression
        assert "holdfast" in expression
    shown = {name for expression in asked for name in re.findall(r"holdfast_\w+", expression)}
    missing = {name for name, kind in families().items() if kind != "histogram"} - shown
    assert not missing, "not on the dashboard"
