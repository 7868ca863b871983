"""The settings of the HTTP server: how much a request may be, and how long a connection may take."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from holdfast.domain.connection_limits import ConnectionLimits

ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?")


class HttpSettings(BaseModel):
    """Part of `config.Settings`."""

    public_url: str = Field(
        "",
        description="URL under which users reach Holdfast, for links to files in messages. Its path, if it has "
        "one, is the base path. Empty: as `HOLDFAST_ADVERTISE_URL`.",
    )
    base_path: str = Field(
        "",
        description="Path under which a reverse proxy offers Holdfast, as `/holdfast`, whether it passes it on or not. "
        "Empty: the path of `HOLDFAST_PUBLIC_URL`.",
    )
    cors_origins: str = Field(
        "",
        description="Origins whose pages may use the API from a browser, with a key of their own, separated by commas: "
        "`https://app.example.com`; `*`: all. Empty: none.",
    )
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
    http_idle_timeout: float = Field(
        65.0,
        gt=0,
        description="How long a connection stays open between two requests: longer than a reverse proxy keeps it "
        "(nginx: 60 s).",
    )
    http_rate: float = Field(
        8192.0, gt=0, description="Bytes per second that a client must send of a body, and read of an answer, at least."
    )

    @field_validator("base_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        path = value.rstrip("/")
        if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
            raise ValueError("must look like /holdfast")
        return path

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for one in _parts(value):
            if one != "*" and not ORIGIN.fullmatch(one):
                raise ValueError("must be origins without a path, like https://app.example.com, separated by commas")
        return value

    def base(self) -> str:
        """The path under which users reach the server, without a slash at its end; mostly empty."""
        return self.base_path or urlsplit(self.public_url).path.rstrip("/")

    def url_for_users(self, url: str) -> str:
        """Where users reach the server, which other instances reach at `url`."""
        reached, base = (self.public_url or url).rstrip("/"), self.base()
        return reached if reached.endswith(base) else reached + base

    def origins(self) -> frozenset[str]:
        """The origins whose pages may use the API."""
        return frozenset(_parts(self.cors_origins))

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


def _parts(value: str) -> list[str]:
    return [part.strip().lower().rstrip("/") for part in value.split(",") if part.strip()]
