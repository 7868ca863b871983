"""`/api/sessions`: create, read, change and order sessions, in WAHA's shapes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from holdfast.api.common import gateway_of
from holdfast.domain import caps
from holdfast.domain.errors import BadRequest, InvalidName, SessionNotFound, WrongStatus
from holdfast.domain.masking import masked_config
from holdfast.domain.terms import YEAR
from holdfast.domain.waha import EVENTS, me_info
from holdfast.ports.gateway import Gateway, SessionView

Req = Request[Any, Any, Any]


class Hmac(msgspec.Struct):
    """Key that signs webhook bodies."""

    key: str | None = None


class Header(msgspec.Struct):
    """A header sent with a webhook."""

    name: str
    value: str


class WebhookConfig(msgspec.Struct, omit_defaults=True):
    """A receiver of events."""

    url: str
    events: list[str]
    hmac: Hmac | None = None
    retries: dict[str, Any] | None = None
    customHeaders: list[Header] | None = None  # noqa: N815 - WAHA's name


class ProxyConfig(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Proxy of the session's connections: `host:port`, or a URL with http, https or socks5; `direct`: no proxy."""

    server: str
    username: str | None = None
    password: str | None = None


Count = Annotated[int, msgspec.Meta(ge=1, le=caps.MOST)]


class Pacing(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Limits on sending that protect the number. `jitter`: a pause of up to so many seconds after each message."""

    messages_per_minute: Count | None = None
    new_chats_per_day: Count | None = None
    jitter: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None = None


class OwnConfig(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What is configured beyond WAHA. `labels`: the session runs only on instances that offer all of them.

    `pacing`: how fast it sends. `expires_in`: how many seconds a message may wait that says nothing of it. `queue`:
    accept messages even while the session needs a QR code or is stopped.
    """

    labels: dict[str, str] | None = None
    pacing: Pacing | None = None
    expires_in: Annotated[float, msgspec.Meta(gt=0, le=YEAR)] | None = None
    queue: bool | None = None
    engine: str | None = None
    server: str | None = None


class SessionConfig(msgspec.Struct, omit_defaults=True):
    """Configuration of a session; what is of other engines is kept as it came."""

    metadata: dict[str, str] | None = None
    proxy: ProxyConfig | None = None
    debug: bool | None = None
    ignore: dict[str, Any] | None = None
    client: dict[str, Any] | None = None
    noweb: dict[str, Any] | None = None
    gows: dict[str, Any] | None = None
    webjs: dict[str, Any] | None = None
    webhooks: list[WebhookConfig] | None = None
    holdfast: OwnConfig | None = None


class CreateSession(msgspec.Struct):
    """Body of `POST /api/sessions`."""

    name: str | None = None
    start: bool = True
    config: SessionConfig | None = None
    apps: list[dict[str, Any]] | None = None
    engine: str | None = None
    server: str | None = None


class UpdateSession(msgspec.Struct):
    """Body of `PUT /api/sessions/{session}`: the configuration is replaced."""

    config: SessionConfig | None = None
    apps: list[dict[str, Any]] | None = None


class NamedSession(msgspec.Struct):
    """Body of the deprecated start, stop and logout."""

    name: str
    config: SessionConfig | None = None
    logout: bool = False


def session_dto(view: SessionView) -> dict[str, Any]:
    """WAHA's SessionDTO."""
    shown: dict[str, Any] = {"name": view.name, "status": view.status, "config": masked_config(view.config)}
    return {**shown, "holdfast": {"notes": list(view.notes)}} if view.notes else shown


def session_info(view: SessionView, engine: str) -> dict[str, Any]:
    """WAHA's SessionInfo, with Holdfast's facts beside it under `holdfast`."""
    return {
        **session_dto(view),
        "me": me_info(view.me),
        "engine": {"engine": engine},
        "assignedWorker": view.owner,
        "presence": None,
        "timestamps": {"activity": int(view.verified_at * 1000) if view.verified_at else None},
        "holdfast": status_facts(view),
    }


def status_facts(view: SessionView) -> dict[str, Any]:
    """What Holdfast knows of a status beyond WAHA's word."""
    return {
        "reason": view.reason,
        "message": view.message,
        "since": view.since,
        "verified_at": view.verified_at,
        "next_attempt_at": view.next_attempt_at,
        "attempt": view.attempt,
        "needs_qr": view.needs_qr,
        "owner": view.owner,
        "epoch": view.epoch,
        "engine": view.engine,
        "server": (view.config.get("holdfast") or {}).get("server"),
    }


def config_of(config: SessionConfig | None) -> dict[str, Any]:
    """The configuration to store. Raises `BadRequest` for events that there are not."""
    if config is None:
        return {}
    for hook in config.webhooks or []:
        unknown = sorted(set(hook.events) - {*EVENTS, "*"} - _LATER)
        if unknown:
            raise BadRequest(f"Unknown webhook events: {', '.join(unknown)}. Known are {', '.join(EVENTS)} and *.")
    stored: dict[str, Any] = msgspec.to_builtins(config)
    return stored


def _housed(data: CreateSession) -> dict[str, Any]:
    """The configuration with where the session is to live, which may stand beside it as well."""
    config = config_of(data.config)
    place = {key: value for key, value in (("engine", data.engine), ("server", data.server)) if value}
    return {**config, "holdfast": {**(config.get("holdfast") or {}), **place}} if place else config


_LATER = frozenset(
    {
        "group.join",
        "group.leave",
        "presence.update",
        "chat.archive",
        "call.received",
        "call.accepted",
        "call.rejected",
        "label.upsert",
        "label.deleted",
        "label.chat.added",
        "label.chat.deleted",
        "event.response",
        "event.response.failed",
        "engine.event",
        "state.change",
    }
)
"""WAHA's further events: accepted, so that its configurations pass, and never sent."""


class Sessions(Controller):
    """`/api/sessions`."""

    path = "/api/sessions"
    tags = ["Sessions"]  # noqa: RUF012 - Litestar's way

    @get("/", summary="List sessions")
    async def all(self, request: Req, all: FromQuery[bool] = False) -> list[dict[str, Any]]:
        """Running sessions; `?all=true` lists the stopped ones too."""
        gateway = gateway_of(request)
        views = await gateway.sessions()
        return [session_info(view, gateway.presented) for view in views if all or view.status != "STOPPED"]

    @post("/", summary="Create a session")
    async def create(self, request: Req, data: JSONBody[CreateSession]) -> dict[str, Any]:
        """Create, and start unless told otherwise."""
        if data.name is not None and not data.name:
            raise InvalidName()
        view = await gateway_of(request).create(data.name, _housed(data), start=data.start)
        return session_dto(view)

    @get("/{session:str}", summary="Get a session")
    async def one(self, request: Req, session: FromPath[str]) -> dict[str, Any]:
        """Its status now, its account, its configuration."""
        gateway = gateway_of(request)
        return session_info(await gateway.session(session), gateway.presented)

    @put("/{session:str}", summary="Update a session")
    async def update(self, request: Req, session: FromPath[str], data: JSONBody[UpdateSession]) -> dict[str, Any]:
        """Replace the configuration; the connection stays up."""
        return session_dto(await gateway_of(request).update(session, config_of(data.config)))

    @delete("/{session:str}", status_code=200, summary="Delete a session")
    async def remove(self, request: Req, session: FromPath[str]) -> Response[None]:
        """Log out, and delete all of it. Idempotent."""
        await gateway_of(request).delete(session)
        return Response(None, status_code=200)

    @get("/{session:str}/me", summary="The linked account")
    async def me(self, request: Req, session: FromPath[str]) -> dict[str, Any] | None:
        """None while no account was ever linked."""
        return me_info((await gateway_of(request).session(session)).me)

    @post("/{session:str}/start", summary="Start a session")
    async def start(self, request: Req, session: FromPath[str]) -> dict[str, Any]:
        """Idempotent. `default` is created if it does not exist, as WAHA does."""
        gateway = gateway_of(request)
        try:
            return session_dto(await gateway.start(session))
        except SessionNotFound:
            if session != "default":
                raise
        return session_dto(await gateway.create(session, {}, start=True))

    @post("/{session:str}/stop", summary="Stop a session")
    async def stop(self, request: Req, session: FromPath[str]) -> dict[str, Any]:
        """Close the connection; it stays linked."""
        return session_dto(await gateway_of(request).stop(session))

    @post("/{session:str}/restart", summary="Restart a session")
    async def restart(self, request: Req, session: FromPath[str]) -> dict[str, Any]:
        """Close the connection and open it anew."""
        return session_dto(await gateway_of(request).restart(session))

    @post("/{session:str}/logout", summary="Log out")
    async def logout(self, request: Req, session: FromPath[str]) -> dict[str, Any]:
        """Unlink the device; configuration and history stay. A running session asks for a new QR code."""
        return session_dto(await gateway_of(request).logout(session))

    # --- deprecated by WAHA, still used by its older clients
    @post("/start", deprecated=True, summary="Upsert and start a session")
    async def old_start(self, request: Req, data: JSONBody[NamedSession]) -> dict[str, Any]:
        """Create or update, then start; 422 if it is running already."""
        gateway = gateway_of(request)
        if not data.name:
            raise InvalidName()
        view = await _found(gateway, data.name)
        if view is None:
            view = await gateway.create(data.name, config_of(data.config), start=True)
        elif view.status not in ("STOPPED", "FAILED"):
            raise WrongStatus(
                f"Session '{view.name}' is already started.",
                session=view.name,
                status=view.status,
                expected=["STOPPED", "FAILED"],
            )
        else:
            if data.config is not None:
                await gateway.update(view.name, config_of(data.config))
            view = await gateway.start(view.name)
        return session_dto(view)

    @post("/stop", deprecated=True, summary="Stop (and log out) a session")
    async def old_stop(self, request: Req, data: JSONBody[NamedSession]) -> Response[None]:
        """Stop; with `logout` also unlink and delete."""
        gateway = gateway_of(request)
        if not data.name:
            raise InvalidName()
        if await _found(gateway, data.name) is not None:
            await (gateway.delete(data.name) if data.logout else gateway.stop(data.name))
        return Response(None, status_code=201)

    @post("/logout", deprecated=True, summary="Log out and delete a session")
    async def old_logout(self, request: Req, data: JSONBody[NamedSession]) -> Response[None]:
        """Unlink and delete."""
        if not data.name:
            raise InvalidName()
        await gateway_of(request).delete(data.name)
        return Response(None, status_code=201)


async def _found(gateway: Gateway, name: str) -> SessionView | None:
    try:
        return await gateway.session(name)
    except SessionNotFound:
        return None
