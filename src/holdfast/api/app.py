"""The HTTP application: WAHA's API, Holdfast's own, streams, docs and dashboard, behind one guard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from litestar import Litestar
from litestar.config.response_cache import ResponseCacheConfig
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi import spec as openapi
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp

import holdfast
from holdfast.api.alerts import alerts_in_force
from holdfast.api.auth import Guard, by_key_only, guarded
from holdfast.api.base_path import under
from holdfast.api.cors import cross_origin
from holdfast.api.deliveries import Deliveries
from holdfast.api.errors import HANDLERS
from holdfast.api.faces.recovery import Recovery
from holdfast.api.faces.whatsapp import WhatsApp
from holdfast.api.files import Files
from holdfast.api.head_requests import with_head
from holdfast.api.headers import secured
from holdfast.api.history import History
from holdfast.api.intake import Intake, without_nul
from holdfast.api.metrics import scrape
from holdfast.api.openapi.document import CompletedConfig
from holdfast.api.outbox import Outbox
from holdfast.api.own import Own
from holdfast.api.peer import Answering, asked_by_peer
from holdfast.api.request_limits import JSON_LIMIT, SIGNED_LIMIT, limited
from holdfast.api.streams import events_socket
from holdfast.api.told import told_by_waha
from holdfast.api.waha.chats import Chats
from holdfast.api.waha.groups import Groups
from holdfast.api.waha.media import Media
from holdfast.api.waha.messaging import Messaging
from holdfast.api.waha.pairing import Pairing
from holdfast.api.waha.server import Server
from holdfast.api.waha.sessions import Sessions
from holdfast.ports.accounts import Accounts
from holdfast.ports.gateway import Gateway
from holdfast.ports.store import Json
from holdfast.runtime.access import Access
from holdfast.web import queue, search, undelivered
from holdfast.web.alerts import alert_bar
from holdfast.web.docs import DocsPage
from holdfast.web.errors import with_pages
from holdfast.web.pages import PAGES

HANDLED: tuple[Any, ...] = (
    Server,
    Sessions,
    Pairing,
    Messaging,
    Media,
    Files,
    History,
    Chats,
    Groups,
    Own,
    Outbox,
    Deliveries,
    WhatsApp,
    Recovery,
    events_socket,
    scrape,
    alerts_in_force,
    alert_bar,
    queue.queue,
    queue.cancel,
    search.search,
    undelivered.deliveries,
    undelivered.delivery_list,
    undelivered.replay_one,
    undelivered.replay_many,
    asked_by_peer,
    told_by_waha,
    *PAGES,
)


def build(
    gateway: Gateway,
    access: Access,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    metrics: Callable[[], Awaitable[bytes]],
    alerts: Callable[[], Awaitable[list[Json]]],
    accounts: Accounts,
    peers: Answering | None = None,
    is_leaving: Callable[[], bool] = lambda: False,
    public_url: str = "",
    body_limit: int = JSON_LIMIT,
    send_wait: float = 30.0,
    page_limit: int = 1_000,
    base: str = "",
    origins: Collection[str] = (),
) -> ASGIApp:
    """The application for one instance. `access` judges keys; `public_url` is where users reach it, if that is known.
    `metrics` and `alerts` answer for the instance, `peers` what other instances ask of it; `is_leaving`: whether load
    balancers are to pass it over. `base`: the path under which a proxy offers it; `origins`: whose pages may use it.
    """
    guard = Guard(access, public_url)
    app = Litestar(
        route_handlers=HANDLED,
        exception_handlers=with_pages(HANDLERS),
        request_class=Intake,
        state=State(
            {
                "gateway": gateway,
                "accounts": accounts,
                "guard": guard,
                "send_wait": send_wait,
                "page_limit": page_limit,
                "metrics": metrics,
                "alerts": alerts,
                "peers": peers,
                "is_leaving": is_leaving,
            }
        ),
        openapi_config=_openapi(base),
        request_max_body_size=max(body_limit, SIGNED_LIMIT),  # `limited` has the limit of each path
        response_cache_config=ResponseCacheConfig(),
        debug=False,
        logging_config=None,
    )
    inner = with_head(without_nul(app), _changing(app))
    behind_guard = guarded(limited(inner, _spooled(app), body_limit), guard, sleep)
    return secured(under(cross_origin(behind_guard, origins), base))


def _changing(app: Litestar) -> frozenset[str]:
    """The paths whose GET changes something."""
    return frozenset(
        route.path
        for route in app.routes
        if isinstance(route, HTTPRoute)
        and any("GET" in one.http_methods and by_key_only in (one.guards or ()) for one in route.route_handlers)
    )


def _spooled(app: Litestar) -> set[str]:
    """The paths whose handlers take in a body as it comes, and bound it themselves."""
    return {
        route.path
        for route in app.routes
        if isinstance(route, HTTPRoute)
        and any(handler.resolve_request_max_body_size() is None for handler in route.route_handlers)
    }


def _openapi(base: str) -> OpenAPIConfig:
    scheme: Any = {"ApiKey": SecurityScheme(type="apiKey", name="X-Api-Key", security_scheme_in="header")}
    return CompletedConfig(
        title="Holdfast",
        version=holdfast.__version__,
        description="The WhatsApp session gateway that does not lose sessions. WAHA-compatible REST API.",
        path="/docs",
        servers=[openapi.Server(url=base or "/")],
        use_handler_docstrings=True,
        render_plugins=[DocsPage()],
        components=Components(security_schemes=scheme),
        security=[{"ApiKey": []}],
    )
