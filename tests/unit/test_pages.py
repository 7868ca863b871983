"""Pages end at their limit or when they grow large, repeat no row, and say whether more follow."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from holdfast.api.pages import CHUNK, MAX_PAGE_BYTES, read_page


class Rows:
    """A list in a store: `asked` holds how many rows each read wanted."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = list(rows)
        self.asked: list[int] = []

    async def __call__(self, limit: int, offset: int) -> list[int]:
        self.asked.append(limit)
        return self.rows[offset : offset + limit]


@given(count=st.integers(0, 400), size=st.integers(1, 300), offset=st.integers(0, 450))
async def test_a_page_is_what_a_slice_is(count: int, size: int, offset: int) -> None:
    fetch = Rows(range(count))
    found, more = await read_page(fetch, size, offset, key=lambda row: row)
    assert found == list(range(count))[offset : offset + size]
    assert more == (offset + size < count)
    assert max(fetch.asked) <= CHUNK


async def test_large_rows_end_a_page_early() -> None:
    fetch = Rows(range(1000))
    found, more = await read_page(fetch, 900, 0, weight=lambda _: MAX_PAGE_BYTES, key=lambda row: row)
    assert found == list(range(CHUNK))
    assert more


async def test_a_row_that_moves_on_is_not_repeated() -> None:
    fetch = Rows(range(200))

    async def moving(limit: int, offset: int) -> list[int]:
        found = await fetch(limit, offset)
        fetch.rows.insert(0, -1)  # a new row arrives between two reads
        return found

    found, _ = await read_page(moving, 120, 0, key=lambda row: row)
    assert len(found) == len(set(found))
    assert set(range(100)) <= set(found)
