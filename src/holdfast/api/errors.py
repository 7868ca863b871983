"""Errors as WAHA's clients know them: one mechanical mapping, no stack trace, nothing internal."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from holdfast.domain.errors import HeldElsewhere, HoldfastError, WrongStatus

log = structlog.get_logger(__name__)

RETRY_AFTER = "5"


def waha_error(status: int, message: str | list[str], **more: Any) -> Response[dict[str, Any]]:
    """`{"message", "error", "statusCode"}`."""
    body = {"message": message, "error": HTTPStatus(status).phrase, "statusCode": status, **more}
    return Response(body, status_code=status)


def on_holdfast_error(_request: Request[Any, Any, Any], error: HoldfastError) -> Response[dict[str, Any]]:
    """A domain error: its status, its sentence, its code."""
    if isinstance(error, WrongStatus):
        body = {"error": error.sentence, "code": error.code, **error.facts}
        return Response(body, status_code=error.http_status)
    if isinstance(error, HeldElsewhere):
        body = {"success": False, "error": error.sentence}
        return Response(body, status_code=error.http_status, headers={"Retry-After": RETRY_AFTER})
    answer = waha_error(error.http_status, error.sentence, code=error.code)
    if "retry_after" in error.facts:
        answer.headers["Retry-After"] = str(error.facts["retry_after"])
    elif error.retryable and error.http_status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = RETRY_AFTER
    if error.http_status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        answer.headers["Connection"] = "close"  # else all of the body would still be read
    return answer


def on_validation(request: Request[Any, Any, Any], error: ValidationException) -> Response[dict[str, Any]]:
    """A body or a parameter of the wrong form: each field with what is wrong with it."""
    extra = error.extra if isinstance(error.extra, list) else []
    parts = [
        f"{_as_sent(request, str(item.get('key', 'body')))}: {item.get('message', '')}"
        for item in extra
        if isinstance(item, dict)
    ]
    return waha_error(400, parts or [str(error.detail)])


def _as_sent(request: Request[Any, Any, Any], key: str) -> str:
    """The name that the client gave to what a handler calls otherwise."""
    field = request.route_handler.parsed_fn_signature.parameters.get(key)
    return str(getattr(field.kwarg_definition, "name", None) or key) if field is not None else key


def on_broken_json(_request: Request[Any, Any, Any], _error: SerializationException) -> Response[dict[str, Any]]:
    """Not JSON at all."""
    return waha_error(400, "The request body is not valid JSON.")


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """The framework's own: unknown path, wrong method, body too large."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return waha_error(404, f"Cannot {request.method} {request.url.path}")
    if isinstance(error.__cause__, SerializationException):
        return waha_error(400, f"The request body is not valid JSON: {error.detail}")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer = waha_error(405, f"{request.method} cannot be used on {request.url.path}.")
        answer.headers.update(error.headers or {})
        return answer
    if isinstance(error, RequestEntityTooLarge):
        return waha_error(413, "The request body is too large.")
    return waha_error(error.status_code, str(error.detail))


def on_bug(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """A mistake of ours: logged with its trace, told without it."""
    log.error("request failed", action="request", code="bug", path=request.url.path, exc_info=error)
    return waha_error(500, "Holdfast made a mistake with this request; its log says more.")


HANDLERS: dict[Any, Any] = {
    HoldfastError: on_holdfast_error,
    ValidationException: on_validation,
    SerializationException: on_broken_json,
    HTTPException: on_http_error,
    Exception: on_bug,
}
