"""Deployment files name real settings, paths and services, and the image installs the packages that were tested."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.config import Settings

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "Dockerfile",
    "compose.yaml",
    "compose.postgres.yaml",
    "render.yaml",
    "railway.json",
    "deploy/holdfast.service",
    "deploy/healthcheck.py",
    "deploy/Caddyfile",
    "docs/deploy.md",
)
STATUS = "/api/status"


def read(name: str) -> Any:
    text = (ROOT / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


@pytest.mark.parametrize("name", FILES)
def test_only_real_settings_are_named(name: str) -> None:
    known = {f"HOLDFAST_{field.upper()}" for field in Settings.model_fields}
    assert set(re.findall(r"HOLDFAST_[A-Z0-9_]+", (ROOT / name).read_text())) <= known


def test_the_image_copies_what_is_there_and_not_ignored() -> None:
    copied = {
        source
        for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text())
        for source in line.split()[:-1]
    }
    assert all((ROOT / source).exists() for source in copied)
    kept = re.findall(r"(?m)^!(\S+)$", (ROOT / ".dockerignore").read_text())
    assert copied == set(kept)


def test_every_healthcheck_asks_for_what_needs_no_key() -> None:
    assert STATUS in (ROOT / "deploy/healthcheck.py").read_text()
    assert f"health_uri {STATUS}" in (ROOT / "deploy/Caddyfile").read_text()
    assert read("render.yaml")["services"][0]["healthCheckPath"] == STATUS
    assert read("railway.json")["deploy"]["healthcheckPath"] == STATUS


@pytest.mark.parametrize("name", ["compose.yaml", "compose.postgres.yaml"])
def test_compose_keeps_what_must_survive(name: str) -> None:
    compose = read(name)
    instances = [one for key, one in compose["services"].items() if key.startswith("holdfast")]
    assert instances
    for instance in instances:
        volumes = dict(volume.split(":")[:2] for volume in instance["volumes"])
        assert "/data" in volumes.values()
        assert set(volumes) <= set(compose["volumes"])
        assert instance["environment"]["HOLDFAST_API_KEY"].startswith("${HOLDFAST_API_KEY:?")
    urls = [one["environment"].get("HOLDFAST_ADVERTISE_URL") for one in instances]
    assert len(set(urls)) == len(instances)


def test_the_proxy_knows_every_instance() -> None:
    text = (ROOT / "deploy/Caddyfile").read_text()
    names = [name for name in read("compose.postgres.yaml")["services"] if name.startswith("holdfast")]
    assert all(f"{name}:3000" in text for name in names)


def test_the_unit_is_stopped_in_order() -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy/holdfast.service")
    service = unit["Service"]
    assert service["ExecStart"].endswith("/bin/holdfast serve")
    assert service["KillMode"] == "mixed"
    assert "MemoryDenyWriteExecute" not in service, "Node compiles while it runs"


def test_the_image_installs_the_packages_that_were_tested() -> None:
    def locked(name: str) -> dict[str, str]:
        return dict(re.findall(r"(?m)^([\w.-]+)==(\S+?)(?: ;.*)? \\$", (ROOT / name).read_text()))

    server, tested = locked("requirements-server.txt"), locked("requirements.txt")
    asked = re.findall(r'(?m)^    "([\w.-]+)>=', (ROOT / "pyproject.toml").read_text())
    assert {*asked, "hatchling"} <= server.keys()
    assert server.items() <= tested.items()
