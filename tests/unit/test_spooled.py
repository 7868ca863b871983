"""Long strings are told from the rest of a JSON body, however it is cut; base64 is decoded piece by piece."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.api import spooled
from holdfast.api.spooled import Base64, Strings
from holdfast.domain.errors import InvalidMedia

TEXTS = st.text(max_size=30) | st.sampled_from(['"', "\\", '\\"', "a\\\\", "/", "ü\n\u2028"])
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


@given(before=VALUES, after=VALUES, size=st.integers(0, 40), cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_only_the_long_string_is_taken_out(before: object, after: object, size: int, cuts: list[int]) -> None:
    long = base64.b64encode(bytes(range(256)) * 2 + b"x" * size).decode().replace("/", "\\/")
    text = f'{{"before": {json.dumps(before)}, "data": "{long}", "after": {json.dumps(after)}}}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spooled, "LONG", 400)
        strings, runs = Strings(), []
        for piece in pieces_of(text.encode(), cuts):
            runs += strings.feed(piece)
    assert runs[-1] is None
    assert runs.count(None) == 1
    assert b"".join(run for run in runs if run is not None).decode() == long
    assert json.loads(strings.rest) == {"before": before, "data": "", "after": after}


@given(data=st.binary(max_size=500), cuts=st.lists(st.integers(0, 10_000), max_size=12), how=st.integers(0, 3))
def test_base64_in_pieces(data: bytes, cuts: list[int], how: int) -> None:
    text = base64.b64encode(data).decode()
    if how == 1:
        text = text.replace("/", "\\/")
    elif how == 2:
        text = "\\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    elif how == 3:
        text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    decoder = Base64()
    got = b"".join(decoder.feed(piece) for piece in pieces_of(text.encode(), cuts)) + decoder.end()
    assert got == data


def test_data_urls_are_understood() -> None:
    decoder = Base64()
    assert decoder.feed(b"data:image/png;base64,aGVs") + decoder.feed(b"bG8=") + decoder.end() == b"hello"


@pytest.mark.parametrize("text", [b"not base64!", b"aGVsbG8=aGVsbG8=", b"a", b"%%%%", b"aGVs\\u0041"])
def test_what_is_no_base64_is_refused(text: bytes) -> None:
    decoder = Base64()
    with pytest.raises(InvalidMedia, match="base64"):
        decoder.feed(text) + decoder.end()
