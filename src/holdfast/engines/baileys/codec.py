"""The wire between Holdfast and a sidecar, pure: a 4-byte big-endian length, then one msgpack array.

Frames: `[1, id, method, args]` asks, `[2, id, value]` answers, `[3, id, code, sentence, number]` refuses (the number is
WhatsApp's, or 0), `[4, name, value]` tells. The twin is sidecar/src/frames.ts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack

REQUEST, RESULT, FAILURE, NOTE = 1, 2, 3, 4

_LENGTHS = {REQUEST: 4, RESULT: 3, FAILURE: 5, NOTE: 3}

MAX_FRAME = 256 * 1024 * 1024
"""Larger than any history sync chunk; a longer length means that the stream is out of step."""


class WireError(Exception):
    """The stream holds something that is no frame; it cannot be read any further."""


def encode(frame: list[Any]) -> bytes:
    """One frame with its length."""
    body: bytes = msgpack.packb(frame, use_bin_type=True)
    return len(body).to_bytes(4, "big") + body


class Decoder:
    """Cuts a byte stream into frames, however the pipe chops it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Frames that `data` completes. Raises `WireError` when the stream is damaged."""
        self._buffer += data
        start, end = 0, len(self._buffer)
        try:
            with memoryview(self._buffer) as view:
                while end - start >= 4:
                    size = int.from_bytes(view[start : start + 4], "big")
                    if size > MAX_FRAME:
                        raise WireError(f"a frame of {size} bytes is too long")
                    if end - start - 4 < size:
                        break
                    frame = _unpack(view[start + 4 : start + 4 + size])
                    start += 4 + size
                    yield frame
        finally:
            del self._buffer[:start]


def _unpack(body: memoryview) -> list[Any]:
    try:
        with body:
            frame = msgpack.unpackb(body, raw=False, strict_map_key=False, unicode_errors="replace")
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"not msgpack: {type(error).__name__}") from error
    if not isinstance(frame, list) or len(frame) < 3 or frame[0] not in (REQUEST, RESULT, FAILURE, NOTE):
        raise WireError("not a frame")
    if len(frame) != _LENGTHS[frame[0]]:
        raise WireError("a frame of the wrong length")
    return frame
