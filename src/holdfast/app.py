"""Holdfast from settings: store, engines, instance and HTTP server put together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

import holdfast
from holdfast.config import Settings
from holdfast.domain.access import key_hash
from holdfast.domain.alerts import Limits
from holdfast.engines.baileys.engine import BaileysEngine
from holdfast.engines.waha.engine import WahaEngine
from holdfast.ground import Ground
from holdfast.key_file import path_of, write_key
from holdfast.ports.clock import Clock
from holdfast.ports.media import Files
from holdfast.ports.store import Store
from holdfast.remotes import waha_options
from holdfast.runtime.access import Access, AccessSettings
from holdfast.runtime.alerts import AlertSettings
from holdfast.runtime.delivery import DeliverySettings
from holdfast.runtime.media import MediaSettings
from holdfast.runtime.metrics import MetricsSettings
from holdfast.runtime.node import Node, NodeSettings
from holdfast.runtime.webhook import Webhook
from holdfast.setting_types import Secret, plain
from holdfast.store import open_store
from holdfast.store.database_file import check_not_lost
from holdfast.store.files.folder import Folder
from holdfast.store.files.signing import Keys

if TYPE_CHECKING:
    import uvicorn

log = structlog.get_logger(__name__)


@asynccontextmanager
async def running(
    ground: Ground, port: int, *, adopt_root_key: bool = True, change_root_key: bool = False
) -> AsyncIterator[tuple[Node, Store]]:
    """A started instance, which listens on `port`; it stops in order when the block ends. About the root key see
    `Store.settle_root_key`. Raises `WrongWhatsApp`.
    """
    settings, clock = ground.settings, ground.clock
    check_not_lost(settings.url, settings.data_dir)
    store = open_store(settings.url, clock, direct_url=settings.database_direct_url, whatsapp=settings.whatsapp)
    url = settings.advertise_url or reachable_at(settings, port)
    node = Node(
        store,
        {
            "baileys": BaileysEngine(ground.options, store, clock, ground.pool),
            "waha": WahaEngine(waha_options(settings, url), store, clock),
        },
        clock,
        replace(_node_settings(settings, url), adopt_root_key=adopt_root_key, change_root_key=change_root_key),
        instance=ground.instance,
        proved_dead=ground.presence.proved_dead,
        put_right=None if settings.url.startswith("sqlite") else clock.put_right,
        files=_files(settings, clock),
    )
    async with node:
        _say_reach(settings)
        yield node, store


def _say_reach(settings: Settings) -> None:
    """Whether sessions may name private addresses, where that follows from who reaches the API."""
    if not (names := settings.reaching()):
        return
    exposure = settings.exposure
    said = "private addresses are open to sessions" if exposure.local else "private addresses are closed to sessions"
    why = exposure.why or "nothing but this machine is known to reach the API"
    log.info(said, action="reach", code="open" if exposure.local else "closed", reason=why, settings=", ".join(names))


def reachable_at(settings: Settings, port: int) -> str:
    """Where other instances most likely reach this one: those on a file are on this machine, others may not be."""
    host = settings.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared
        host = "127.0.0.1" if settings.url.startswith("sqlite") else socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _files(settings: Settings, clock: Clock) -> Files:
    folder = Path(settings.media_dir) if settings.media_dir else settings.data_dir / "media"
    if not settings.media_s3_url:
        return Folder(folder)
    from holdfast.store.files.bucket import Bucket  # noqa: PLC0415 - its HTTP client is slow to load

    keys = Keys(settings.media_s3_key_id, plain(settings.media_s3_secret), settings.media_s3_region)
    return Bucket(settings.media_s3_url, keys, folder / "under-way", clock)


def _delivery(settings: Settings, url: str) -> DeliverySettings:
    hooks, factor = [], settings.time_factor
    if settings.webhook_url:
        key = plain(settings.webhook_hmac_key) or None
        events = frozenset(part.strip() for part in settings.webhook_events.split(",") if part.strip())
        hooks.append(Webhook(settings.webhook_url, events or frozenset({"*"}), key, trusted=True))
    return DeliverySettings(
        common=hooks,
        rules=settings.delivery_rules(),
        reach=settings.reach(),
        lease=settings.lease(),
        timeout=settings.webhook_timeout * factor,
        look_every=5.0 * factor,
        parallel=settings.webhook_parallel,
        factor=factor,
        url=settings.url_for_users(url),
        presented=settings.presented_engine,
    )


def _node_settings(settings: Settings, url: str) -> NodeSettings:
    factor = settings.time_factor
    return NodeSettings(
        url=url,
        version=holdfast.__version__,
        labels=frozenset(part.strip() for part in settings.labels.split(",") if part.strip()),
        times=settings.times(),
        lease=settings.lease(),
        pace=settings.pace(),
        sweep_every=5.0 * factor,
        verified_every=10.0 * factor,
        send_deadline=settings.send_deadline * factor,
        fail_restricted=settings.restricted_sends == "fail",
        facts=settings.facts(),
        greet_every=30.0 * factor,
        engine=settings.engine,
        ignore=settings.ignored_chats(),
        account_namespace=settings.account_namespace,
        delivery=_delivery(settings, url),
        keep_events=settings.event_retention * factor,
        keep_dead=settings.dead_letter_retention * factor,
        alerts=_alerts(settings),
        metrics=MetricsSettings(by_session=settings.metrics_sessions, memory_every=300.0 * factor),
        routes=settings.routes(),
        exposure=settings.exposure,
        media=MediaSettings(
            limit=settings.media_limit,
            keep=settings.media_retention * factor,
            reach=settings.media_reach(),
            routes=settings.routes(),
            factor=factor,
        ),
        time_factor=factor,
    )


def _alerts(settings: Settings) -> AlertSettings:
    factor, url, key = settings.time_factor, settings.alert_webhook_url, plain(settings.alert_webhook_secret) or None
    receiver = Webhook(url, frozenset({"*"}), key, trusted=True) if url else None
    limits = Limits(age=settings.alert_queue_age * factor, damping=settings.alert_damping * factor)
    return AlertSettings(receiver, limits, every=5.0 * factor, orphans_every=30.0 * factor, factor=factor)


async def access_of(node: Node, settings: Settings) -> tuple[Access, str | None]:
    """(who judges keys, the API key if it was generated just now).

    A generated key is shared by all instances on the store, which keeps its hash. The instance that generated it also
    writes it to a file, for the command line on this machine.
    """
    hashes = AccessSettings(_hash_of(settings.api_key), _hash_of(settings.metrics_key))
    access = node.access(hashes)
    fresh = await access.start()
    if fresh is not None:
        write_key(path_of(settings), fresh)
    return access, fresh


def _hash_of(secret: Secret) -> str:
    return key_hash(plain(secret)) if secret else ""


async def server(node: Node, settings: Settings, access: Access) -> uvicorn.Server:
    """The HTTP server for a running instance; the caller gives it its socket.

    Its modules take longer to import than all the rest: that happens on a thread, while sessions connect already.
    """
    return await asyncio.to_thread(_server, node, settings, access)


def _server(node: Node, settings: Settings, access: Access) -> uvicorn.Server:
    import aiohttp  # noqa: F401, PLC0415 - the first webhook need not wait for it

    from holdfast.api.app import build  # noqa: PLC0415
    from holdfast.api.connections import Connections, Server  # noqa: PLC0415
    from holdfast.api.exposure import watched  # noqa: PLC0415
    from holdfast.api.http_connection import http_config  # noqa: PLC0415

    app = build(
        node.gateway,
        access,
        metrics=node.metrics.render,
        alerts=node.alerts.in_force,
        peers=node,
        accounts=node.accounts,
        is_leaving=lambda: node.leaving,
        public_url=settings.public_url,
        base=settings.base(),
        origins=settings.origins(),
        body_limit=settings.body_limit,
        send_wait=settings.send_wait,
        page_limit=settings.page_limit,
    )
    if settings.reaching():
        app = watched(app, settings.exposure, node.exposed.reached)
    connections = Connections(settings.connection_limits(), node.metrics.refused)
    node.metrics.meters.http_connections.set_function(lambda: len(connections.open))
    return Server(http_config(app, connections), connections)
