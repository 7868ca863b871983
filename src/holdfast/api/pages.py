"""Pages of lists: their default sizes, the largest one, and a `Link` header wherever more rows follow.

A page is read from the store in chunks and ends early when it grows large, so that no client's `limit` decides how much
memory an answer takes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from litestar import Request, Response
from litestar.params import QueryParameter

CHATS_PAGE = 25
MESSAGES_PAGE = 50
CHUNK = 50
"""Rows that are read at a time."""
MAX_PAGE_BYTES = 8_000_000
"""Size of the rows of a page, in bytes, from which on no further chunk is read."""
COUNTABLE = 2**31 - 1
Limit = Annotated[int | None, QueryParameter(ge=1)]
"""Rows wanted. Absent: the list's default."""
Offset = Annotated[int, QueryParameter(ge=0)]
"""Rows passed over."""
Row = TypeVar("Row")


def page_size(request: Request[Any, Any, Any], limit: int | None, default: int) -> int:
    """Return how many rows a page has: what was asked for, up to `HOLDFAST_PAGE_LIMIT`."""
    most: int = request.app.state["page_limit"]
    return min(default if limit is None else limit, most)


def skip(offset: int) -> int:
    """Return how many rows to pass over: not more than a database counts."""
    return min(offset, COUNTABLE)


async def read_page(
    fetch: Callable[[int, int], Awaitable[Sequence[Row]]],
    size: int,
    offset: int,
    *,
    weight: Callable[[Row], int] = lambda _: 0,
    key: Callable[[Row], object] = id,
) -> tuple[list[Row], bool]:
    """Read up to `size` rows in chunks.

    Args:
        fetch: Reads rows, given a limit and an offset.
        size: Rows of the page.
        offset: Rows passed over.
        weight: A row's size in bytes; a page ends with the chunk that exceeds `MAX_PAGE_BYTES`.
        key: What identifies a row: one that moved into the next chunk meanwhile is not repeated.

    Returns:
        The rows, and whether more follow.
    """
    rows: list[Row] = []
    known: set[object] = set()
    read = total = 0
    while True:
        wanted = min(CHUNK, size + 1 - read)
        chunk = await fetch(wanted, min(offset + read, COUNTABLE))
        read += len(chunk)
        for row in chunk:
            if key(row) not in known:
                known.add(key(row))
                rows.append(row)
                total += weight(row)
        if len(rows) > size or (total > MAX_PAGE_BYTES and len(chunk) == wanted):
            return rows[:size], True
        if len(chunk) < wanted or read > size:
            return rows, False


def with_next(
    request: Request[Any, Any, Any], items: Sequence[Any], more: bool, **following: int
) -> Response[Sequence[Any]]:
    """Answer a list; `more`: rows follow, at the same address with the parameters `following`.

    The link is relative (a query alone), so that it holds behind any proxy and base path.
    """
    if not more:
        return Response(items)
    query = [pair for pair in parse_qsl(request.url.query, keep_blank_values=True) if pair[0] not in following]
    query += [(name, str(value)) for name, value in following.items()]
    return Response(items, headers={"Link": f'<?{urlencode(query)}>; rel="next"'})
