"""A person at the dashboard, as HTTP sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.support.served import KEY

HX = {"HX-Request": "true"}
"""The header that htmx sets on what a page of the dashboard asks for."""


@asynccontextmanager
async def signed_in(url: str, key: str = KEY) -> AsyncIterator[httpx.AsyncClient]:
    """A client that has the cookie."""
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.post("/login", data={"key": key})
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard"), answer.text
        yield client


def cookie_of(client: httpx.AsyncClient) -> str:
    """The id of its session."""
    return client.cookies["holdfast"]
