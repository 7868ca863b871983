"""One session's connection to its WAHA server: does what a look calls for, and reports what came of it.

What is to be done is decided by `domain.remote.next_step`; whether and when to connect again, by `domain.session`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import structlog

from holdfast.domain.account_limits import quota
from holdfast.domain.errors import HoldfastError, StaleEpoch, StoreUnavailable
from holdfast.domain.jids import bare
from holdfast.domain.remote import MISSING, Act, Opening, RemoteTimes, Tried, next_step
from holdfast.domain.remote_messages import own_phone
from holdfast.domain.rows import EngineWrite
from holdfast.engines.waha.client import WahaClient
from holdfast.engines.waha.errors import WahaBusy, WahaRefused, WahaUnavailable
from holdfast.engines.waha.history import History
from holdfast.engines.waha.looks import Looks
from holdfast.ports import engine as port
from holdfast.ports.clock import Clock
from holdfast.ports.store import Store

log = structlog.get_logger(__name__)

CREDS = ("creds", "")
"""Where the store keeps, in place of credentials, which device WAHA has linked: they themselves stay there."""
QR_EVERY = 5.0
"""Seconds between two looks at the QR on show; WAHA changes it every 20 s."""
QR_LIFETIME = 20.0
EVENTS = (
    "session.status",
    "message",
    "message.any",
    "message.ack",
    "message.reaction",
    "message.revoked",
    "message.edited",
)
"""What a session that we make tells us."""
OF_WAHA = ("metadata", "debug", "ignore", "client", "noweb", "gows", "webjs")
"""Parts of a session's configuration that are handed on to WAHA."""
NOWEB: Mapping[str, Any] = {"markOnline": True, "store": {"enabled": True, "fullSync": False}}
"""Without its store that engine of WAHA's gives no chats and messages to read."""
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shared:
    """What the connections to one server share. `times` are scaled already."""

    client: WahaClient
    looks: Looks
    store: Store
    clock: Clock
    times: RemoteTimes
    factor: float
    webhook: Json | None
    """The receiver that sessions made by us get; None: they tell nothing, and are only asked."""
    tried: dict[str, Tried]
    """By session; outlives its connections."""
    sink: port.EventSink
    on_open: Callable[[Link], None]
    on_lost: Callable[[Link], None]


class Link:
    """See the module. `run` is a task of the engine's, which ends it to close the connection."""

    def __init__(self, request: port.OpenRequest, shared: Shared, history: History) -> None:
        self.name = request.session
        self.connection = request.connection
        self.grant = request.grant
        self.phone = ""
        self.heard_at: float | None = None
        """When a webhook of this session came last, in seconds of the boot clock."""
        self.linked_at = 0.0
        """Unix seconds; what came before is history."""
        self.history = history
        self._request = request
        self._shared = shared
        self._opening = Opening(request.pair)
        self._closed = False
        self._news = asyncio.Event()
        self._latest: tuple[Json | None, float] = (None, 0.0)
        self._acted_at = 0.0
        self._qr, self._qr_at = "", -QR_EVERY
        self._code_shown = False
        self._restricted: float | None = None
        self._capping: Mapping[str, Any] = {}
        self._log = log.bind(session=self.name, server=shared.client.server.name)

    # --- what looks tell ----------------------------------------------------------------------------------------
    @property
    def settled(self) -> bool:
        """See `Looked`."""
        return self._opening.open

    @property
    def is_open(self) -> bool:
        """See `Looked`."""
        return self._opening.open and not self._closed

    @property
    def status(self) -> str:
        """WAHA's word at the last look."""
        return str((self._latest[0] or {}).get("status") or MISSING)

    def seen(self, info: Json | None, at: float) -> None:
        """See `Looked`. What was asked before we ordered something is old."""
        if at >= self._acted_at:
            self._latest = (info, at)
            self._news.set()

    def may_act(self) -> bool:
        """Whether the grant still allows anything."""
        return not self._closed and self.grant.until > self._shared.clock.boot()

    # --- its life -----------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Until lost, or cancelled."""
        try:
            if self._request.pair and self._request.anew:
                await self._guarded(self.unlink)
            self._shared.looks.add(self)
            while not self._closed:
                await self._news.wait()
                self._news.clear()
                await self._guarded(self._step)
        except Exception as error:
            self._log.error("a remote session failed unexpectedly", action="waha", code="bug", exc_info=error)
            self.lost("", type(error).__name__)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """What may go wrong with any request."""
        if not self.may_act():
            self.lost("grant", "the grant lapsed")
            return
        try:
            await work()
        except WahaBusy as error:
            self._log.info("the WAHA server is busy, asked again soon", action="waha", code=error.code)
        except WahaUnavailable as error:
            self.lost("waha_unreachable", error.sentence)
        except WahaRefused as error:
            self._refused(error)
        except (StaleEpoch, StoreUnavailable) as error:
            self.lost("store" if isinstance(error, StoreUnavailable) else "grant", error.sentence)

    def _refused(self, error: WahaRefused) -> None:
        if error.status in (401, 403):
            self.lost("waha_key", error.sentence)
        else:  # its status was another by then: the next look says which
            self._log.info("WAHA refused a request", action="waha", status=error.status, detail=error.sentence)

    def lost(self, tag: str, detail: str) -> None:
        """See `Looked`. Told once."""
        self._close(port.Closed(self.name, self.connection, 0 if tag else 428, tag, detail=detail))

    def _close(self, event: port.Closed) -> None:
        if not self._closed:
            self._closed = True
            self._news.set()
            self._shared.on_lost(self)
            self._shared.sink(event)

    def shut(self) -> None:
        """Closed by order: nothing is told any more."""
        self._closed = True

    # --- one step -----------------------------------------------------------------------------------------------
    async def _step(self) -> None:
        info, at = self._latest
        if info is None and not self._request.pair:
            info = await self._ask()  # a list may lack it for another reason
        status = str((info or {}).get("status") or MISSING)
        now = self._shared.clock.boot()
        tried = self._shared.tried.get(self.name, Tried())
        following = next_step(status, self._opening, tried, now, self._shared.times)
        self._shared.tried[self.name] = following.tried
        if following.act is Act.OPEN:
            await self._opened(info or {}, at)
        elif following.act is Act.SHOW:
            await self._show()
        elif following.act is Act.LOST:
            self.lost(following.tag, f"WAHA says {status}")
        elif following.act is not Act.WAIT:
            await self._order(following.act, info)

    async def _ask(self) -> Json | None:
        try:
            found = await self._shared.client.get(f"/api/sessions/{quote(self.name)}")
        except WahaRefused as error:
            if error.status == 404:
                return None
            raise
        return found if isinstance(found, dict) else None

    async def _order(self, act: Act, info: Json | None) -> None:
        """Create, start, restart or make anew; the next look says what came of it."""
        self._log.info(f"session {act} at WAHA", action="waha", code=str(act))
        client, path = self._shared.client, f"/api/sessions/{quote(self.name)}"
        if act is Act.REMAKE:
            await self.history.copy_what_can_be(self.grant.epoch, self.phone)
            info = await self._ask() or info
            await client.delete(path)
        self._note(act)
        if act in (Act.CREATE, Act.REMAKE):
            await self._create(dict((info or {}).get("config") or {}))
        else:
            await client.post(f"{path}/{act}", again=True)
        self._note(Act.WAIT)
        self._shared.looks.now()

    def _note(self, act: Act) -> None:
        now = self._shared.clock.boot()
        self._acted_at = now
        self._shared.tried[self.name] = self._shared.tried.get(self.name, Tried()).ordered(now, act)

    async def _create(self, before: dict[str, Any]) -> None:
        given = {part: self._request.options[part] for part in OF_WAHA if self._request.options.get(part) is not None}
        config = {"noweb": NOWEB, **before, **given}
        if self._shared.webhook is not None:
            ours = self._shared.webhook
            others = [hook for hook in before.get("webhooks") or [] if hook.get("url") != ours["url"]]
            config["webhooks"] = [*others, dict(ours)]
        try:
            await self._shared.client.post("/api/sessions", {"name": self.name, "start": True, "config": config})
        except WahaRefused as error:
            if error.status not in (400, 422):
                raise
            said = error.sentence
            if "already exists" in said:
                return  # an answer that was lost, or somebody else: it is there
            self.lost("waha_only_default" if "'default'" in said else "waha_refused", said)
        else:
            self._log.info("session created", action="waha", code="created")

    async def unlink(self) -> None:
        """End its link, so that a new QR is shown. What cannot log out is deleted."""
        path = f"/api/sessions/{quote(self.name)}"
        try:
            await self._shared.client.post(f"{path}/logout")
        except WahaRefused as error:
            if error.status != 404:
                await self._shared.client.delete(path)
        self._acted_at = self._shared.clock.boot()

    # --- pairing ------------------------------------------------------------------------------------------------
    async def _show(self) -> None:
        self._opening = replace(self._opening, shown=True)
        shared, now = self._shared, self._shared.clock.boot()
        if self._request.pair_phone and not self._code_shown:
            code = await self.code(self._request.pair_phone)
            self._code_shown = True
            shared.sink(port.CodeShown(self.name, self.connection, code, self._request.pair_phone))
        elif not self._request.pair_phone and now - self._qr_at >= QR_EVERY * shared.factor:
            found = await shared.client.get(f"/api/{quote(self.name)}/auth/qr", {"format": "raw"})
            qr = str(found.get("value") or "") if isinstance(found, dict) else ""
            self._qr_at = now
            if qr and qr != self._qr:
                self._qr = qr
                shared.sink(port.QrShown(self.name, self.connection, qr, QR_LIFETIME * shared.factor))

    async def code(self, phone: str) -> str:
        """A pairing code for that phone (digits). Errors are the client's."""
        path = f"/api/{quote(self.name)}/auth/request-code"
        found = await self._shared.client.post(path, {"phoneNumber": phone})
        return str(found.get("code") or "").replace("-", "") if isinstance(found, dict) else ""

    # --- working ------------------------------------------------------------------------------------------------
    async def _opened(self, info: Json, at: float) -> None:
        phone = own_phone(info.get("me"))
        if not phone:
            info = await self._ask() or {}
            phone = own_phone(info.get("me"))
            if not phone:
                return  # WAHA does not know yet whose it is
        note = _decoded((await self._shared.store.read_keys(self.name, [CREDS])).get(CREDS)) if not self.phone else {}
        wanted = self.phone or self._request.expect_phone or str(note.get("phone") or "")
        if wanted and phone != wanted:
            await self._wrong_number(phone)
        else:
            await self._report(info, phone, at, note)

    async def _wrong_number(self, phone: str) -> None:
        """Whoever scanned our QR is unlinked again; what somebody else linked is left alone."""
        if self._opening.shown:
            await self.unlink()
            await self._shared.client.post(f"/api/sessions/{quote(self.name)}/stop", again=True)
        self._close(port.Closed(self.name, self.connection, 0, "another_number", {"phone": phone}))

    async def _report(self, info: Json, phone: str, at: float, note: Json) -> None:
        shared, me = self._shared, info.get("me") or {}
        if not self._opening.open:
            await self._keep(phone, note)
            lid, name = bare(str(me.get("lid") or "")) if me.get("lid") else "", str(me.get("pushName") or "")
            self.phone = phone
            if self._request.pair or self._opening.shown:
                shared.sink(port.Paired(self.name, self.connection, phone, lid, name))
            shared.sink(port.Opened(self.name, self.connection, phone, lid, name))
            self._opening = replace(self._opening, open=True)
            shared.on_open(self)
        delivered = None if self.heard_at is None else shared.clock.boot() - self.heard_at
        shared.sink(port.Proved(self.name, self.connection, shared.clock.boot() - at, delivered))
        self._report_limits(me.get("reachoutTimelock"), me.get("messageCapping"))

    async def _keep(self, phone: str, note: Json) -> None:
        """Note in the store, under the epoch, that this device is linked, and since when we know it."""
        server = self._shared.client.server.name
        if note.get("server") == server and note.get("phone") == phone:
            self.linked_at = float(note.get("since") or 0.0)
            return
        self.linked_at = self._shared.clock.now()
        fresh = {"engine": "waha", "server": server, "phone": phone, "since": self.linked_at}
        write = EngineWrite(keys={CREDS: json.dumps(fresh).encode()})
        await self._shared.store.write_engine(self.name, self.grant.epoch, write)

    @property
    def adopted(self) -> bool:
        """Whether it was linked before we came: its history is not known yet."""
        return self._request.pair and not self._opening.shown

    def _report_limits(self, lock: object, capping: object) -> None:
        until, kind = None, ""
        if isinstance(lock, Mapping) and lock.get("isActive"):
            until = float(lock.get("timeEnforcementEnds") or 0.0) or self._shared.clock.now() + 3600.0
            kind = str(lock.get("enforcementType") or "")
        if until != self._restricted:
            self._restricted = until
            self._shared.sink(port.Restricted(self.name, self.connection, until, kind))
        if isinstance(capping, Mapping) and capping != self._capping:
            self._capping = capping
            self._shared.sink(port.Capped(self.name, self.connection, quota(capping)))


def _decoded(note: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(note or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_fault(error: HoldfastError) -> bool:
    """Whether an error says that a request was not carried out, and may be tried again."""
    return isinstance(error, WahaBusy) or (isinstance(error, WahaUnavailable) and not error.asked)
