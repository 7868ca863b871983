"""The wire between Holdfast and its sidecars: whatever is sent arrives, however the pipe chops it."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engines.baileys import codec

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
numbers = st.integers(0, 2**53)
frames = st.one_of(
    st.tuples(st.just(codec.REQUEST), numbers, st.text(), values),
    st.tuples(st.just(codec.RESULT), numbers, values),
    st.tuples(st.just(codec.FAILURE), numbers, st.text(), st.text(), st.integers(0, 999)),
    st.tuples(st.just(codec.NOTE), st.text(), values),
).map(list)


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 50), max_size=20))
def test_frames_survive_any_chopping(sent: list[list[object]], cuts: list[int]) -> None:
    stream = b"".join(codec.encode(frame) for frame in sent)
    decoder = codec.Decoder()
    received = []
    start = 0
    for cut in cuts:
        received += decoder.feed(stream[start : start + cut])
        start += cut
    received += decoder.feed(stream[start:])
    assert received == sent


@given(st.binary(min_size=1, max_size=64))
def test_damage_is_an_error_of_its_own_never_another(data: bytes) -> None:
    body = len(data).to_bytes(4, "big") + data
    try:
        unpacked = msgpack.unpackb(data, strict_map_key=False)
    except Exception:
        unpacked = None
    looks_right = isinstance(unpacked, list) and len(unpacked) in (3, 4) and unpacked[0] in (1, 2, 3, 4)
    try:
        frames = list(codec.Decoder().feed(body))
    except codec.WireError:
        return
    assert looks_right
    assert len(frames) == 1


@pytest.mark.parametrize(
    "frame",
    [{}, [], [9, 1, 2], [codec.REQUEST, 1, "m"], [codec.RESULT, 1, 2, 3], [codec.NOTE, "n", 1, 2], "text", 7],
)
def test_what_is_no_frame_is_refused(frame: object) -> None:
    body = msgpack.packb(frame)
    with pytest.raises(codec.WireError):
        list(codec.Decoder().feed(len(body).to_bytes(4, "big") + body))


def test_a_length_beyond_reason_is_refused_before_anything_is_buffered() -> None:
    with pytest.raises(codec.WireError, match="too long"):
        list(codec.Decoder().feed((codec.MAX_FRAME + 1).to_bytes(4, "big")))


def test_frames_before_the_damage_are_still_delivered() -> None:
    good = [codec.NOTE, "pong", 1]
    frames = codec.Decoder().feed(codec.encode(good) + codec.encode([9, 9, 9]))
    assert next(frames) == good
    with pytest.raises(codec.WireError):
        next(frames)


def test_text_that_is_no_utf8_does_not_break_the_stream() -> None:
    body = msgpack.packb([codec.NOTE, "n", "X"]).replace(b"\xa1X", b"\xa1\xff")
    assert list(codec.Decoder().feed(len(body).to_bytes(4, "big") + body)) == [[codec.NOTE, "n", "\ufffd"]]
