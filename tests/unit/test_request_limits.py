"""How large a request may be at which path, and that looking at its body takes time in proportion to its length."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.exceptions import HTTPException

from holdfast.api import request_limits
from holdfast.api.connections import LEAST_CONNECTIONS, MOST_CONNECTIONS, derived_limit
from holdfast.api.request_limits import DEPTH, VALUES, Budget, body_limit, check_outline
from holdfast.api.spooled import Strings
from holdfast.config import load

FORM = b"Application/X-WWW-form-urlencoded; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "content_type", "limit"),
    [
        ("/login", FORM, 4_096),
        ("/login", b"application/json", 4_096),
        ("/ping", b"", 4_096),
        ("/static/style.css", FORM, 4_096),
        ("/api/holdfast/peer", b"application/json", 1_000_000),
        ("/api/holdfast/waha/main/events", b"application/json", 1_000_000),
        ("/api/sendText", b"application/json", 900_000),
        ("/api/sendText", FORM, 65_536),
        ("/dashboard/s/a/send", FORM, 65_536),
        ("/api/sendFile", b"multipart/form-data", None),
        ("/api/sendFile", FORM, 65_536),
    ],
)
def test_limits_by_path(path: str, content_type: bytes, limit: int | None) -> None:
    assert body_limit(path, content_type, frozenset({"/api/sendFile"}), 900_000) == limit


def test_one_address_cannot_take_the_whole_budget() -> None:
    budget = Budget(400)
    assert budget.take("a", 200)
    assert not budget.take("a", 1)
    assert all(budget.take(other, 100) for other in "bc")
    assert not budget.take("d", 1)
    budget.give_back("a", 200)
    assert budget.take("d", 200)


@pytest.mark.parametrize(
    ("allowed", "in_use", "most"),
    [(64, 40, LEAST_CONNECTIONS), (256, 40, 144), (1024, 64, 640), (1_000_000, 64, MOST_CONNECTIONS)],
)
def test_connections_leave_room_for_the_rest(allowed: int, in_use: int, most: int) -> None:
    assert derived_limit(allowed, in_use) == most


MARKS = '{}[],:"\\'
TEXTS = st.text(alphabet=MARKS + "aü", max_size=12)
JSON = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict | list):
        return 1 + max((depth_of(part) for part in (value.values() if isinstance(value, dict) else value)), default=0)
    return 0


@given(value=JSON, step=st.integers(1, 40))
async def test_only_what_is_outside_of_strings_counts(value: object, step: int) -> None:
    """The same judgement as on the parsed value, wherever the steps end."""
    body = json.dumps(value, ensure_ascii=False).encode()
    too_deep = depth_of(value) > 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_limits, "STEP", step)
        patch.setattr(request_limits, "DEPTH", 2)
        if too_deep:
            with pytest.raises(HTTPException):
                await check_outline(body)
        else:
            await check_outline(body)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 500_000, 400),
        (b"[" + b"[]," * 300_000 + b"1]", 413),
        (b"[" + b"1," * VALUES + b"1,1]", 413),
        (b'{"a": ' * (DEPTH + 1), 400),
    ],
)
async def test_too_many_values_are_refused(body: bytes, status: int) -> None:
    with pytest.raises(HTTPException) as refused:
        await check_outline(body)
    assert refused.value.status_code == status


async def test_a_text_may_hold_any_character() -> None:
    for text in (",", "[", "{", '"', "\\", "]"):
        await check_outline(json.dumps({"text": text * 65_536, "more": [text * 65_536]}).encode())


@pytest.mark.parametrize("unit", [b"\\\\", b'\\"', b'"",', b'"\\', b"[", b'"' + b"a" * 70_000])
def test_no_body_takes_longer_than_in_proportion(unit: bytes) -> None:
    """Four times the body, and a step as long as all of it: the old scanner needed sixteen times as long."""

    def took(size: int) -> float:
        body = b'{"a": "' + unit * (size // len(unit))
        times = []
        for _ in range(3):
            began = time.thread_time()
            Strings().feed(body)
            times.append(time.thread_time() - began)
        return min(times)

    assert took(1_600_000) < 9 * took(400_000) + 0.01


def test_the_settings_take_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_HTTP_HEAD_TIMEOUT", "3")
    monkeypatch.setenv("HOLDFAST_MAX_CONNECTIONS", "7")
    monkeypatch.setenv("HOLDFAST_BODY_LIMIT", "5000")
    settings = load()
    assert (settings.connection_limits().head, settings.connection_limits().connections) == (3.0, 7)
    assert settings.body_limit == 5000
