"""`/api/sessions`: create, read, change and order sessions, in WAHA's shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from litestar import Controller, Request, Response, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from holdfast.api.common import gateway_of
from holdfast.api.waha.session_config import App, SessionConfig, config_of
from holdfast.domain.errors import BadRequest, InvalidName, SessionNotFound, WrongStatus
from holdfast.domain.masking import masked_config
from holdfast.domain.session_options import APPS, notes
from holdfast.domain.waha import me_info
from holdfast.ports.gateway import Gateway, SessionView

Req = Request[Any, Any, Any]


class CreateSession(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /api/sessions`."""

    name: str | None = None
    start: bool = True
    config: SessionConfig | None = None
    apps: list[App] | None = None
    engine: str | None = None
    server: str | None = None


class UpdateSession(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `PUT /api/sessions/{session}`: the configuration is replaced. `name`, if given, is the session's."""

    name: str | None = None
    config: SessionConfig | None = None
    apps: list[App] | None = None


class NamedSession(msgspec.Struct, forbid_unknown_fields=True):
    """Body of the deprecated logout."""

    name: str


class StartSession(NamedSession, forbid_unknown_fields=True):
    """Body of the deprecated start."""

    config: SessionConfig | None = None


class StopSession(NamedSession, forbid_unknown_fields=True):
    """Body of the deprecated stop."""

    logout: bool = False


class LogoutApps(msgspec.Struct, forbid_unknown_fields=True):
    """What a logout does with WAHA's apps."""

    purge: bool = False


class LogoutSession(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a logout."""

    apps: LogoutApps | None = None


def session_dto(view: SessionView) -> dict[str, Any]:
    """WAHA's SessionDTO."""
    shown: dict[str, Any] = {"name": view.name, "status": view.status, "config": masked_config(view.config)}
    return {**shown, "holdfast": {"notes": list(view.notes)}} if view.notes else shown


def noted(view: SessionView, before: dict[str, Any] | None = None, apps: Sequence[App] | None = None) -> SessionView:
    """The session with a note for each part of its configuration that has no effect.

    Args:
        view: The session as it is now.
        before: The configuration that was replaced; None for a new session.
        apps: What came beside the configuration.
    """
    found = [*notes(view.config, view.engine, before), *([APPS] if apps else [])]
    return replace(view, notes=[*view.notes, *found])


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
        "notes": notes(view.config, view.engine),
    }


def _housed(data: CreateSession) -> dict[str, Any]:
    """The configuration with where the session is to live, which may stand beside it as well."""
    config = config_of(data.config)
    place = {key: value for key, value in (("engine", data.engine), ("server", data.server)) if value}
    return {**config, "holdfast": {**(config.get("holdfast") or {}), **place}} if place else config


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
        return session_dto(noted(view, apps=data.apps))

    @get("/{session:str}", summary="Get a session")
    async def one(self, request: Req, session: FromPath[str]) -> dict[str, Any]:
        """Its status now, its account, its configuration."""
        gateway = gateway_of(request)
        return session_info(await gateway.session(session), gateway.presented)

    @put("/{session:str}", summary="Update a session")
    async def update(self, request: Req, session: FromPath[str], data: JSONBody[UpdateSession]) -> dict[str, Any]:
        """Replace the configuration; the connection stays up."""
        if data.name not in (None, session):
            raise BadRequest("name: a session keeps its name. Leave it out, or create another session.")
        gateway = gateway_of(request)
        before = (await gateway.session(session)).config
        view = await gateway.update(session, config_of(data.config))
        return session_dto(noted(view, before, data.apps))

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
    async def logout(
        self, request: Req, session: FromPath[str], data: JSONBody[LogoutSession | None] = None
    ) -> dict[str, Any]:
        """Unlink the device; configuration and history stay. A running session asks for a new QR code."""
        view = await gateway_of(request).logout(session)
        purge = data is not None and data.apps is not None and data.apps.purge
        return session_dto(replace(view, notes=[*view.notes, APPS]) if purge else view)

    # --- deprecated by WAHA, still used by its older clients
    @post("/start", deprecated=True, summary="Upsert and start a session")
    async def old_start(self, request: Req, data: JSONBody[StartSession]) -> dict[str, Any]:
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
        return session_dto(noted(view) if data.config is not None else view)

    @post("/stop", deprecated=True, summary="Stop (and log out) a session")
    async def old_stop(self, request: Req, data: JSONBody[StopSession]) -> Response[None]:
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
