"""Where sessions live, as the dashboard offers it: in Holdfast, or on one of the WAHA servers in the settings."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath, URLEncodedBody

from holdfast.api.common import gateway_of
from holdfast.domain.errors import HoldfastError
from holdfast.ports.gateway import Gateway, SessionView
from holdfast.web.render import page


class HomeForm(msgspec.Struct):
    """The form that moves a session; `home` is a value that `homes_of` gave."""

    home: str = ""


def homes_of(gateway: Gateway) -> dict[str, str]:
    """What can be chosen, each with its label."""
    found = {}
    for engine, servers in gateway.homes().items():
        for server in servers or [""]:
            found[f"{engine}:{server}"] = _label(engine, server)
    return found


def label_of(view: SessionView) -> str:
    """Where a session lives."""
    return _label(view.engine, str((view.config.get("holdfast") or {}).get("server") or ""))


def _label(engine: str, server: str) -> str:
    return f"on the WAHA server {server}" if server else "in Holdfast"


def config_at(home: str) -> dict[str, Any]:
    """The configuration of a new session that is to live there; empty: where the settings say."""
    engine, _, server = home.partition(":")
    own = {key: value for key, value in (("engine", engine), ("server", server)) if value}
    return {"holdfast": own} if own else {}


@post("/dashboard/s/{name:str}/move", include_in_schema=False)
async def move(request: Request[Any, Any, Any], name: FromPath[str], data: URLEncodedBody[HomeForm]) -> Response[Any]:
    """Move a session, and show its page anew, with the QR that it needs there."""
    engine, _, server = data.home.partition(":")
    try:
        view = await gateway_of(request).move(name, engine, server)
    except HoldfastError as error:
        return page("_error.html", message=error.sentence)
    return Response(b"", headers={"HX-Redirect": f"/dashboard/s/{view.name}"})
