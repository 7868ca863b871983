"""The settings of the HTTP server: how much a request may be, and how long a connection may take."""

from __future__ import annotations

from pydantic import BaseModel, Field

from holdfast.domain.connection_limits import ConnectionLimits


class HttpSettings(BaseModel):
    """Part of `config.Settings`."""

    body_limit: int = Field(
        1_000_000,
        ge=1_000,
        description="Largest request body without its file, in bytes; more than 1,000,000 counts as that. Files have a "
        "limit of their own, `HOLDFAST_MEDIA_LIMIT`.",
    )
    max_connections: int = Field(
        0,
        ge=0,
        description="Connections to the API at the same time. 0: as many as leave a third of the file descriptors "
        "(`ulimit -n`) to the rest, at most 2,000.",
    )
    http_head_timeout: float = Field(
        15.0, gt=0, description="How long the head of a request may take, from the connection or its first byte on."
    )
    http_body_timeout: float = Field(
        30.0, gt=0, description="How long the body of a request may take, beside what `HOLDFAST_HTTP_RATE` grants it."
    )
    http_write_timeout: float = Field(
        30.0, gt=0, description="How long a client may leave an answer unread, beside what `HOLDFAST_HTTP_RATE` grants."
    )
    http_idle_timeout: float = Field(15.0, gt=0, description="How long a connection stays open between two requests.")
    http_rate: float = Field(
        8192.0, gt=0, description="Bytes per second that a client must send of a body, and read of an answer, at least."
    )

    def connection_limits(self) -> ConnectionLimits:
        """How many connections to the API there may be, and how long each may take."""
        return ConnectionLimits(
            connections=self.max_connections,
            head=self.http_head_timeout,
            body=self.http_body_timeout,
            write=self.http_write_timeout,
            idle=self.http_idle_timeout,
            rate=self.http_rate,
        )
