"""No session can be named so that an address of the API stands in front of it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from litestar import Litestar

from holdfast.api.app import HANDLED
from holdfast.domain.errors import InvalidName
from holdfast.domain.identity import RESERVED_NAMES, valid_session_name
from tests.support.served import Served, check

OF_SESSIONS = {"api/sessions", "api", "api/holdfast/sessions", "dashboard/s"}
"""What stands before a session's name in paths."""
KEPT_FREE = {"all"}
"""Reserved though no address has it today: WAHA's clients take it for all sessions."""


def shadowing() -> dict[str, set[str]]:
    """What stands in a path where another path has a parameter, by what stands before it; from the router."""
    paths = [route.path_format.strip("/").split("/") for route in Litestar(HANDLED, openapi_config=None).routes]
    found: dict[str, set[str]] = {}
    for one, other in product(paths, paths):
        for at, part in enumerate(one):
            if not part.startswith(("{session", "{name")):
                continue
            names = found.setdefault("/".join(one[:at]), set())
            if other[:at] == one[:at] and len(other) > at and not other[at].startswith("{"):
                names.add(other[at])
    return found


def test_every_name_that_the_router_shadows_is_reserved() -> None:
    found = {before: names for before, names in shadowing().items() if before in OF_SESSIONS}
    assert found.keys() == OF_SESSIONS
    assert set().union(*found.values()) | KEPT_FREE == RESERVED_NAMES


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_reserved_name_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(InvalidName, match=f"cannot be named '{name}'"):
        valid_session_name(name)
    for near in (f"{name}-1", f"my-{name}", name.capitalize() if name.islower() else name.lower()):
        assert valid_session_name(near) == near


def test_a_session_from_before_can_be_used_and_deleted(tmp_path: Path) -> None:
    """An earlier version let it be created: what names it in the body, and Holdfast's own API, reach it."""

    async def body(it: Served) -> None:
        for name in ("stop", "version"):
            refused = await it.http.post("/api/sessions", json={"name": name})
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_name")
            assert (await it.http.get(f"/api/holdfast/sessions/{name}")).status_code == 404
            await it.store.create_session(name, "baileys", {}, "stopped")
            assert (await it.http.get(f"/api/holdfast/sessions/{name}")).json()["name"] == name
            assert (await it.http.post("/api/sessions/start", json={"name": name})).status_code == 201
            deleted = await it.http.delete(f"/dashboard/s/{name}")
            assert deleted.status_code == 200
            assert await it.store.session(name) is None

    check(tmp_path, body)
