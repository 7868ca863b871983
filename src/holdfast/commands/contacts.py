"""`export-contacts`: a session's contacts in a file, from a running server or from the store itself."""

from __future__ import annotations

import asyncio
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from holdfast.client import WRONG_KEY, Client, Refused
from holdfast.commands.options import DataDir, Key, Url, err, settings_of
from holdfast.commands.reach import opened, server_if_any
from holdfast.config import Settings
from holdfast.domain.contacts import FORMATS
from holdfast.domain.errors import BadRequest, SessionNotFound

MOST = 2**31 - 1


class Form(StrEnum):
    """What the file is to be."""

    JSON = "json"
    CSV = "csv"
    VCARD = "vcard"


def export_contacts(
    name: Annotated[str, typer.Argument(help="The session.")],
    form: Annotated[Form, typer.Option("--format", help="json; csv for spreadsheets; vcard for phones.")] = Form.JSON,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: the terminal.")] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Export a session's contacts. Credentials are no part of it."""
    settings = settings_of(data_dir=data_dir)
    with server_if_any(settings, url, key) as client:
        text = _from_server(client, name, form) if client else asyncio.run(_from_store(settings, name, form))
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise BadRequest(f"{output} cannot be written ({error.strerror}).") from error
    err.print(f"Written to {output}.", markup=False, highlight=False, soft_wrap=True)


def _from_server(client: Client, name: str, form: Form) -> str:
    status, body = client.fetch("GET", f"/api/holdfast/sessions/{quote(name)}/contacts?format={form}")
    if status == 401:
        raise Refused(WRONG_KEY)
    text = body.decode(errors="replace")
    if status >= 400:
        try:
            raise Refused(str(json.loads(text)["message"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"The server answered {status}.") from error
    return text


async def _from_store(settings: Settings, name: str, form: Form) -> str:
    async with opened(settings) as store:
        row = await store.session(name)
        if row is None:
            raise SessionNotFound(f"There is no session '{name}'.")
        return FORMATS[form].write(await store.contacts(row.name, MOST, 0))
