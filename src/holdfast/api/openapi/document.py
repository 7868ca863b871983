"""The API's OpenAPI document: what the framework reads from the handlers, completed.

Added are the shapes of answers and errors, a sentence for each field and parameter, and examples of request bodies.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import OpenAPI
from typing_extensions import override

from holdfast.api.auth import OPEN_PATHS
from holdfast.api.openapi.answers import JSON_ANSWERS, OTHER_ANSWERS
from holdfast.api.openapi.fields import EXAMPLES, OPTIONAL_IN_EXAMPLES, SENTENCES

REF = "#/components/schemas/{name}"
RECENT_FACES = ("/api/whatsapp/", "/api/v1/waha/")
LISTS = 'While more rows follow: `<?…>; rel="next"`, relative to this address.'


class Error(msgspec.Struct, omit_defaults=True):
    """An error."""

    message: str | list[str]
    error: str
    statusCode: int  # noqa: N815 - WAHA's name
    code: str = ""


class StatusError(msgspec.Struct, omit_defaults=True):
    """The session's status does not allow the operation."""

    error: str
    code: str = ""
    session: str = ""
    status: str = ""
    expected: list[str] = []


class Unsent(msgspec.Struct):
    """WhatsApp refused the message."""

    error: str
    code: str


class PassiveError(msgspec.Struct):
    """Another instance holds the session and cannot be asked."""

    success: Literal[False]
    error: str


class FaultAnswer(msgspec.Struct):
    """An error in the form of these paths."""

    success: Literal[False]
    error: str
    code: str


ERRORS: dict[int, str] = {
    400: "The request is malformed: each field is named with what is wrong with it.",
    401: "The API key is missing or wrong.",
    403: "The browser's request comes from another origin.",
    404: "There is no such session, chat, message or path.",
    409: "It conflicts with what was accepted before.",
    410: "It was there, and is no longer.",
    413: "The request body is too large.",
    415: "The request body is not JSON.",
    422: "The request cannot be carried out as it is, or not in the session's status.",
    429: "Too many requests or failed sign-ins; `Retry-After` says when to try again.",
    503: "The database, the engine or the instance that holds the session is unavailable; try again.",
    507: "The database's disk is full.",
}


@dataclass
class CompletedOpenAPI(OpenAPI):
    """The document that is completed when it is written out."""

    @override
    def to_schema(self) -> dict[str, Any]:
        return completed(super().to_schema())


@dataclass
class CompletedConfig(OpenAPIConfig):
    """The configuration that makes such documents."""

    @override
    def to_openapi_schema(self) -> OpenAPI:
        plain = super().to_openapi_schema()
        return CompletedOpenAPI(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Complete a document in place. What has no sentence or shape stays without: the test suite finds it."""
    schemas: dict[str, Any] = document["components"].setdefault("schemas", {})
    schemas |= _shapes()
    for name, schema in schemas.items():
        for field, facts in schema.get("properties", {}).items():
            _describe(facts, name, field)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if isinstance(operation, dict) and "responses" in operation:
                _complete(operation, f"{method.upper()} {path}", schemas)
    return document


# --- answers ------------------------------------------------------------------------------------------------------


def _members(shape: Any) -> tuple[Any, ...]:
    return shape if isinstance(shape, tuple) else () if shape is None else (shape,)


def _types() -> list[Any]:
    answers = [one for by_status in JSON_ANSWERS.values() for shape in by_status.values() for one in _members(shape)]
    return [*answers, Error, StatusError, Unsent, PassiveError, FaultAnswer]


def _shapes() -> dict[str, Any]:
    return msgspec.json.schema_components(_types(), ref_template=REF)[1]


def _schema(shape: Any) -> dict[str, Any]:
    found, _ = msgspec.json.schema_components(_members(shape), ref_template=REF)
    return found[0] if len(found) == 1 else {"anyOf": list(found)}


def _complete(operation: dict[str, Any], name: str, schemas: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", []):
        parameter.setdefault("description", SENTENCES.get(parameter["name"], ""))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        _exemplify(content, schemas)
    if name in JSON_ANSWERS or name in OTHER_ANSWERS:
        operation["responses"] = {**_successes(operation, name), **_failures(operation, name)}


def _successes(operation: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    others = OTHER_ANSWERS.get(name, {})
    for status, shape in JSON_ANSWERS.get(name, {}).items():
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if shape is not None:
            answer["content"] = {"application/json": {"schema": _schema(shape)}}
        found[str(status)] = answer
    if others:
        answer = found.setdefault("200", {"description": HTTPStatus.OK.phrase})
        text = {"type": "string"}
        answer["content"] = {
            **answer.get("content", {}),
            **{kind: {"schema": {**text, "description": sentence}} for kind, sentence in others.items()},
        }
    if any(parameter["name"] == "limit" for parameter in operation.get("parameters", [])):
        found["200"]["headers"] = {"Link": {"schema": {"type": "string"}, "description": LISTS}}
    return found


# --- errors -------------------------------------------------------------------------------------------------------


def _failures(operation: dict[str, Any], name: str) -> dict[str, Any]:
    method, _, path = name.partition(" ")
    statuses = {503, 429}
    if path not in OPEN_PATHS:
        statuses |= {401, 403}
    if operation.get("parameters") or "requestBody" in operation:
        statuses |= {400, 404, 422}
    if "requestBody" in operation:
        statuses |= {413, 415}
    if method != "GET":
        statuses |= {409, 507}
    if path.startswith("/api/files/"):
        statuses |= {410}
    answered = JSON_ANSWERS.get(name, {})
    return {str(status): _failure(status, path) for status in sorted(statuses - answered.keys())}


def _failure(status: int, path: str) -> dict[str, Any]:
    kinds: list[Any] = [FaultAnswer] if path.startswith(RECENT_FACES) and status != 401 else [Error]
    if status == 422:
        kinds += [StatusError, Unsent]
    if status == 503:
        kinds += [PassiveError]
    answer: dict[str, Any] = {
        "description": ERRORS[status],
        "content": {"application/json": {"schema": _schema(tuple(kinds))}},
    }
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds to wait."}}
    return answer


# --- fields -------------------------------------------------------------------------------------------------------


def _describe(facts: dict[str, Any], owner: str, field: str) -> None:
    """Describe a field; OpenAPI 3.1 allows a description next to a reference."""
    if not facts.get("description"):
        facts["description"] = SENTENCES.get(f"{owner}.{field}") or SENTENCES.get(field, "")


def _exemplify(content: dict[str, Any], schemas: dict[str, Any]) -> None:
    schema = content.get("schema", {})
    schema = next((one for one in schema.get("oneOf", ()) if "$ref" in one), schema)  # an optional body
    owner = schema["$ref"].rpartition("/")[2] if "$ref" in schema else ""
    schema = schemas[owner] if owner else schema
    properties: dict[str, Any] = schema.get("properties", {})
    for field, facts in properties.items():
        _describe(facts, "", field)
    shown = [name for name in properties if name in schema.get("required", []) or name in OPTIONAL_IN_EXAMPLES]
    example = {name: EXAMPLES[name] for name in shown if name in EXAMPLES}
    own = {name: EXAMPLES[f"{owner}.{name}"] for name in properties if f"{owner}.{name}" in EXAMPLES}
    content["example"] = example | own
