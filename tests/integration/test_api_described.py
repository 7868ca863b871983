"""The API's description is whole, its examples work, and no answer differs from it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from holdfast.api.openapi.answers import JSON_ANSWERS, OTHER_ANSWERS
from tests.support.served import KEY, Served, check

METHODS = ("get", "post", "put", "delete")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ENDLESS = "/api/holdfast/events"
EXAMPLES = 12
UNTRIED = (
    "/api/sessions/logout",
    "/api/sessions/{session}/logout",
    "/api/sessions/stop",
    "/api/holdfast/sessions/{session}/engine",
)
"""Operations whose examples would end the session, or need a WAHA server."""

pytestmark = [
    pytest.mark.timeout(400),
    # The server's thread uses `random` while a value is drawn: no strategy does.
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning"),
]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in document["paths"].items():
        for method in METHODS:
            if method in found:
                yield method, path, found[method]


async def described(it: Served) -> dict[str, Any]:
    found: dict[str, Any] = (await it.http.get("/docs/openapi.json")).json()
    return found


def test_everything_has_a_sentence_and_an_example(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        document = await described(it)
        for method, path, operation in operations(document):
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert all(parameter["description"] for parameter in operation.get("parameters", [])), where
            for content in operation.get("requestBody", {}).get("content", {}).values():
                assert content["example"], where
            assert f"{method.upper()} {path}" in {**JSON_ANSWERS, **OTHER_ANSWERS}, f"{where}: add it to answers.py"
        for name, schema in document["components"]["schemas"].items():
            for field, facts in schema.get("properties", {}).items():
                assert facts["description"], f"{name}.{field}"

    check(tmp_path, body)


def test_the_examples_work(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        document = await described(it)
        for method, path, operation in operations(document):
            media = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if media is None or path in UNTRIED:
                continue
            schema = {**media["schema"], "components": document["components"]}
            jsonschema_rs.validate(schema, media["example"])
            url = path.replace("{session}", "shop").replace("{id}", "120363000000000001@g.us")
            answer = await it.http.request(method, url, json=media["example"])
            if "Unknown method" in answer.text:
                continue  # a live call that only a real engine can answer
            assert answer.status_code not in (400, 415), f"{method} {path}: {answer.text}"
            assert answer.status_code < 500 or answer.status_code == 503, f"{method} {path}: {answer.text}"
            if path in ("/api/sendText", "/api/sendImage", "/api/sendFile"):
                assert answer.status_code == 201, answer.text

    check(tmp_path, body)


def test_no_answer_differs_from_the_description(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked()
        await it.http.post("/api/sendText", json={"session": "shop", "chatId": "40712345601@c.us", "text": "hello"})
        differing = await asyncio.to_thread(walk, it.url)
        assert not differing, "\n".join(differing)

    check(tmp_path, body)


def walk(url: str) -> list[str]:
    """Ask every operation, with values that its description allows and with others; what differs."""
    schema = schemathesis.openapi.from_url(f"{url}/docs/openapi.json", headers={"X-Api-Key": KEY})
    differing: list[str] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path != ENDLESS:
            ask(operation, url, differing)
    return differing


def ask(operation: Any, url: str, differing: list[str]) -> None:
    """Failures are collected: what an answer is depends on the requests before it, so nothing can be shrunk."""
    turn = count()

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(case: Any) -> None:
        if "session" in (case.path_parameters or {}) and next(turn) % 2:
            case.path_parameters["session"] = "shop"
        answer = case.call(base_url=url, headers={"X-Api-Key": KEY}, timeout=30)
        try:
            case.validate_response(answer, checks=CHECKS, headers={"X-Api-Key": KEY})
        except FailureGroup as failures:
            differing.append(f"{operation.label}: {failures.exceptions[0]}")

    one()
