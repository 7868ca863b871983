"""Looks at a running server from outside: whether it answers, what it says of itself, and of each session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import holdfast
from holdfast.client import Client, Refused, ServerUnreachable
from holdfast.commands.findings import Finding
from holdfast.commands.installation import problem

LONG = 120.0
"""Seconds after which a session that only ever starts needs somebody's look."""


def look(client: Client) -> Iterator[Finding]:
    """Outside in; what cannot be looked at any more is left out."""
    began = time.monotonic()
    if not client.is_there():
        yield problem(
            "server",
            ServerUnreachable(
                f"No Holdfast answers at {client.url}. Start it with `holdfast serve`, or check address, port and "
                "firewall."
            ),
        )
        return
    yield Finding("server", True, f"{client.url} answers in {(time.monotonic() - began) * 1000:.0f} ms")
    yield _readiness(client)
    try:
        yield _version(client)
        yield from _sessions(client)
    except Refused as error:
        yield problem("API key", error)


def _readiness(client: Client) -> Finding:
    status, _ = client.ask("GET", "/api/status")
    if status == 200:
        return Finding("readiness", True, "ready; its database answers")
    return Finding("readiness", False, "not ready: its database is away", "Run `holdfast doctor` on its machine.")


def _version(client: Client) -> Finding:
    facts = client.get("GET", "/api/server/version")
    theirs = facts.get("holdfast") if isinstance(facts, dict) else None
    if theirs == holdfast.__version__:
        return Finding("API key", True, f"accepted; Holdfast {theirs}")
    return Finding("API key", True, f"accepted; Holdfast {theirs}, this command is of {holdfast.__version__}")


def _sessions(client: Client) -> Iterator[Finding]:
    views = client.get("GET", "/api/holdfast/sessions")
    if not views:
        yield Finding("sessions", True, "none", "Link one: `holdfast pair NAME`.")
    for view in views:
        yield _session(client, view)


def _session(client: Client, view: dict[str, Any]) -> Finding:
    facts, name, status = view["holdfast"], view["name"], view["status"]
    what, found = f"session {name}", f"{status}: {facts['message']}"
    if status in ("WORKING", "STOPPED"):
        return Finding(what, True, found)
    if status == "SCAN_QR_CODE" or facts["needs_qr"]:
        return Finding(what, False, found, f"Link it: `holdfast pair {name}`, or in the dashboard.")
    if status == "STARTING":
        since = _since(client, name)
        stuck = since is not None and time.time() - since > LONG
        return Finding(what, not stuck, found, f"`holdfast sessions {name}` tells its story." if stuck else "")
    return Finding(what, False, found, f"It heals by itself if it can; `holdfast sessions {name}` tells its story.")


def _since(client: Client, name: str) -> float | None:
    """Since when the session is not WORKING any more, as its timeline tells."""
    rows = client.get("GET", f"/api/holdfast/sessions/{quote(name, safe='')}/timeline?limit=50")
    since: float | None = None
    for row in rows:
        if row["status"] == "WORKING":
            break
        since = float(row["at"])
    return since
