"""Where sessions live: which engine is chosen for a new one, and how one moves to another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from holdfast.domain.errors import BadRequest, InvalidName
from holdfast.domain.masking import unmasked_config
from holdfast.domain.proxies import InvalidProxy
from holdfast.ports.gateway import SessionView
from holdfast.ports.remote import Remote
from holdfast.ports.store import Json, SessionRow
from holdfast.runtime.orders import Orders

_REMOTE_NAME = re.compile(r"[A-Za-z0-9_-]{1,54}")
"""What WAHA takes as the name of a session."""


class Housing(Orders):
    """See the port for outcomes and errors."""

    def homes(self) -> dict[str, list[str]]:
        """See the port."""
        found = {}
        for kind, engine in self._engines.items():
            servers = engine.servers() if isinstance(engine, Remote) else []
            if servers or not isinstance(engine, Remote):
                found[kind] = servers
        return found

    def _configured(self, config: Json, before: Json) -> Json:
        """A configuration as it is stored: masked values made whole. Raises `InvalidWebhook`, `InvalidProxy`."""
        config = unmasked_config(config, before)
        self._delivery.check(config)
        self._routes.check(config)
        return config

    def _housed(self, name: str, config: Json, engine: str) -> tuple[str, Json]:
        """A new session's engine, and its configuration with where it lives. Raises `BadRequest`, `InvalidName`."""
        own = dict(config.get("holdfast") or {})
        kind = engine or str(own.get("engine") or "") or self._engine_else
        self._check_proxy(kind, config)
        return kind, _with(config, self._home(name, kind, own))

    def _check_proxy(self, kind: str, config: Json) -> None:
        """Raises `InvalidProxy` for a session whose connections are not made here."""
        if config.get("proxy") is not None and isinstance(self._engines.get(kind), Remote):
            raise InvalidProxy(
                "config.proxy: the connections of this session are made by a WAHA server. Set the proxy there "
                "(WHATSAPP_PROXY_SERVER), and leave `proxy` out."
            )

    def _home(self, name: str, kind: str, own: Mapping[str, Any]) -> Json:
        home = {key: value for key, value in own.items() if key not in ("engine", "server")}
        engine = self._engines.get(kind)
        if engine is None:
            raise BadRequest(f"There is no engine '{kind}'. Known are {', '.join(self._engines)}.")
        if not isinstance(engine, Remote):
            if own.get("server"):
                raise BadRequest(f"Sessions of the engine '{kind}' live here, on no server: leave `server` out.")
            return home
        server = engine.server_of({"holdfast": own})
        if not engine.knows(server):
            known = ", ".join(engine.servers()) or "none"
            named = f"server '{server}'" if server else "server"
            raise BadRequest(f"There is no WAHA {named}. Known from HOLDFAST_WAHA_SERVERS: {known}.")
        if not _REMOTE_NAME.fullmatch(name):
            raise InvalidName("WAHA takes letters, digits, '-' and '_' in a session's name, 54 of them at most.")
        return {**home, "engine": kind, "server": server}

    def _stays(self, row: SessionRow, config: Json) -> Json:
        """A new configuration of a session that stays. Raises `BadRequest`: moving is an order of its own."""
        self._check_proxy(row.engine, config)
        own = dict(config.get("holdfast") or {})
        before = row.config.get("holdfast") or {}
        now = {"engine": row.engine, "server": str(before.get("server") or "")}
        if any(own.get(key, value) != value for key, value in now.items()):
            raise BadRequest(f"To move a session, POST to /api/holdfast/sessions/{row.name}/engine: it needs a new QR.")
        home = self._home(row.name, row.engine, {**own, **{key: value for key, value in now.items() if value}})
        return _with(config, home)

    async def move(self, name: str, engine: str, server: str = "") -> SessionView:
        """See the port."""
        row = await self._row(name)
        own = {**(row.config.get("holdfast") or {}), "server": server}
        home = self._home(row.name, engine, own)
        self._check_proxy(engine, row.config)
        before = str((row.config.get("holdfast") or {}).get("server") or "")
        if row.engine == engine and home.get("server", "") == before:
            raise BadRequest("The session lives there already.")
        if row.has_credentials or (await self._store.holders([row.name])).get(row.name) is not None:
            await self._order(row.name, None, "logout")  # without `relink`: it pairs where it lives next
        await self._supervisor.end(row.name)
        places = _place(row.engine, before), _place(engine, str(home.get("server") or ""))
        message = f"Moved from {places[0]} to {places[1]}, with its history and settings. Link it with a new QR code."
        moved = await self._store.change_engine(row.name, engine, _with(row.config, home), message)
        self._hub.session_changed(moved.name)
        if row.desired == "running":
            return await self._order(moved.name, "running", "start")
        return await self.session(moved.name)


def _with(config: Json, home: Json) -> Json:
    """The configuration, with where the session lives."""
    return {**config, "holdfast": home} if home or "holdfast" in config else config


def _place(engine: str, server: str) -> str:
    return f"{engine} on '{server}'" if server else engine
