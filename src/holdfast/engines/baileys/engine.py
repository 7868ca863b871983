"""`ports.engine.Engine` over sidecars: commands go down the pipe, what happened comes up as events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from holdfast.domain import refusals
from holdfast.domain.account_limits import quota
from holdfast.domain.errors import NotConnected, OtherAddress, Refused, SendInDoubt, StoreUnavailable
from holdfast.domain.proxies import InvalidProxy, as_sent, explained
from holdfast.engines.baileys.keystore import KeyServer
from holdfast.engines.baileys.options import BaileysOptions
from holdfast.engines.baileys.pool import Pool
from holdfast.engines.baileys.process import CredentialsUnreadable, Sidecar, SidecarGone
from holdfast.engines.baileys.versions import Versions
from holdfast.engines.proxies import ProxyFailed, resolve
from holdfast.ports import engine as port
from holdfast.ports.clock import Clock
from holdfast.ports.store import Store

log = structlog.get_logger(__name__)

CREDS = ("creds", "")
MEDIA_LIMIT = 600.0
"""Seconds that uploading or fetching one file may take."""
CLOSE_LIMIT = 10.0
"""`close` returns within so many seconds, whatever happens; a sidecar that took longer is killed."""


class BaileysEngine:
    """See the module."""

    def __init__(self, options: BaileysOptions, store: Store, clock: Clock, pool: Pool | None = None) -> None:
        """`pool`: one that may have been started already."""
        self._options = options
        self._store = store
        self._clock = clock
        self._sink: port.EventSink = _no_sink
        self._keys = KeyServer(
            store, clock, patience=options.store_patience * options.time_factor, on_inbox=self._on_inbox
        )
        self._versions = Versions(options.version_url, clock, options.ca_file, options.routes)
        self._pool = pool or Pool(options, clock)
        self._pool.attach(on_request=self._on_request, on_note=self._on_note, on_died=self._on_died)

    # --- life ---------------------------------------------------------------------------------------------------
    async def start(self, sink: port.EventSink) -> None:
        """See the port."""
        self._sink = sink
        await self._pool.start()

    async def stop(self) -> None:
        """See the port."""
        await asyncio.gather(*(self.close(h.session, h.connection) for h in list(self._pool.hosted.values())))
        await self._pool.stop()

    async def refresh_version(self, config: Mapping[str, Any]) -> None:
        """See the port. Many sessions are refused at once, and ask once."""
        version = await self._versions.current(config)
        if version is not None:
            self._pool.use_version(version)

    # --- opening and closing ------------------------------------------------------------------------------------
    async def open(self, request: port.OpenRequest) -> None:
        """See the port. Raises `EngineUnavailable`."""
        session, connection = request.session, request.connection
        creds = await self._credentials(request)
        if creds is _REFUSED:
            return
        try:
            proxy = await self._proxy(request.options)
        except ProxyFailed as error:
            attrs = {"proxy": error.proxy.name, "why": error.why}
            self._sink(port.Closed(session, connection, 0, "proxy", attrs, explained(**attrs)))
            return
        except InvalidProxy as error:
            attrs = {"proxy": "", "why": "invalid"}
            self._sink(port.Closed(session, connection, 0, "proxy", attrs, error.sentence))
            return
        older = self._pool.hosted.get(session)
        sidecar = await self._pool.place(session, connection)
        if older is not None and older.sidecar is not sidecar:
            await self._close_at(older.sidecar, session, older.connection, logout=False)
        client = request.options.get("client") or {}
        args = {
            "session": session,
            "connection": connection,
            "epoch": request.grant.epoch,
            "deadline": request.grant.until + sidecar.boot_offset,
            "pair_phone": request.pair_phone,
            "expect_phone": request.expect_phone,
            "creds": creds,
            "proxy": proxy,
            "mark_online": (request.options.get("noweb") or {}).get("markOnline") is not False,
            "shown_as": [str(client.get("deviceName") or ""), str(client.get("browserName") or "")],
        }
        try:
            await sidecar.request("open", args, CLOSE_LIMIT)
        except CredentialsUnreadable as error:
            self._pool.leave(session, connection)
            self._sink(port.CredentialsBroken(session, connection, error.sentence))
        except SidecarGone:
            return  # told as EngineDied
        except TimeoutError:
            sidecar.kill("the engine process did not open a connection in time")

    async def _proxy(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the sidecar is told of the session's proxy. Raises `ProxyFailed`, `InvalidProxy`."""
        routes = self._options.routes
        proxy = routes.of(config)
        return None if proxy is None else as_sent(proxy, await resolve(proxy, routes))

    async def _credentials(self, request: port.OpenRequest) -> bytes | None:
        """What the store has, or `_REFUSED` after the reason was told."""
        session, connection = request.session, request.connection
        try:
            await self._keys.settled(session)
            creds = (await self._store.read_keys(session, [CREDS])).get(CREDS)
        except StoreUnavailable as error:
            self._sink(port.Closed(session, connection, 0, "store", detail=error.sentence))
            return _REFUSED
        if request.pair and creds is not None:
            sentence = "The session has credentials already; it can only log in with them, or log out first."
            self._sink(port.Closed(session, connection, 0, "has_credentials", detail=sentence))
            return _REFUSED
        if not request.pair and creds is None:
            self._sink(port.CredentialsBroken(session, connection, "The session has no saved credentials."))
            return _REFUSED
        return creds

    async def close(self, session: str, connection: int, *, logout: bool = False, stop: bool = False) -> None:
        """See the port."""
        sidecar = self._pool.find(session, connection)
        if sidecar is None:
            return
        try:
            await self._close_at(sidecar, session, connection, logout=logout)
        finally:
            self._pool.leave(session, connection)

    async def _close_at(self, sidecar: Sidecar, session: str, connection: int, *, logout: bool) -> None:
        args = {"session": session, "connection": connection, "logout": logout}
        try:
            await sidecar.request("close", args, CLOSE_LIMIT)
        except TimeoutError:
            sidecar.kill("the engine process did not close a connection in time")
            await sidecar.gone.wait()
        except SidecarGone:
            return  # its sockets were closed with it

    async def forget(self, session: str, config: Mapping[str, Any]) -> None:
        """See the port. All that there is stands in the store."""

    async def grant(self, grants: Mapping[str, port.Grant]) -> None:
        """See the port."""
        for sidecar, hosted in self._pool.sidecars().items():
            deadlines = {
                h.session: grants[h.session].until + sidecar.boot_offset for h in hosted if h.session in grants
            }
            if deadlines:
                sidecar.tell("grants", deadlines)

    # --- asking -------------------------------------------------------------------------------------------------
    async def request_code(self, session: str, connection: int, phone: str) -> str:
        """See the port."""
        args = {"phone": phone}
        return str(await self._ask(session, connection, "request_code", args, self._options.query_timeout + 5))

    async def send(self, session: str, connection: int, message: port.OutgoingMessage) -> port.ServerAck:
        """See the port."""
        args: dict[str, Any] = {"id": message.id, "chat": message.chat, "content": dict(message.content)}
        if message.timer is not None:
            args["timer"] = {"seconds": message.timer.seconds, "since": int(message.timer.since)}
        try:
            upload = MEDIA_LIMIT if "path" in message.content else 0.0
            ack = await self._ask(session, connection, "send", args, upload + self._options.send_timeout + 5)
        except (SidecarGone, TimeoutError) as error:
            raise SendInDoubt from error
        except Refused as error:
            raise refusals.of_message(error.facts["error"]) from error
        if ack.get("address"):
            raise OtherAddress(address=str(ack["address"]))
        at = float(ack["at"]) or self._clock.now()
        return port.ServerAck(error=int(ack["error"]), at=at, message=ack.get("message", b""), **_cause(ack))

    async def probe(self, session: str, connection: int, *, listed: bool, timeout: float) -> port.Probed:
        """See the port."""
        args = {"listed": listed, "timeout": timeout}
        try:
            return port.Probed(await self._ask(session, connection, "probe", args, timeout + 5))
        except (NotConnected, SidecarGone, TimeoutError):
            return port.Probed.SILENT

    async def call(self, session: str, connection: int, method: str, args: Mapping[str, Any]) -> Any:
        """See the port.

        `check_number(phone)` → `{exists, jid, lid}`; `mark_read(chat, messages=[{id, participant?}])` →
        `{sent, shown}`;
        `presence(presence, chat?)`; `typing(chat, on)`; `subscribe_presence(chat)`; `profile_picture(chat)` → URL or
        None; `download_media(message=plaintext, path, chat, id, from_me, participant, limit)` → `{path, size}`, or
        `MediaTooLarge`, or `MediaGone` where neither WhatsApp nor the phone has the file.
        """
        limit = MEDIA_LIMIT if method == "download_media" else self._options.query_timeout * 2
        try:
            return await self._ask(session, connection, "call", {"method": method, "args": dict(args)}, limit)
        except (SidecarGone, TimeoutError) as error:
            raise NotConnected from error
        except Refused as error:
            raise refusals.of_call(error.facts["error"], group=method.startswith("group")) from error

    async def _ask(self, session: str, connection: int, method: str, args: dict[str, Any], timeout: float) -> Any:
        sidecar = self._pool.find(session, connection)
        if sidecar is None:
            raise NotConnected
        self._pool.seen(session)
        return await sidecar.request(method, {"session": session, "connection": connection, **args}, timeout)

    def facts(self) -> Mapping[str, Any]:
        """See the port."""
        return self._pool.facts()

    # --- what comes up ------------------------------------------------------------------------------------------
    async def _on_request(self, sidecar: Sidecar, method: str, args: Any) -> Any:
        self._pool.seen(args["session"])
        return await self._keys.handle(method, args)

    def _on_note(self, sidecar: Sidecar, name: str, value: Any) -> None:
        if name == "proved":
            for session, connection, age, delivered in value:
                self._sink(port.Proved(session, connection, age, delivered))
            return
        session, connection, kind, facts = value
        self._pool.seen(session)
        if self._pool.find(session, connection) is not sidecar:
            return
        if kind == "closed":
            self._pool.leave(session, connection)
        self._sink(_event(session, connection, kind, facts))
        if kind == "synced":
            sidecar.tell("credit", {"session": session, "connection": connection, "count": 1})

    def _on_inbox(self, session: str, connection: int) -> None:
        self._sink(port.InboxStored(session, connection))

    def _on_died(self, sessions: dict[str, int], detail: str, tag: str) -> None:
        self._sink(port.EngineDied(sessions, detail, tag))


_REFUSED = b"\0refused"


def _no_sink(event: port.EngineEvent | port.EngineDied) -> None:
    raise AssertionError("the engine was not started")


def _cause(ack: Mapping[str, Any]) -> dict[str, Any]:
    return {"detail": str(ack["cause"]), "until": ack.get("until")} if ack.get("cause") else {}


def _event(session: str, connection: int, kind: str, facts: Mapping[str, Any]) -> port.EngineEvent:
    if kind == "qr":
        return port.QrShown(session, connection, facts["qr"], facts["lifetime"])
    if kind == "code":
        return port.CodeShown(session, connection, facts["code"], facts["phone"])
    if kind == "paired":
        return port.Paired(session, connection, facts["phone"], facts["lid"], facts["push_name"])
    if kind == "opened":
        return port.Opened(session, connection, facts["phone"], facts["lid"], facts["push_name"])
    if kind == "restricted":
        return port.Restricted(session, connection, facts["until"], str(facts.get("enforcement") or ""))
    if kind == "capped":
        return port.Capped(session, connection, quota(facts))
    if kind == "synced":
        return port.Synced(session, connection, facts["kind"], facts["items"])
    attrs = {str(name): str(value) for name, value in facts["attrs"].items()}
    return port.Closed(session, connection, facts["code"], facts["tag"], attrs, facts["detail"])
