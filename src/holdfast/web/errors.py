"""What a person in the dashboard sees when something is wrong: a page, or a sentence on the page that is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from litestar import Request, Response

from holdfast.domain.errors import SessionNotFound
from holdfast.web.render import page

Handler = Callable[[Request[Any, Any, Any], Any], Response[Any]]


def with_pages(handlers: Mapping[Any, Handler]) -> dict[Any, Any]:
    """The API's error handlers, whose answers become HTML below `/dashboard`."""
    return {kind: _with_page(handler) for kind, handler in handlers.items()}


def _with_page(handler: Handler) -> Handler:
    def handle(request: Request[Any, Any, Any], error: Any) -> Response[Any]:
        answer = handler(request, error)
        if not request.url.path.startswith("/dashboard"):
            return answer
        fragment = "hx-request" in request.headers
        shown = page(
            "_error.html" if fragment else "error.html", answer.status_code or 500, message=_sentence(answer.content)
        )
        shown.headers.update(answer.headers)
        if fragment and isinstance(error, SessionNotFound):
            shown.headers["HX-Refresh"] = "true"  # it was deleted under an open page, which now says so
        return shown

    return handle


def _sentence(said: Mapping[str, Any]) -> str:
    message = said.get("message") or said.get("error")
    if isinstance(message, list):
        message = " ".join(str(part) for part in message)
    text = str(message)
    return "There is no such page." if text.startswith("Cannot ") else text
