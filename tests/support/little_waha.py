"""A strict little WAHA in this process: WAHA's answers and refusals over real HTTP, and what a healthy one never shows.

Every answer is held to WAHA's own description (the models that waha-py generated from it), and so is every body that
it is asked with: neither this server nor its client can get away with a shape that WAHA does not have. Every call is
logged with its time. Phones and faults are played by its methods.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from pydantic import BaseModel, ValidationError
from waha.generated import models

from holdfast.api.waha.pairing import qr_png
from tests.support.little_waha_hooks import Hook, Hooks
from tests.support.little_waha_sessions import Refused, Session, Sessions
from tests.support.waha_models import fits

Json = dict[str, Any]
KEY = "a-key-of-waha"
BODY: web.RequestKey[Any] = web.RequestKey("body", object)
FOREVER = 10**9


@dataclass
class Call:
    """One request: when it came and went (Unix seconds), and what was answered; status 0 while it runs."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int = 0
    ended: float = 0.0


@dataclass
class Fault:
    """What goes wrong with calls whose `METHOD path` matches. `kind` is a status that is answered, or `hang`, `drip`,
    `garbage` (200, but a proxy's page), `cut` (the connection ends before anything is done) or `lost` (after it is).
    """

    kind: int | str
    calls: str = ""
    times: int = FOREVER


@dataclass
class LittleWaha:
    """`async with LittleWaha() as waha:` serves on `waha.url`."""

    key: str = KEY
    version: str = "2026.9.2"
    engine: str = "NOWEB"
    prefix: str = ""
    """A path below which it is served, as behind a proxy."""
    pace: float = 0.02
    hooks: Hooks = field(default_factory=Hooks)
    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lies: list[str] = field(default_factory=list)
    """Answers of its own that WAHA's description does not know; the block's end raises them."""
    most_at_once: int = 0
    acks: tuple[int, ...] = (1, 2)
    """What becomes of a message that was sent: SERVER, DEVICE; -1 is WhatsApp's refusal."""
    sent: list[Json] = field(default_factory=list)
    """Each send that was carried out: session, chat, id, text. The same id twice is one message to the other side."""
    seen: list[Json] = field(default_factory=list)
    """Bodies of sendSeen and of the typing calls."""
    known: dict[str, str | None] = field(default_factory=dict)
    """Phone numbers that are on WhatsApp, with their LID; empty: all are."""

    def __post_init__(self) -> None:
        self.environment = {
            "version": self.version,
            "engine": self.engine,
            "tier": "CORE",
            "browser": None,
            "platform": "linux/x64",
            "worker": {"id": "waha"},
        }
        self.sessions = Sessions(self.hooks, self.environment, self.pace)
        self.started = time.time()
        self._busy = 0
        self._running: asyncio.Future[None] | None = None

    # --- what tests do and ask ------------------------------------------------------------------------------------
    def fault(self, kind: int | str, calls: str = "", times: int = FOREVER) -> None:
        """From now on, that often, with calls whose `METHOD path` matches the expression."""
        self.faults.append(Fault(kind, calls, times))

    def hook(self, url: str, key: str = "", *events: str) -> None:
        """A global webhook."""
        self.hooks.common.append(Hook(url, events or ("*",), key))

    def called(self, pattern: str = "", since: float = 0.0) -> list[Call]:
        """Calls whose `METHOD path` matches, in order."""
        return [call for call in self.calls if call.at >= since and re.search(pattern, f"{call.method} {call.path}")]

    def receive(self, session: str, text: str, sender: str = "40722000111", id: str = "") -> str:
        """A phone writes; its id."""
        chosen = id or new_id()
        self.sessions.message(self.sessions.all[session], chosen, f"{sender}@c.us", text, mine=False)
        return chosen

    def texts(self, chat: str) -> list[str]:
        """What the other side of a chat got: each id once."""
        return list({one["id"]: str(one["text"]) for one in self.sent if one["chat"] == chat}.values())

    # --- life -----------------------------------------------------------------------------------------------------
    async def __aenter__(self) -> Self:
        await self.listen(0)
        return self

    async def listen(self, port: int) -> None:
        """Serve; 0: on a free port."""
        app = web.Application(middlewares=[self._guard])
        for method, path, what, model, status, asked in self._routes():
            app.router.add_route(method, self.prefix + path, self._held(what, model, status, asked))
        self._running = asyncio.get_running_loop().create_future()
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        server: Any = site._server
        self.port = int(server.sockets[0].getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}{self.prefix}"

    async def down(self) -> None:
        """Nobody listens any more; `listen(self.port)` brings it back with its sessions."""
        if self._running is not None and not self._running.done():
            self._running.set_result(None)  # what hangs ends
        await self._runner.cleanup()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sessions.stop_timers()
        await self.hooks.stop()
        await self.down()
        assert not self.lies, self.lies

    # --- every request ----------------------------------------------------------------------------------------------
    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        path = request.path.removeprefix(self.prefix)
        call = Call(time.time(), request.method, path, dict(request.query), await _body(request))
        self.calls.append(call)
        self._busy += 1
        self.most_at_once = max(self.most_at_once, self._busy)
        try:
            answer = await self._answer(request, call, handler)
            call.status = answer.status
            return answer
        finally:
            self._busy -= 1
            call.ended = time.time()

    async def _answer(
        self, request: web.Request, call: Call, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        fault = self._fault(call)
        if fault is not None and fault.kind != "lost":
            return await self._go_wrong(request, call, fault)
        try:
            if call.path != "/ping" and request.headers.get("X-Api-Key") != self.key:
                raise Refused(401, {"message": "Unauthorized", "statusCode": 401})
            request[BODY] = call.body
            answer = await handler(request)
        except Refused as refused:
            answer = web.json_response(refused.body, status=refused.status)
        except web.HTTPNotFound:
            body = {"message": f"Cannot {call.method} {call.path}", "error": "Not Found", "statusCode": 404}
            answer = web.json_response(body, status=404)
        if fault is not None:
            _cut(request)
        return answer

    def _fault(self, call: Call) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.calls, f"{call.method} {call.path}"):
                fault.times -= 1
                return fault
        return None

    async def _go_wrong(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        if isinstance(fault.kind, int):
            return web.json_response(self._trouble(call, fault.kind), status=fault.kind)
        if fault.kind == "garbage":
            return web.Response(text="<html><title>It works!</title>", content_type="text/html")
        if fault.kind == "cut":
            _cut(request)
            return web.Response()
        assert self._running is not None
        if fault.kind == "drip":
            answer = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100000"})
            await answer.prepare(request)
            while not self._running.done():
                await answer.write(b" ")
                await asyncio.sleep(0.05)
            return answer
        assert fault.kind == "hang", fault
        await asyncio.shield(self._running)
        return web.Response(status=503)

    def _trouble(self, call: Call, status: int) -> Json:
        """WAHA's body for an error that no request is to blame for."""
        if status == 401:
            return {"message": "Unauthorized", "statusCode": 401}
        if status == 422:
            name = call.path.split("/")[3] if call.path.startswith("/api/sessions/") else "default"
            name = str((call.body or {}).get("session") or name) if isinstance(call.body, dict) else name
            error = "Session status is not as expected. Try again later or restart the session"
            return {"error": error, "session": name, "status": "FAILED", "expected": ["WORKING"]}
        if status != 500:
            return {"message": "Something went wrong", "error": "Error", "statusCode": status}
        return {
            "statusCode": 500,
            "timestamp": datetime.now(UTC).isoformat(),
            "exception": {"message": "Cannot read properties of undefined", "name": "TypeError", "stack": "TypeError"},
            "request": {"path": call.path, "method": call.method, "body": call.body, "query": call.query},
            "version": self.environment,
        }

    # --- routes -----------------------------------------------------------------------------------------------------
    def _routes(self) -> list[tuple[str, str, Callable[[web.Request], Any], Any, int, Any]]:
        """Method, path, what answers, the model of its answer, its status, the model of the body that it wants."""
        m = models
        return [
            ("GET", "/ping", lambda _: {"message": "pong"}, m.PingResponse, 200, None),
            ("GET", "/api/server/version", lambda _: self.environment, m.WAHAEnvironment, 200, None),
            ("GET", "/api/version", lambda _: self.environment, m.WAHAEnvironment, 200, None),
            ("GET", "/api/server/status", self._status, m.ServerStatusResponse, 200, None),
            ("GET", "/health", lambda _: {"status": "ok", "info": {}, "error": {}, "details": {}}, None, 200, None),
            ("GET", "/api/sessions", self._list, m.SessionInfo, 200, None),
            ("POST", "/api/sessions", self._create, m.SessionDTO, 201, m.SessionCreateRequest),
            ("GET", "/api/sessions/{session}", self._info, m.SessionInfo, 200, None),
            ("PUT", "/api/sessions/{session}", self._put, m.SessionDTO, 200, m.SessionUpdateRequest),
            ("DELETE", "/api/sessions/{session}", self._delete, None, 200, None),
            ("GET", "/api/sessions/{session}/me", self._me, m.MeInfo, 200, None),
            ("POST", "/api/sessions/{session}/{order:start|stop|restart|logout}", self._order, m.SessionDTO, 201, None),
            ("GET", "/api/{session}/auth/qr", self._qr, None, 200, None),
            ("POST", "/api/{session}/auth/request-code", self._code, None, 201, m.RequestCodeRequest),
            ("POST", "/api/sendText", self._send, m.WAMessage, 201, m.MessageTextRequest),
            ("POST", "/api/sendSeen", self._note, None, 201, m.SendSeenRequest),
            ("POST", "/api/startTyping", self._note, None, 201, m.ChatRequest),
            ("POST", "/api/stopTyping", self._note, None, 201, m.ChatRequest),
            ("GET", "/api/contacts/check-exists", self._exists, m.WANumberExistResult, 200, None),
            ("GET", "/api/contacts/all", self._contacts, None, 200, None),
            ("GET", "/api/{session}/lids", self._lids, m.LidToPhoneNumber, 200, None),
            ("GET", "/api/{session}/new-message-id", self._new_id, m.NewMessageIDResponse, 200, None),
            ("GET", "/api/{session}/chats", self._chats, None, 200, None),
            ("GET", "/api/{session}/chats/overview", self._overview, m.ChatSummary, 200, None),
            ("GET", "/api/{session}/chats/{chat}/messages", self._messages, m.WAMessage, 200, None),
            ("GET", "/api/{session}/chats/{chat}/messages/{id}", self._message, m.WAMessage, 200, None),
        ]

    def _held(self, what: Callable[[web.Request], Any], model: Any, status: int, asked: Any) -> Any:
        """The handler, between the model of what it is asked with and the model of its answer."""

        async def handler(request: web.Request) -> web.StreamResponse:
            if asked is not None:
                _checked(asked, request[BODY])
            answer = what(request)
            if isinstance(answer, web.StreamResponse):
                return answer
            if model is not None and answer is not None:
                for one in answer if isinstance(answer, list) else [answer]:
                    self._true(model, one)
            if answer is None:
                return web.Response(status=status)
            return web.json_response(answer, status=status)

        return handler

    def _true(self, model: type[BaseModel], answer: Any) -> None:
        try:
            fits(model, answer)
        except ValidationError as error:
            self.lies.append(f"{model.__name__}: {error}")

    # --- sessions ---------------------------------------------------------------------------------------------------
    def _status(self, _: web.Request) -> Json:
        since = int(self.started * 1000)
        return {"startTimestamp": since, "uptime": int(time.time() * 1000) - since, "worker": {"id": "waha"}}

    def _list(self, request: web.Request) -> list[Json]:
        everything = request.query.get("all") == "true"
        return [one.info("waha") for one in self.sessions.all.values() if everything or one.status != "STOPPED"]

    def _create(self, request: web.Request) -> Json:
        body = request[BODY]
        # `start` left out does not start it, whatever the description says: WAHA's source has no default there.
        return self.sessions.create(body.get("name"), body.get("config") or {}, bool(body.get("start"))).dto()

    def _info(self, request: web.Request) -> Json:
        return self._session(request).info("waha")

    def _put(self, request: web.Request) -> Json:
        session = self._session(request)
        ran = session.status != "STOPPED"
        self.sessions.stop(session)
        session.config = request[BODY].get("config") or {}
        if ran:
            self.sessions.start(session)
        return session.dto()

    def _delete(self, request: web.Request) -> None:
        self.sessions.delete(request.match_info["session"])

    def _me(self, request: web.Request) -> Json | web.Response:
        name = request.match_info["session"]
        session = self.sessions.all.get(name)
        if session is None or session.status == "STOPPED":
            raise Refused.plain(404, f"We didn't find a session with name '{name}'.", "Not Found")
        return session.me() or web.json_response(None)

    def _order(self, request: web.Request) -> Json | None:
        name, order = request.match_info["session"], request.match_info["order"]
        if order == "stop" and name not in self.sessions.all:
            return None  # stop does not ask whether there is one
        session = self._session(request)
        getattr(self.sessions, order)(session)
        return session.dto()

    def _session(self, request: web.Request) -> Session:
        return self.sessions.get(request.match_info["session"])

    # --- pairing ----------------------------------------------------------------------------------------------------
    def _qr(self, request: web.Request) -> web.Response:
        session = self.sessions.working(request.match_info["session"], "SCAN_QR_CODE")
        kind = request.query.get("format", "image")
        if kind == "raw":
            fits(models.QRCodeValue, {"value": session.qr})
            return web.json_response({"value": session.qr})
        if kind != "image":
            raise Refused.plain(400, ["format must be one of the following values: image, raw"], "Bad Request")
        png = qr_png(session.qr)
        if request.headers.get("Accept") == "application/json":
            return web.json_response({"mimetype": "image/png", "data": base64.b64encode(png).decode()})
        return web.Response(body=png, content_type="image/png")

    def _code(self, request: web.Request) -> Json:
        self.sessions.working(request.match_info["session"], "SCAN_QR_CODE")
        phone = request[BODY]["phoneNumber"]
        if not re.fullmatch(r"\d{7,15}", phone):
            raise Refused.plain(400, ["phoneNumber must be a phone number"], "Bad Request")
        return {"code": f"{secrets.token_hex(2)}-{secrets.token_hex(2)}".upper()}

    # --- messages ---------------------------------------------------------------------------------------------------
    def _working(self, request: web.Request) -> Session:
        return self.sessions.working(self._name(request), "WORKING")

    @staticmethod
    def _name(request: web.Request) -> str:
        given = request.match_info.get("session") or request.query.get("session")
        return str(given or (request[BODY] or {}).get("session") or "default")

    def _send(self, request: web.Request) -> Json:
        session, body = self._working(request), request[BODY]
        chat = body["chatId"]
        if "@" not in chat:
            chat = f"{chat}@c.us"
        chooses = self.engine in ("NOWEB", "GOWS")
        chosen = (body.get("id") if chooses else None) or new_id()
        self.sent.append({"session": session.name, "chat": chat, "id": chosen, "text": body["text"]})
        if chosen in session.messages:
            return session.messages[chosen]
        message = dict(self.sessions.message(session, chosen, chat, body["text"], mine=True))
        loop = asyncio.get_running_loop()
        for number, level in enumerate(self.acks, 1):
            loop.call_later(number * self.pace, self.sessions.ack, session, chosen, level)
        return message

    def _note(self, request: web.Request) -> Json:
        self._working(request)
        self.seen.append({"path": request.path, **request[BODY]})
        return {}

    def _exists(self, request: web.Request) -> Json:
        self._working(request)
        phone = request.query["phone"]
        if self.known and phone not in self.known:
            return {"numberExists": False}
        return {"numberExists": True, "chatId": f"{phone}@c.us", "pn": f"{phone}@c.us"}

    def _contacts(self, request: web.Request) -> list[Json]:
        chats = {_chat(message) for message in self._working(request).messages.values()}
        return _page(request, [{"id": chat, "name": f"Friend {chat[:4]}", "pushname": None} for chat in sorted(chats)])

    def _lids(self, request: web.Request) -> list[Json]:
        self._working(request)
        pairs = [{"lid": lid, "pn": f"{phone}@c.us"} for phone, lid in self.known.items() if lid]
        return _page(request, pairs)

    def _new_id(self, request: web.Request) -> Json:
        self._working(request)
        return {"id": new_id()}

    def _by_chat(self, request: web.Request) -> dict[str, Json]:
        """The newest message of each chat, newest first."""
        found: dict[str, Json] = {}
        for message in reversed(self._working(request).messages.values()):
            found.setdefault(_chat(message), message)
        return found

    def _chats(self, request: web.Request) -> list[Json]:
        rows = [
            {"id": chat, "conversationTimestamp": last["timestamp"]} for chat, last in self._by_chat(request).items()
        ]
        return _page(request, rows)

    def _overview(self, request: web.Request) -> list[Json]:
        rows = [
            {"id": chat, "name": None, "picture": None, "lastMessage": last, "_chat": {"id": chat}}
            for chat, last in self._by_chat(request).items()
        ]
        return _page(request, rows)

    def _messages(self, request: web.Request) -> list[Json]:
        chat = request.match_info["chat"]
        rows = [one for one in self._working(request).messages.values() if chat in ("all", _chat(one))]
        since = float(request.query.get("filter.timestamp.gte", 0))
        rows = [one for one in rows if one["timestamp"] >= since]
        if (mine := request.query.get("filter.fromMe")) is not None:
            rows = [one for one in rows if one["fromMe"] == (mine == "true")]
        if request.query.get("sortOrder", "desc") == "desc":
            rows.reverse()
        return _page(request, rows)

    def _message(self, request: web.Request) -> Json:
        wanted = request.match_info["id"]
        for plain, message in self._working(request).messages.items():
            if wanted in (plain, message["id"]):
                return message
        raise Refused.plain(404, "Message not found", "Not Found")


def new_id() -> str:
    """An id as WhatsApp's own clients make them."""
    return f"3EB0{secrets.token_hex(8).upper()}"


def _chat(message: Json) -> str:
    return str(message["to"] if message["fromMe"] else message["from"])


def _page(request: web.Request, rows: list[Json]) -> list[Json]:
    limit, offset = int(request.query.get("limit", 20)), int(request.query.get("offset", 0))
    return rows[offset : offset + limit]


def _checked(model: type[BaseModel], body: Any) -> None:
    """Raises WAHA's 400, with what is wrong."""
    try:
        fits(model, body)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise Refused.plain(400, wrong, "Bad Request") from error


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.text() or "null")
    except ValueError:
        return None


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
