"""What the command line asks of a running server, over its HTTP API."""

from __future__ import annotations

import http
import http.client
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote, urlsplit

import segno
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from holdfast.config import Settings
from holdfast.domain.errors import HoldfastError
from holdfast.key_file import path_of
from holdfast.setting_types import plain

POLL = 1.0
PATIENCE = 60.0
LOOK = 5.0
COLOURS = {"WORKING": "green", "SCAN_QR_CODE": "cyan", "STARTING": "yellow", "FAILED": "red", "STOPPED": "dim"}


class ServerUnreachable(HoldfastError):
    """No Holdfast answers there. Start it with `holdfast serve`, or give its address with --url."""

    code = "server_unreachable"


class Refused(HoldfastError):
    """The server refused."""

    code = "refused"


class InvalidAddress(HoldfastError):
    """That is no address of a server."""

    code = "invalid_address"


WRONG_KEY = "The server does not accept this API key. Give it with --key or HOLDFAST_API_KEY."


class Client:
    """A connection to one server. Raises `InvalidAddress`."""

    def __init__(self, url: str, key: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidAddress(f"{url} is no address of a server: {error}.") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidAddress(f"{url} is no address of a server: write it like http://localhost:3000.")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._http = kind(parts.hostname, port, timeout=PATIENCE)
        self._base = parts.path.rstrip("/")
        self._key = key
        self.url = url

    @classmethod
    def of(cls, settings: Settings, url: str | None, key: str | None) -> Self:
        """From what was given, else from the settings of this machine."""
        key = key or plain(settings.api_key)
        path = path_of(settings)
        if not key and os.access(path, os.R_OK):
            key = path.read_text().strip()
        return cls(url or f"http://127.0.0.1:{settings.port}", key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def fetch(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body as they came. Raises `ServerUnreachable`; `Refused` for a key that cannot be sent."""
        text = json.dumps(body) if body is not None else None
        try:
            return self._send(method, path, text, {"X-Api-Key": self._key, "Content-Type": "application/json"})
        except ValueError as error:  # a header cannot hold it
            raise Refused(WRONG_KEY) from error

    def _send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            self._http.request(method, self._base + path, body, {"Accept": "application/json", **headers})
            answer = self._http.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise ServerUnreachable(
                f"No Holdfast answers at {self.url}. Start it with `holdfast serve`, or give its address with --url."
            ) from error

    def lines(self, method: str, path: str) -> Iterator[bytes]:
        """The lines of a long answer, as they come. Raises `ServerUnreachable`, also where it is cut; `Refused`."""
        try:
            self._http.request(method, self._base + path, None, {"X-Api-Key": self._key})
            answer = self._http.getresponse()
            if answer.status >= 400:
                raise Refused(_sentence(answer.status, answer.read()))
            yield from answer
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise ServerUnreachable(f"{self.url} gave no answer, or not all of it. Try again.") from error

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded body. Raises `ServerUnreachable`; `Refused` for a wrong key."""
        status, raw = self.fetch(method, path, body)
        if status == http.HTTPStatus.UNAUTHORIZED:
            raise Refused(WRONG_KEY)
        try:
            return status, json.loads(raw) if raw else None
        except ValueError as error:
            raise ServerUnreachable(
                f"What answers at {self.url} is no Holdfast. Give the server's address with --url."
            ) from error

    def is_there(self) -> bool:
        """Whether a Holdfast answers, whatever it thinks of the key; what says nothing in a few seconds is none."""
        self._http.timeout = LOOK
        try:
            status, body = self._send("GET", "/ping", None, {})
        except ServerUnreachable:
            return False
        finally:
            self._http.close()
            self._http.timeout = PATIENCE
        return status == http.HTTPStatus.OK and body == b'{"message":"pong"}'

    def get(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded body of a success. Raises `Refused` with the server's sentence otherwise."""
        status, answer = self.ask(method, path, body)
        if status >= 400:
            said = answer.get("message") or answer.get("error") if isinstance(answer, dict) else None
            raise Refused(str(said or f"The server answered {status}."))
        return answer


def _sentence(status: int, body: bytes) -> str:
    if status == http.HTTPStatus.UNAUTHORIZED:
        return WRONG_KEY
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {status}."


def pair_in_terminal(client: Client, name: str, code: str | None, place: Mapping[str, str], out: Console) -> None:
    """Show the QR, or the code, until the session works. `place`: the engine and server of one that is made."""
    path = f"/api/sessions/{quote(name)}"
    status, _ = client.ask("GET", path)
    if status == 404:
        client.get("POST", "/api/sessions", {"name": name, "start": True, **place})
    else:
        client.get("POST", f"{path}/start")
    if code:
        answer = client.get("POST", f"/api/{quote(name)}/auth/request-code", {"phoneNumber": code})
        out.print(f"Type this code on the phone (Linked devices, Link with phone number): [bold]{answer['code']}[/]")
    with Live(console=out, auto_refresh=False) as live:
        while (view := client.get("GET", path))["status"] != "WORKING":
            if view["status"] in ("FAILED", "STOPPED"):
                raise Refused(view["holdfast"]["message"])
            live.update(_scene(client, name, view, code), refresh=True)
            time.sleep(POLL)
        live.update(Text(f"'{name}' is linked and WORKING.", style="bold green"), refresh=True)


def _scene(client: Client, name: str, view: Any, code: str | None) -> Text:
    if view["status"] != "SCAN_QR_CODE":
        return Text(view["holdfast"]["message"])
    if code:
        return Text("Waiting until it is typed. (Ctrl-C ends)")
    status, qr = client.ask("GET", f"/api/{quote(name)}/auth/qr?format=raw")
    if status != 200:
        return Text(view["holdfast"]["message"])
    return Text(_blocks(qr["value"]) + "\nScan it: WhatsApp, Settings, Linked devices, Link a device. (Ctrl-C ends)")


def _blocks(value: str) -> str:
    """Two modules a character, dark on light by inversion, so that it scans on dark terminals too."""
    rows = [list(row) for row in segno.make(value, error="l").matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    glyphs = {(1, 1): " ", (0, 1): "▀", (1, 0): "▄", (0, 0): "█"}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(glyphs[(int(a), int(b))] for a, b in zip(*pair, strict=True)) for pair in pairs)


def show_sessions(client: Client, name: str | None, out: Console) -> None:
    """A table of all sessions, or of one session's timeline."""
    if name is None:
        table = Table("session", "status", "reason", "what", "account")
        for view in client.get("GET", "/api/holdfast/sessions"):
            facts = view["holdfast"]
            colour = COLOURS.get(view["status"], "")
            account = (view["me"] or {}).get("id", "")
            table.add_row(view["name"], f"[{colour}]{view['status']}[/]", facts["reason"], facts["message"], account)
        out.print(table)
        return
    table = Table("time", "status", "code", "what", "attempt", "instance")
    for row in reversed(client.get("GET", f"/api/holdfast/sessions/{quote(name)}/timeline")):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["at"]))
        colour = COLOURS.get(row["status"], "")
        cells = (when, f"[{colour}]{row['status']}[/]", row["code"], row["message"], str(row["attempt"]))
        table.add_row(*cells, row["instance"][:8])
    out.print(table)
