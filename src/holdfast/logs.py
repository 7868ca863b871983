"""Logs: JSON lines, or coloured text on a terminal; every line with instance, and session and code where there are.

Nothing here may show a key, a message's text or a whole phone number, whoever logs it: every line, the standard
library's and exceptions included, is made fit to be shown just before it is written.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import structlog

from holdfast.domain.errors import HoldfastError
from holdfast.domain.jids import mask

Line = MutableMapping[str, Any]

HIDDEN = "(hidden)"
_SECRET_FIELDS = frozenset(
    {"api_key", "key", "keys", "password", "token", "text", "body", "content", "payload", "plaintext", "raw", "qr"}
)
_JID = re.compile(r"(?<!\d)(\d{5,20})(?=[\d_:.-]*@[a-z])")
_PHONE = re.compile(r"(?<![\w.-])\+?([1-9]\d{9,14})(?!\w|[.-]\d)")
_NAMED_SECRET = re.compile(
    r"(?i)((?:api[-_]?key|authorization|password|secret|token|hmac)[\"']?\s*[=:]\s*)[\"']?(?:bearer\s+)?[^\s&\"',;)}\]]+"
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)\S+")
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*@")
_TASK_ERROR = re.compile(r"(?s)(exception=\w+)\(.*\)(?=>)")
_TEXT_IS_OURS = (HoldfastError, OSError, ImportError, NameError, AttributeError, TypeError, RecursionError)
"""Errors whose text says nothing of what users wrote. All others, the databases' above all, may quote it."""


def shown(text: str) -> str:
    """The text without keys, and with phone numbers and JIDs masked."""
    text = _TASK_ERROR.sub(r"\1(…)", text)
    text = _LOGIN_IN_URL.sub(f"{HIDDEN}@", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", _NAMED_SECRET.sub(rf"\1{HIDDEN}", text))
    return _PHONE.sub(lambda m: mask(m.group(1)), _JID.sub(lambda m: mask(m.group(1)), text))


def _fit(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): HIDDEN if str(name) in _SECRET_FIELDS else _fit(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_fit(part) for part in value]
    if isinstance(value, BaseException):
        return _named(value)
    if isinstance(value, (Enum, PurePath)):
        return shown(str(value.value if isinstance(value, Enum) else value))
    return f"<{type(value).__name__}>"


def fit_to_be_shown(_logger: Any, _method: str, line: Line) -> Line:
    """The last step before a line is written: traces without foreign texts, no secrets, numbers masked."""
    error = _error_of(line.pop("exc_info", None))
    if error is not None:
        line["exception"] = "".join(_trace(error, set())).rstrip()
    kept = {name: line[name] for name in ("timestamp", "instance", "level") if name in line}
    return {**_fit(line), **kept}


def _error_of(given: Any) -> BaseException | None:
    """From what loggers accept as `exc_info`."""
    if isinstance(given, tuple):
        given = given[1]
    elif given is True:
        given = sys.exc_info()[1]
    return given if isinstance(given, BaseException) else None


def _trace(error: BaseException, seen: set[int]) -> Iterator[str]:
    """As Python prints it, causes first, but without texts that may quote what users wrote."""
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _trace(before, seen)
        yield "\nwhich led to:\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{_named(error)}\n"
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield "\nof the group:\n"
        yield from _trace(part, seen)


def _named(error: BaseException) -> str:
    kind = type(error).__qualname__
    if isinstance(error, _TEXT_IS_OURS):
        return f"{kind}: {shown(str(error))}"
    state = getattr(error, "sqlstate", None)
    return f"{kind} {state}" if isinstance(state, str) else kind


def setup(*, level: str, style: str, instance: str) -> None:
    """Configure logging for this process; the standard library's loggers go the same way."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _l, _m, line: {"instance": instance, **line},
    ]
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, fit_to_be_shown, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "aiohttp.access", "alembic", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
