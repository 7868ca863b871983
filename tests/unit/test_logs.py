"""What is logged never shows a key, a message's text or a whole phone number, whoever logs it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from holdfast import logs
from holdfast.domain.errors import SessionNotFound

PHONE, KEY, TEXT = "40712345678", "s3cr3t-key", "meet me at noon"
Written = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    out = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", out)
        logs.setup(level="info", style="json", instance="one")
    structlog.configure(cache_logger_on_first_use=False)  # later tests have a configuration of their own
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def clean(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines, which show nothing that they must not."""
    assert lines
    for secret in (PHONE, KEY, TEXT):
        assert secret not in json.dumps(lines), lines
    return lines


@dataclass
class Row:
    text: str


@pytest.mark.parametrize(
    "said",
    [
        f"to {PHONE}",
        f"to +{PHONE}.",
        f'{{"phone":{PHONE}}}',
        f"{PHONE}@c.us",
        f"{PHONE}:12@s.whatsapp.net",
        f"{PHONE}_1:12@s.whatsapp.net",
        f"true_{PHONE}@c.us_3EB0AAAA",
        f"/api/shop/chats/{PHONE}@c.us/messages",
        f"{PHONE}-1600000000@g.us",
        f"GET /ws?session=*&x-api-key={KEY}&events=message",
        f"X-Api-Key: {KEY}",
        f"{{'X-Api-Key': '{KEY}'}}",
        f'"Authorization": "Bearer {KEY}"',
        f"bearer {KEY}",
        f"postgresql://me:{KEY}@db/holdfast",
    ],
)
def test_numbers_and_keys_are_masked_in_every_field(written: Written, said: str) -> None:
    structlog.get_logger("a").info(said, session="shop", detail=said, deep={"a": [said, {"b": (said,)}]})
    logging.getLogger("uvicorn.error").info("%s", said)
    ours, theirs = clean(written())
    assert (ours["session"], ours["instance"], ours["level"]) == ("shop", "one", "info")
    assert theirs["instance"] == "one"


def test_texts_are_left_out_by_field_and_kind(written: Written) -> None:
    structlog.get_logger("a").warning(
        "odd", text=TEXT, api_key=KEY, payload={"a": TEXT}, row=Row(TEXT), data=TEXT.encode(), error=ValueError(TEXT)
    )
    (line,) = clean(written())
    assert (line["text"], line["row"], line["data"], line["error"]) == ("(hidden)", "<Row>", "<bytes>", "ValueError")


def test_a_trace_says_where_but_not_what_users_wrote(written: Written) -> None:
    try:
        try:
            raise KeyError(TEXT)
        except KeyError as error:
            raise ExceptionGroup(TEXT, [ValueError(TEXT), SessionNotFound(f"No session of {PHONE}.")]) from error
    except ExceptionGroup as group:
        structlog.get_logger("a").error("request failed", exc_info=group)
        logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=group)
    for line in clean(written()):
        told = line["exception"]
        assert "test_logs.py" in told
        assert told.index("KeyError") < told.index("ExceptionGroup") < told.index("ValueError")
        assert "SessionNotFound: No session of +407****78." in told


def test_a_task_that_nobody_awaited_does_not_tell_either(written: Written) -> None:
    async def main() -> None:
        async def fails() -> None:
            raise ValueError(TEXT)

        task = asyncio.ensure_future(fails())
        await asyncio.wait({task})
        context = {"message": "Task exception was never retrieved", "exception": task.exception(), "future": task}
        asyncio.get_running_loop().call_exception_handler(context)

    asyncio.run(main())
    (line,) = clean(written())
    assert "never retrieved" in line["event"]
    assert "ValueError" in line["exception"]


def test_what_is_no_secret_stays(written: Written) -> None:
    said = "epoch 12 of f47ac10b-58cc-4372-a567-123456789012 at 1800000000.25; token expired, 250 messages"
    structlog.get_logger("a").info(said, count=1_800_000_000_000, path="/api/sessions/shop")
    (line,) = written()
    assert (line["event"], line["count"], line["path"]) == (said, 1_800_000_000_000, "/api/sessions/shop")
