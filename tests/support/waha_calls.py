"""Which calls waha-py, made from WAHA's own description, has, and which of them were made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
from litestar import Litestar
from waha import AsyncWahaClient
from waha.generated import api

from holdfast.api.app import HANDLED

Asked = set[tuple[str, str]]


def recorded(client: AsyncWahaClient) -> Asked:
    """What the client asks from now on: (method, path)."""
    asked: Asked = set()
    send = client._http.arequest

    async def arequest(method: str, path: str, **more: Any) -> httpx.Response:
        asked.add((method, path))
        return await send(method, path, **more)

    client._http.arequest = arequest  # type: ignore[method-assign]
    return asked


def shapes(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def implemented() -> Asked:
    """Calls of waha-py that have a route here."""
    source = Path(api.__file__).read_text()
    calls = re.findall(r'async def a_\w+\(.*?url = f?"([^"]+)".*?arequest\(\s*"(\w+)"', source, re.S)
    routes = Litestar(route_handlers=HANDLED, openapi_config=None).routes
    ours = {(method, shapes(r.path_format)) for r in routes for method in getattr(r, "methods", ())}
    return {(method, path) for path, method in calls if (method, shapes(path)) in ours}


def matches(asked: tuple[str, str], call: tuple[str, str]) -> bool:
    pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(call[1]))
    return asked[0] == call[0] and re.fullmatch(pattern, asked[1]) is not None
