"""Logs: JSON lines, or coloured text on a terminal; every line with instance, and session and code where there are.

Nothing here may show a key, a message's text or a whole phone number: what looks like a number or a JID is masked in
every value, whoever logs it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from holdfast.domain.jids import mask

_JID = re.compile(r"\b(\d{7,20})(?=(?::\d+)?@(?:s\.whatsapp\.net|c\.us|lid)\b)")
_PHONE = re.compile(r"(?<![\w.:-])\+?([1-9]\d{9,14})(?![\w.:-])")

Line = MutableMapping[str, Any]


def mask_numbers(_logger: Any, _method: str, line: Line) -> Line:
    """Mask what looks like a phone number or a JID in every text of the line."""
    for name, value in line.items():
        if isinstance(value, str) and name not in ("timestamp", "instance"):
            line[name] = _PHONE.sub(lambda m: mask(m.group(1)), _JID.sub(lambda m: mask(m.group(1)), value))
    return line


def setup(*, level: str, style: str, instance: str) -> None:
    """Configure logging for this process; the standard library's loggers go the same way."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _l, _m, line: {"instance": instance, **line},
        mask_numbers,
    ]
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
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
