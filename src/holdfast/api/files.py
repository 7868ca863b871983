"""`/api/files`: files of received messages, as WAHA serves them."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, get
from litestar.params import FromPath
from litestar.response import Stream

from holdfast.api.common import gateway_of
from holdfast.domain.http_headers import FILE_POLICY, disposition, media_type

WAIT = 30.0
"""Seconds that a request waits for a file which is being fetched."""


class Files(Controller):
    """Files are fetched when their message comes; one that is asked for at once is waited for."""

    path = "/api/files"
    tags = ["Media"]  # noqa: RUF012 - Litestar's way

    @get("/{session:str}/{name:str}", summary="A file of a received message")
    async def file(self, request: Request[Any, Any, Any], session: FromPath[str], name: FromPath[str]) -> Stream:
        """At the `media.url` of its message. 410 once it was deleted, or if WhatsApp has it no more; 503 with
        `Retry-After` while it is being fetched.
        """
        gateway = gateway_of(request)
        await gateway.session(session)
        row, size, pieces = await gateway.file(session, name, WAIT)
        kind = media_type(row.mimetype)
        headers = {
            "Content-Length": str(size), "Content-Disposition": disposition(kind, row.filename or row.name),
            "Cache-Control": "private, max-age=3600", "Content-Security-Policy": FILE_POLICY,
        }  # fmt: skip
        return Stream(pieces, media_type=kind, headers=headers)
