"""Database URLs as people and hosting platforms write them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

MEMORY = ":memory:"


def sqlite_path(url: str) -> str | None:
    """The file of an `sqlite:///...` URL (three slashes: relative, four: absolute), `:memory:`, or None for others."""
    scheme, _, rest = url.partition("://")
    if not scheme.startswith("sqlite"):
        return None
    path = unquote(rest.removeprefix("/").partition("?")[0])
    return MEMORY if path in ("", MEMORY) else str(Path(path).expanduser().absolute())


def is_postgres(url: str) -> bool:
    """`postgres://`, `postgresql://`, and SQLAlchemy's `postgresql+driver://`."""
    return url.partition("://")[0].partition("+")[0] in ("postgres", "postgresql")
