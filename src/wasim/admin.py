"""The admin API: plays phones, sets faults, tells what the server saw. JSON in and out, on the socket's own port."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from wasim import devices, jid, versions
from wasim.accounts import Account, Device
from wasim.faults import ONCE, Fault, FaultError
from wasim.log import peer_of
from wasim.pairing import PairingError
from wasim.phone_actions import ACTIONS
from wasim.phone_contacts import PhoneError
from wasim.wire.messages import to_json
from wasim.wire.nodes import Node
from wasim.wire.schema import MESSAGE

if TYPE_CHECKING:
    from wasim.connection import Connection
    from wasim.server import WasimServer

MAX_WAIT = 60.0

Number = TypeVar("Number", int, float)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(ValueError):
    """A request that cannot be done; the message goes to the caller with status 400 (or ``status``)."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def add_routes(app: web.Application, wasim: WasimServer) -> None:
    """Add the admin API to ``app``."""
    api = Admin(wasim)
    for method, path, handler in (
        ("POST", "/admin/mock-phone/scan-qr", api.scan_qr),
        ("POST", "/admin/mock-phone/enter-code", api.enter_code),
        ("POST", "/admin/inject", api.inject),
        ("POST", "/admin/phones", api.add_phone),
        ("GET", "/admin/phones", api.list_phones),
        ("GET", "/admin/phones/{phone}/messages", api.messages),
        ("GET", "/admin/phones/{phone}/decrypted", api.decrypted),
        ("POST", "/admin/phones/{phone}/{action}", api.act),
        ("POST", "/admin/fault", api.fault),
        ("GET", "/admin/faults", api.faults),
        ("GET", "/admin/stats", api.stats),
        ("GET", "/admin/log", api.log),
        ("GET", "/admin/wait", api.wait),
        ("GET", "/admin/wa-version", api.version),
        ("GET", "/sw.js", api.service_worker),
        ("GET", "/", api.page),
    ):
        app.router.add_route(method, path, _guard(handler))


def _guard(handler: Handler) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except BadRequest as error:
            return web.json_response({"error": str(error)}, status=error.status)
        except (PairingError, FaultError, PhoneError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return guarded


class Admin:
    """The handlers."""

    def __init__(self, wasim: WasimServer) -> None:
        self._wasim = wasim
        self._hub = wasim.hub

    # -- phones

    async def scan_qr(self, request: web.Request) -> web.Response:
        """A phone scans the QR in the body."""
        phone = _phone(request.query["phone"]) if "phone" in request.query else None
        account = await self._wasim.pairings.scan(await request.text(), phone)
        return web.json_response(_account_view(account))

    async def enter_code(self, request: web.Request) -> web.Response:
        """The owner of ``phone`` types the code in the body."""
        phone = _phone(request.query.get("phone", ""))
        account = await self._wasim.pairings.enter_code(await request.text(), phone)
        return web.json_response(_account_view(account))

    async def inject(self, request: web.Request) -> web.Response:
        """The phone ``from`` writes ``text`` to ``to``."""
        body = await _json(request)
        text = body.get("text")
        if not isinstance(text, str) or not text:
            raise BadRequest("text must be a string that is not empty")
        sender = self._hub.accounts.create(_phone(str(body.get("from", ""))))
        target = await self._target(str(body.get("to", "")))
        phone = await self._wasim.phones.of(sender)
        message_id = await _awaited(phone.send_text(target, text))
        return web.json_response({"id": message_id, "from": str(sender.pn), "to": target})

    async def _target(self, text: str) -> str:
        parsed = jid.parse(text)
        if parsed is not None and parsed.server not in (jid.PN, jid.LID):
            return str(parsed)
        account = self._hub.accounts.find(parsed) or self._hub.accounts.create(_phone(text))
        await self._wasim.phones.of(account)
        return str(account.address(parsed.server if parsed else jid.PN))

    async def add_phone(self, request: web.Request) -> web.Response:
        """Make the account of ``phone``, with ``name``, unless it exists."""
        body = await _json(request)
        account = self._hub.accounts.create(_phone(str(body.get("phone", ""))), str(body.get("name", "")))
        phone = await self._wasim.phones.of(account)
        if "auto_reply" in body:
            phone.auto_reply = body["auto_reply"]
        return web.json_response(_account_view(account))

    async def list_phones(self, request: web.Request) -> web.Response:
        """All accounts with their devices."""
        views = [_account_view(account) for account in self._hub.accounts]
        for view in views:
            for device in view["devices"]:
                device["online"] = device["jid"] in self._hub.links
        return web.json_response(views)

    def _existing(self, request: web.Request) -> Any:
        number = _phone(request.match_info["phone"])
        phone = self._wasim.phones.get(number)
        if phone is None:
            raise BadRequest(f"there is no phone {number}", 404)
        return phone

    async def messages(self, request: web.Request) -> web.Response:
        """What a phone received and decrypted, and the receipts it saw."""
        phone = self._existing(request)
        received = [_plain(message) for message in phone.messages]
        return web.json_response({"messages": received, "receipts": [_plain(r) for r in phone.receipts]})

    async def decrypted(self, request: web.Request) -> web.Response:
        """Every message that a phone decrypted, as protobuf's JSON with its stanza's attributes, oldest first.

        ``id`` limits it to one message.
        """
        phone, wanted = self._existing(request), request.query.get("id")
        opened = [(attrs, body) for attrs, body in phone.received.decrypted if wanted in (None, attrs.get("id"))]
        return web.json_response(
            [{"id": attrs.get("id"), "stanza": attrs, "message": to_json(MESSAGE, body)} for attrs, body in opened]
        )

    async def act(self, request: web.Request) -> web.Response:
        """Let a phone do something (``phone_actions``)."""
        phone, body = self._existing(request), _addressed(await _json(request))
        action = ACTIONS.get(request.match_info["action"])
        if action is None:
            known = ", ".join(ACTIONS)
            raise BadRequest(f"a phone cannot {request.match_info['action']!r}; it can {known}", 404)
        return web.json_response({"result": await action(phone, body)})

    # -- faults

    async def fault(self, request: web.Request) -> web.Response:
        """Set or strike a fault."""
        body = await _json(request)
        fault = self._hub.faults.make(body)
        self._hub.journal.note("fault", fault=fault.view())
        if fault.kind == "clear":
            return web.json_response({"cleared": self._hub.faults.clear(fault.jid, fault.options.get("of"))})
        if fault.kind in ONCE:
            return web.json_response({"struck": self._strike(fault)})
        self._hub.faults.add(fault)
        if fault.kind == "outage":
            for connection in list(self._wasim.connections):
                connection.abort("fault outage")
        return web.json_response(fault.view())

    def _strike(self, fault: Fault) -> int:
        if fault.kind == "expire_media":
            if fault.options.get("everywhere"):
                for phone in self._wasim.phones.all().values():
                    phone.files.forget()
            return self._wasim.media.expire() if self._wasim.media else 0
        if fault.kind == "mex":
            return self._notify_mex(fault)
        if fault.kind in ("logout", "unlisted"):
            targets = self._companions(fault)
            for device in targets:
                if fault.kind == "logout":
                    devices.unlink(self._hub, device, "unlinked on the phone")
                else:
                    devices.unlist(self._hub, device)
            return len(targets)
        struck = [c for c in list(self._wasim.connections) if fault.strikes(c.names)]
        for connection in struck:
            _STRIKES[fault.kind](connection, fault)
        return len(struck)

    def _notify_mex(self, fault: Fault) -> int:
        """WhatsApp's GraphQL tells of a change of its own accord."""
        update = Node(
            "update", {"op_name": str(fault.options["op"])}, json.dumps({"data": fault.options["data"]}).encode()
        )
        targets = self._companions(fault)
        for device in targets:
            self._hub.notify(device, "mex", [update])
        return len(targets)

    def _companions(self, fault: Fault) -> list[Device]:
        return [d for account in self._hub.accounts for d in account.companions if fault.strikes(d.names)]

    async def faults(self, request: web.Request) -> web.Response:
        """The faults in force."""
        return web.json_response([fault.view() for fault in self._hub.faults.active()])

    # -- what it saw

    async def stats(self, request: web.Request) -> web.Response:
        """Counters and sizes."""
        hub = self._hub
        online = [name for name in hub.links if ":" in name]
        queued = sum(len(d.queue) for a in hub.accounts for d in a.devices.values())
        return web.json_response(
            {
                "accounts": len(hub.accounts), "connections": len(self._wasim.connections), "online": len(online),
                "pairing": len(self._wasim.pairings.waiting), "queued": queued, "seq": hub.journal.seq,
                "uptime": round(hub.now() - self._wasim.started_at, 3), "counts": dict(hub.journal.counts),
                "attempts": hub.attempts,
            }
        )  # fmt: skip

    async def log(self, request: web.Request) -> web.Response:
        """Records after ``since``, of ``jid`` and ``kind`` (comma-separated), oldest first."""
        since, who, kinds = _filter(request)
        return web.json_response(self._hub.journal.read(since, who, kinds, _number(request, "limit", 10_000)))

    async def wait(self, request: web.Request) -> web.Response:
        """Like ``log``, but waits for the first match, up to ``timeout`` seconds (30); then an empty list."""
        since, who, kinds = _filter(request)
        timeout = min(_number(request, "timeout", 30.0), MAX_WAIT)
        return web.json_response(await self._hub.journal.wait(since, who, kinds, timeout))

    async def version(self, request: web.Request) -> web.Response:
        """The WhatsApp Web version that counts as current."""
        current = versions.current(self._hub.faults.active())
        text = versions.write(current)
        return web.json_response({"version": list(current), "currentVersion": text, "isBroken": False})

    async def service_worker(self, request: web.Request) -> web.Response:
        """The script in which clients look up the current version."""
        return self._told_version(request, versions.service_worker, "text/javascript")

    async def page(self, request: web.Request) -> web.Response:
        """The page in which clients look up the current version."""
        return self._told_version(request, versions.page, "text/html")

    def _told_version(self, request: web.Request, form: Callable[[versions.Version], str], kind: str) -> web.Response:
        current = versions.current(self._hub.faults.active())
        self._hub.journal.note(
            "version-asked", path=request.path, version=versions.write(current), peer=peer_of(request)
        )
        return web.Response(text=form(current), content_type=kind)


def _drop(connection: Connection, fault: Fault) -> None:
    connection.abort("fault drop")


def _stream_error(connection: Connection, fault: Fault) -> None:
    options = fault.options
    attrs = {"code": str(options["code"])} if "code" in options else {}
    children = []
    if "conflict" in options:
        children.append(Node("conflict", {"type": str(options["conflict"])}))
    elif "tag" in options:
        children.append(Node(str(options["tag"]), {"type": str(options["type"])} if "type" in options else {}))
    connection.end(devices.stream_error(attrs, *children), "fault stream_error")


def _corrupt(connection: Connection, fault: Fault) -> None:
    connection.corrupt()


def _unknown(connection: Connection, fault: Fault) -> None:
    connection.send(Node(str(fault.options.get("tag", "wasim-unknown")), {"from": jid.SERVER, "id": "unknown-1"}))


def _deafen(connection: Connection, fault: Fault) -> None:
    connection.deaf = True


_STRIKES: dict[str, Callable[[Connection, Fault], None]] = {
    "drop": _drop,
    "stream_error": _stream_error,
    "corrupt_frame": _corrupt,
    "unknown_frame": _unknown,
    "deaf": _deafen,
}


def _account_view(account: Account) -> dict[str, Any]:
    listed = [
        {
            "jid": str(d.pn), "lid": str(d.lid), "id": d.id, "platform": d.platform, "pre_keys": len(d.pre_keys),
            "queued": len(d.queue), "available": d.available,
        }
        for d in account.devices.values()
    ]  # fmt: skip
    return {
        "phone": account.phone, "jid": str(account.pn), "lid": str(account.lid), "name": account.name, "devices": listed
    }  # fmt: skip


def _phone(text: str) -> str:
    number = jid.phone_number(text)
    if number is None:
        raise BadRequest(f"{text!r} is no phone number; write digits with country code, 7 to 15 of them")
    return number


def _addressed(body: dict[str, Any]) -> dict[str, Any]:
    """Let people be named by plain number, by address and by LID alike."""
    found = dict(body)
    if isinstance(body.get("chat"), str):
        found["chat"] = _address(body["chat"])
    for name in ("members", "add", "remove", "promote", "demote"):
        if isinstance(body.get(name), list):
            found[name] = [_address(one) if isinstance(one, str) else one for one in body[name]]
    return found


def _address(text: str) -> str:
    parsed = jid.parse(text)
    return str(parsed) if parsed is not None else str(jid.Jid(_phone(text), jid.PN))


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def _number(request: web.Request, name: str, default: Number) -> Number:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = type(default)(text)
    except ValueError:
        raise BadRequest(f"{name} must be a number, it is {text!r}") from None
    return value


def _filter(request: web.Request) -> tuple[int, str | None, frozenset[str]]:
    kinds = frozenset(filter(None, request.query.get("kind", "").split(",")))
    return _number(request, "since", 0), request.query.get("jid"), kinds
