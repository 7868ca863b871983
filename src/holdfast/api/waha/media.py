"""Sending files: pictures, documents, voice messages and videos, by URL, as base64, or as multipart/form-data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Controller, Request, Response, post
from litestar.exceptions import ClientException
from litestar.openapi.spec import OpenAPIFormat, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema

from holdfast.api.common import gateway_of
from holdfast.api.spooled import Base64, Body, spooled
from holdfast.api.waha.messaging import IdempotencyKey, SendRequest, accept
from holdfast.domain.errors import BadRequest, InvalidMedia, InvalidMessage
from holdfast.domain.file_types import clean_name
from holdfast.domain.recipients import mentioned
from holdfast.ports.gateway import Gateway
from holdfast.ports.media import Link, Upload

Req = Request[Any, Any, Any]
CAPTION_LIMIT = 65_536


class File(msgspec.Struct):
    """WAHA's RemoteFile (`url`) and BinaryFile (`data`) in one."""

    mimetype: str = ""
    filename: str | None = None
    url: str | None = None
    data: str | None = None


class SendFile(SendRequest, kw_only=True):
    """Body of `sendImage`, `sendFile`, `sendVoice` and `sendVideo`; in multipart/form-data `file` is the file."""

    file: File = msgspec.field(default_factory=File)
    caption: str | None = None
    mentions: list[str] | str | None = None
    convert: bool | None = None
    asNote: bool | None = None  # noqa: N815 - WAHA's name


@dataclass
class FileOperation(Operation):
    """What these calls take, for the API's description: their bodies are read as they come, not into a model."""

    def __post_init__(self) -> None:
        text, flag = Schema(type=OpenAPIType.STRING), Schema(type=OpenAPIType.BOOLEAN)
        binary = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        names = ("session", "chatId", "caption", "reply_to", "id")
        fields: dict[str, Any] = {**dict.fromkeys(names, text), "asNote": flag}
        file = Schema(
            type=OpenAPIType.OBJECT,
            properties=dict.fromkeys(("mimetype", "filename", "url", "data"), text),
            description="`url`, or `data` in base64.",
        )
        needed = ["chatId", "file"]
        self.request_body = RequestBody(
            required=True,
            content={
                "application/json": OpenAPIMediaType(
                    Schema(type=OpenAPIType.OBJECT, properties={**fields, "file": file}, required=needed)
                ),
                "multipart/form-data": OpenAPIMediaType(
                    Schema(type=OpenAPIType.OBJECT, properties={**fields, "file": binary}, required=needed)
                ),
            },
        )


class Media(Controller):
    """WAHA's calls that send a file. The file is kept before the message is accepted."""

    path = "/api"
    tags = ["Chatting"]  # noqa: RUF012 - Litestar's way
    request_max_body_size = None  # a file's own limit holds, while it comes in

    @post("/sendImage", summary="Send a picture", operation_class=FileOperation)
    async def send_image(self, request: Req, idempotency_key: IdempotencyKey = None) -> Response[dict[str, Any]]:
        """JPEG, PNG, WebP or GIF: `{"chatId", "session", "caption", "file": {"url" or "data", "mimetype", ...}}`,
        or the same as multipart/form-data with the file as `file`.
        """
        return await _send(request, "image", idempotency_key)

    @post("/sendFile", summary="Send a file as a document", operation_class=FileOperation)
    async def send_file(self, request: Req, idempotency_key: IdempotencyKey = None) -> Response[dict[str, Any]]:
        """Anything; see `sendImage` for the body."""
        return await _send(request, "file", idempotency_key)

    @post("/sendVoice", summary="Send a voice message", operation_class=FileOperation)
    async def send_voice(self, request: Req, idempotency_key: IdempotencyKey = None) -> Response[dict[str, Any]]:
        """OGG with Opus; see `sendImage` for the body. Holdfast converts nothing."""
        return await _send(request, "voice", idempotency_key)

    @post("/sendVideo", summary="Send a video", operation_class=FileOperation)
    async def send_video(self, request: Req, idempotency_key: IdempotencyKey = None) -> Response[dict[str, Any]]:
        """MP4, 3GP or QuickTime; `asNote` for a round one; see `sendImage` for the body. Holdfast converts nothing."""
        return await _send(request, "video", idempotency_key)


async def _send(request: Req, kind: str, idempotency_key: str | None) -> Response[dict[str, Any]]:
    gateway = gateway_of(request)
    body = await spooled(request, gateway)
    try:
        data = _read(body)
        file = await _file(gateway, body, data.file)
        return await accept(request, data, _content(kind, data), idempotency_key, file)
    finally:
        if body.upload is not None:
            gateway.discard_file(body.upload)


def _read(body: Body) -> SendFile:
    try:
        return msgspec.convert(body.fields, SendFile, strict=False)
    except msgspec.ValidationError as error:
        raise ClientException(f"The request body is not valid: {error}.") from error


def _content(kind: str, data: SendFile) -> dict[str, Any]:
    content: dict[str, Any] = {"type": kind}
    if data.caption:
        if len(data.caption) > CAPTION_LIMIT:
            raise InvalidMessage(f"The caption is longer than {CAPTION_LIMIT:,} characters.")
        content["caption"] = data.caption
    content |= mentioned(data.mentions, data.chatId)
    if data.asNote:
        content["note"] = True
    return content


async def _file(gateway: Gateway, body: Body, said: File) -> Upload | Link:
    """Exactly one of the ways to give a file. A short file came as a string like any other."""
    name = clean_name(said.filename or "")
    if body.upload is not None and (said.url or said.data):
        raise BadRequest("The body has a text that is too long, beside its file.")
    if body.upload is None and said.data:
        decoder = Base64()
        body.upload = await gateway.take_file(_once(decoder.feed(said.data.encode()) + decoder.end()))
    if body.upload is not None:
        mimetype = said.mimetype or body.upload.mimetype
        upload = body.upload
        return Upload(upload.path, upload.head, upload.size, upload.sha256, mimetype, name or upload.filename)
    if not said.url:
        raise InvalidMedia("The message has no file: give file.url or file.data, or send it as multipart/form-data.")
    return Link(said.url, said.mimetype, name)


async def _once(piece: bytes) -> AsyncIterator[bytes]:
    yield piece
