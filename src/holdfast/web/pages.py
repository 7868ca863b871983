"""The dashboard's pages and fragments. They hold no state: whatever is shown was asked from the gateway just now."""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import segno
from litestar import Request, Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect

from holdfast.api.auth import COOKIE, COOKIE_LIFETIME, COOKIE_OVER_TLS, Guard, address_of, is_secure, session_ids
from holdfast.api.common import gateway_of, waha_message
from holdfast.domain.errors import HoldfastError, TooManyWrongKeys, WrongNumber
from holdfast.ports.gateway import SessionView
from holdfast.web.homes import config_at, homes_of, label_of, move
from holdfast.web.render import HERE, page

Req = Request[Any, Any, Any]

STATIC = {path.name: path for path in (HERE / "static").iterdir() if path.is_file()}
"""What may be asked for, by name."""

OTHER_ORIGIN = (
    "The browser says that another site's page sent this form. Sign in here; behind a proxy that changes the header "
    "Host, set HOLDFAST_PUBLIC_URL."
)

# --- login ------------------------------------------------------------------------------------------------------


class Login(msgspec.Struct):
    """The login form."""

    key: str = ""


class NewSession(msgspec.Struct):
    """The form that adds a session."""

    name: str = ""
    home: str = ""


class PhoneForm(msgspec.Struct):
    """The form that asks for a pairing code."""

    phone: str = ""


class TextForm(msgspec.Struct):
    """The form that sends a message."""

    chat: str = ""
    text: str = ""


@get("/", include_in_schema=False)
async def home() -> Redirect:
    """The dashboard is the front page."""
    return Redirect("/dashboard")


@get("/login", include_in_schema=False)
async def login_page() -> Response[Any]:
    """Asks for the API key."""
    return page("login.html", error="")


@post("/login", include_in_schema=False)
async def login(request: Req, data: URLEncodedBody[Login]) -> Response[Any]:
    """The key for a cookie that is good for a week."""
    guard: Guard = request.app.state.guard
    if not guard.is_own_page(request.scope):
        return page("login.html", 403, error=OTHER_ORIGIN)
    if not await guard.access.is_key(data.key.strip()):
        refused = guard.access.wrong_key("login", address_of(request.scope))
        if isinstance(refused, TooManyWrongKeys):
            answer = page("login.html", refused.http_status, error=refused.sentence)
            answer.headers["Retry-After"] = str(refused.facts["retry_after"])
            return answer
        return page("login.html", 401, error="That is not the API key.")
    cookie = _cookie(request, await guard.access.sign_in(), COOKIE_LIFETIME)
    return Redirect("/dashboard", status_code=303, cookies=[cookie])


@post("/logout", include_in_schema=False)
async def logout(request: Req) -> Response[Any]:
    """End the session, and forget the cookie."""
    guard: Guard = request.app.state.guard
    for session_id in session_ids(dict(request.scope["headers"])):
        await guard.access.sign_out(session_id)
    return Response(b"", headers={"HX-Redirect": "/login"}, cookies=[_cookie(request, "", 0)])


def _cookie(request: Req, value: str, lifetime: int) -> Cookie:
    secure = is_secure(request.scope)
    name = COOKIE_OVER_TLS if secure else COOKIE
    return Cookie(name, path="/", value=value, max_age=lifetime, httponly=True, samesite="strict", secure=secure)


@get("/static/{name:str}", include_in_schema=False)
async def static(name: FromPath[str]) -> Response[Any]:
    """Style, scripts, icon."""
    path = STATIC.get(name)
    if path is None:
        raise NotFoundException
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(path.read_bytes(), media_type=kind, headers={"Cache-Control": "public, max-age=3600"})


@get("/favicon.ico", include_in_schema=False)
async def favicon() -> Redirect:
    """The icon's older address."""
    return Redirect("/static/icon.svg")


# --- pages ------------------------------------------------------------------------------------------------------


@get("/dashboard", include_in_schema=False)
async def dashboard(request: Req) -> Response[Any]:
    """All sessions."""
    gateway = gateway_of(request)
    sessions, instances = await gateway.sessions(), await gateway.instances()
    homes = homes_of(gateway)
    return page("dashboard.html", sessions=sessions, instances=instances, homes=homes, now=gateway.now())


@get("/dashboard/instances", include_in_schema=False)
async def instance_list(request: Req) -> Response[Any]:
    """The table of the instances, for its own renewal."""
    gateway = gateway_of(request)
    return page("_instances.html", instances=await gateway.instances(), now=gateway.now())


@get("/dashboard/list", include_in_schema=False)
async def session_list(request: Req) -> Response[Any]:
    """The table of the sessions, for its own renewal."""
    gateway = gateway_of(request)
    return page("_sessions.html", sessions=await gateway.sessions(), now=gateway.now())


@post("/dashboard/add", include_in_schema=False)
async def add(request: Req, data: URLEncodedBody[NewSession]) -> Response[Any]:
    """Make a session and go to its page, where the QR is on show."""
    try:
        view = await gateway_of(request).create(data.name.strip() or None, config_at(data.home), start=True)
    except HoldfastError as error:
        return page("_error.html", message=error.sentence)
    return Response(b"", headers={"HX-Redirect": f"/dashboard/s/{view.name}"})


@get("/dashboard/s/{name:str}", include_in_schema=False)
async def session_page(request: Req, name: FromPath[str]) -> Response[Any]:
    """One session."""
    return page("session.html", **await _facts(request, name))


@get("/dashboard/s/{name:str}/state", include_in_schema=False)
async def session_state(request: Req, name: FromPath[str]) -> Response[Any]:
    """Status and pairing of one session, for their own renewal."""
    return page("_state.html", **await _facts(request, name))


@get("/dashboard/s/{name:str}/history", include_in_schema=False)
async def session_history(request: Req, name: FromPath[str]) -> Response[Any]:
    """Timeline and messages of one session, for their own renewal."""
    return page("_history.html", **await _facts(request, name))


async def _facts(request: Req, name: str) -> dict[str, Any]:
    gateway = gateway_of(request)
    view = await gateway.session(name)
    rows = await gateway.messages(name, None, 12, 0)
    return {
        "session": view,
        "lives": label_of(view),
        "homes": {value: label for value, label in homes_of(gateway).items() if label != label_of(view)},
        "now": gateway.now(),
        "timeline": await gateway.timeline(name, 12),
        "messages": [waha_message(row, view.me) for row in rows],
        **await _pairing(request, view),
    }


async def _pairing(request: Req, view: SessionView) -> dict[str, Any]:
    """What a phone can scan or type, where the session is pairing."""
    if view.status != "SCAN_QR_CODE":
        return {"qr": None, "code": None}
    try:
        pairing = await gateway_of(request).pairing(view.name, wait=0.5)
    except HoldfastError:
        return {"qr": None, "code": None}
    qr = segno.make(pairing.qr, error="m").svg_data_uri(scale=6, border=3) if pairing.qr else None
    code = f"{pairing.code[:4]}-{pairing.code[4:]}" if pairing.code else None
    return {"qr": qr, "code": code, "pairing_until": pairing.pairing_until}


@post("/dashboard/s/{name:str}/{order:str}", include_in_schema=False)
async def order(request: Req, name: FromPath[str], order: FromPath[str]) -> Response[Any]:
    """Connect, stop, restart, log out, or link with another number."""
    gateway = gateway_of(request)
    orders: dict[str, Callable[[str], Awaitable[object]]] = {
        "start": gateway.start,
        "stop": gateway.stop,
        "restart": gateway.restart,
        "logout": gateway.logout,
        "change-number": partial(gateway.pair, new_number=True),
    }
    if order not in orders:
        raise NotFoundException
    await orders[order](name)
    return page("_state.html", **await _facts(request, name))


@post("/dashboard/s/{name:str}/code", include_in_schema=False)
async def code(request: Req, name: FromPath[str], data: URLEncodedBody[PhoneForm]) -> Response[Any]:
    """A pairing code for a phone number."""
    try:
        await gateway_of(request).request_code(name, data.phone)
    except WrongNumber as error:
        return page("_another_number.html", message=error.sentence, of=name)
    except HoldfastError as error:
        return page("_error.html", message=error.sentence)
    return page("_error.html", message="")


@post("/dashboard/s/{name:str}/send", include_in_schema=False)
async def send(request: Req, name: FromPath[str], data: URLEncodedBody[TextForm]) -> Response[Any]:
    """A test message."""
    try:
        row = await gateway_of(request).send(name, data.chat, {"type": "text", "text": data.text}, wait=10.0)
    except HoldfastError as error:
        return page("_error.html", message=error.sentence)
    return page("_sent.html", row=row)


@delete("/dashboard/s/{name:str}", status_code=200, include_in_schema=False)
async def remove(request: Req, name: FromPath[str]) -> Response[Any]:
    """Log out and delete all of it."""
    await gateway_of(request).delete(name)
    return Response(b"", headers={"HX-Redirect": "/dashboard"})


PAGES = (
    home,
    login_page,
    login,
    logout,
    static,
    favicon,
    dashboard,
    session_list,
    instance_list,
    add,
    session_page,
    session_state,
    session_history,
    move,
    order,
    code,
    send,
    remove,
)
