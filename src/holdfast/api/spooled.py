"""Bodies with files, taken in as they come: a file never lies in memory as a whole.

JSON may carry one as base64, which makes one endless string; multipart carries it as it is. What is left of the body
without the file must fit in memory, and is bounded.
"""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from litestar import Request
from litestar.exceptions import ClientException, HTTPException
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from holdfast.api.intake import parsed_json
from holdfast.api.request_limits import INSIDE, OUTSIDE, check_outline, match_end
from holdfast.domain.errors import BadRequest, InvalidMedia
from holdfast.domain.file_types import clean_name
from holdfast.ports.gateway import Gateway
from holdfast.ports.media import Upload

LONG = 65_536
"""A JSON string of more characters is a file; no text that WhatsApp takes has so many."""
STEP = 16_384
"""Bytes of a body that are parsed before others get their turn."""
REST = 1_000_000
"""Bytes of a body beside its file."""
NOT_BASE64 = "The file's data is not base64."


@dataclass
class Body:
    """What came: the fields, and the file, which whoever has this uses up or discards."""

    fields: dict[str, Any] = field(default_factory=dict)
    upload: Upload | None = None


async def spooled(request: Request[Any, Any, Any], gateway: Gateway) -> Body:
    """The body of a request that may carry a file. Raises `MediaTooLarge`, `InvalidMedia`, and 400 or 415."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    said = request.headers.get("content-length", "")
    length = int(said) if said.isdigit() else None
    if kind == "multipart/form-data":
        gateway.check_file_size(None if length is None else length - REST)
        return await _multipart(request, gateway, options.get("boundary", ""))
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException("Send the body as JSON or multipart/form-data.", status_code=415)
    gateway.check_file_size(None if length is None else length * 3 // 4 - REST)
    return await _json(request, gateway)


# --- JSON --------------------------------------------------------------------------------------------------------


class Strings:
    """Tells a long string of JSON from the rest, piece by piece; what is left in its place is an empty string.

    `feed` gives runs of characters of long strings, as they stand between the quotes; None ends one.
    """

    def __init__(self) -> None:
        self.rest = bytearray()
        self._inside = False
        self._escaped = False
        self._start = 0
        self._long = False

    def feed(self, piece: bytes) -> list[bytes | None]:
        """The next bytes of the body."""
        runs: list[bytes | None] = []
        for at in range(0, len(piece), LONG):  # no long string is whole in one of these
            self._feed(piece[at : at + LONG], runs)
        return runs

    def _feed(self, piece: bytes, runs: list[bytes | None]) -> None:
        at = 0
        while at < len(piece):
            if not self._inside:
                end = match_end(OUTSIDE, piece, at)
                self._inside = end < len(piece)
                self.rest += piece[at : end + 1]
                self._start = len(self.rest)
                at = end + 1
                continue
            end = match_end(INSIDE, piece, at + 1 if self._escaped else at)
            self._escaped = piece[end : end + 1] == b"\\"
            end += self._escaped
            self._take(piece[at:end], runs)
            at = end
            if at < len(piece):
                self.rest += b'"'
                at += 1
                if self._long:
                    runs.append(None)
                self._inside = self._long = False

    def _take(self, run: bytes, runs: list[bytes | None]) -> None:
        if self._long:
            runs.append(run)
            return
        self.rest += run
        if len(self.rest) - self._start > LONG:
            self._long = True
            runs.append(bytes(self.rest[self._start :]))
            del self.rest[self._start :]


async def slices(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """The request's body in pieces that are parsed in some milliseconds; others get their turn between two."""
    async for piece in request.stream():
        for at in range(0, len(piece), STEP):
            yield piece[at : at + STEP]
            await asyncio.sleep(0)


async def _json(request: Request[Any, Any, Any], gateway: Gateway) -> Body:
    strings = Strings()
    files: list[Upload] = []
    stream = slices(request)

    async def one() -> AsyncIterator[bytes]:
        """The bytes of the next file; nothing at the end of the body."""
        decoder = Base64()
        while True:
            while pending:
                run = pending.pop(0)
                if run is None:
                    yield decoder.end()
                    return
                yield decoder.feed(run)
            piece = await anext(stream, None)
            if piece is None:
                done.append(True)
                return
            pending.extend(strings.feed(piece))
            if len(strings.rest) > REST:
                raise HTTPException("The request body is too large.", status_code=413)

    pending: list[bytes | None] = []
    done: list[bool] = []
    try:
        while not done:
            upload = await gateway.take_file(one())
            if upload.size == 0 and done:
                gateway.discard_file(upload)
            else:
                files.append(upload)
            if len(files) > 1:
                raise BadRequest("A message has one file; this body holds several texts that are too long.")
        rest = bytes(strings.rest)
        await check_outline(rest)
        return Body(_fields(rest), files.pop() if files else None)
    finally:
        for left in files:
            gateway.discard_file(left)


class Base64:
    """Decodes pieces of base64 as JSON writes it: with escaped slashes, line breaks, and perhaps a data URL's head."""

    def __init__(self) -> None:
        self._left = b""
        self._begun = False
        self._over = False

    def feed(self, run: bytes) -> bytes:
        """Raises `InvalidMedia`."""
        text = self._left + run
        if text.endswith(b"\\"):
            text, kept = text[:-1], b"\\"
        else:
            kept = b""
        text = text.replace(b"\\/", b"/").replace(b"\\n", b"").replace(b"\\r", b"").translate(_URLSAFE, b" \r\n\t")
        if not self._begun:
            self._begun = True
            if text.startswith(b"data:") and b"," in text[:500]:
                text = text[text.index(b",") + 1 :]
        whole = len(text) // 4 * 4
        self._left = text[whole:] + kept
        return self._decoded(text[:whole])

    def end(self) -> bytes:
        """What is left. Raises `InvalidMedia`."""
        return self._decoded(self._left + b"=" * (-len(self._left) % 4)) if self._left else b""

    def _decoded(self, text: bytes) -> bytes:
        if text and self._over:
            raise InvalidMedia(NOT_BASE64)
        self._over = text.endswith(b"=")
        try:
            return b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidMedia(NOT_BASE64) from error


_URLSAFE = bytes.maketrans(b"-_", b"+/")


def _fields(text: bytes) -> dict[str, Any]:
    fields = parsed_json(text)
    if not isinstance(fields, dict):
        raise ClientException("The request body is not a JSON object.")
    if b"\\u0000" in text:
        raise BadRequest("The request holds the character NUL (U+0000), which no name, id or text may have.")
    return fields


# --- multipart ---------------------------------------------------------------------------------------------------


async def _multipart(request: Request[Any, Any, Any], gateway: Gateway, boundary: str) -> Body:
    body, rest = Body(), 0
    try:
        parser = PushMultipartParser(boundary, max_segment_count=64, max_header_size=2048)
        parts = _events(request, parser)
        async for segment in parts:
            assert isinstance(segment, MultipartSegment)
            if segment.filename is None:
                value = bytearray()
                async for piece in _content(parts):
                    value += piece
                    rest += len(piece)
                    if rest > REST:
                        raise HTTPException("The request body is too large.", status_code=413)
                body.fields[segment.name] = value.decode()
            elif body.upload is not None:
                raise BadRequest("A message has one file; this body holds several.")
            else:
                body.upload = await gateway.take_file(
                    _content(parts), segment.content_type or "", clean_name(segment.filename)
                )
    except (MultipartError, UnicodeDecodeError, ValueError) as error:
        _drop(body, gateway)
        raise ClientException("The request body is not valid multipart/form-data.") from error
    except BaseException:
        _drop(body, gateway)
        raise
    if any("\0" in value for value in body.fields.values()):
        _drop(body, gateway)
        raise BadRequest("The request holds the character NUL (U+0000), which no name, id or text may have.")
    return body


def _drop(body: Body, gateway: Gateway) -> None:
    if body.upload is not None:
        gateway.discard_file(body.upload)


async def _events(request: Request[Any, Any, Any], parser: PushMultipartParser) -> AsyncIterator[Any]:
    with parser:
        async for piece in slices(request):
            for event in parser.parse(piece):
                yield event
        if not parser.closed:
            for event in parser.parse(b""):
                yield event


async def _content(parts: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """The bytes of the part that began last."""
    async for event in parts:
        if event is None:
            return
        yield bytes(event)
