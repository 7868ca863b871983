"""Pages and fragments out of templates, with the words and filters that all of them use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jinja2
from litestar import Response

from holdfast.api.base_path import base_path
from holdfast.domain import jids
from holdfast.domain.waha import to_waha_id

HERE = Path(__file__).parent
WORDS = {
    "WORKING": "Working",
    "SCAN_QR_CODE": "Scan QR code",
    "STARTING": "Starting",
    "FAILED": "Failed",
    "STOPPED": "Stopped",
}

templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def _when(stamp: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(stamp)) + " UTC" if stamp else "never"


def _ago(stamp: float | None, now: float) -> str:
    """How long ago, in the two words that people use."""
    if not stamp:
        return "never"
    seconds = max(0, int(now - stamp))
    for size, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {word} ago"
    return f"{seconds} s ago"


templates.filters["when"] = _when
templates.filters["ago"] = _ago
templates.filters["mask"] = jids.mask
templates.filters["waha_id"] = to_waha_id
templates.globals["words"] = WORDS
templates.globals["base"] = base_path


def page(name: str, status_code: int = 200, **facts: Any) -> Response[Any]:
    """A page or a fragment."""
    body = templates.get_template(name).render(**facts).encode()
    return Response(body, media_type="text/html", status_code=status_code)
