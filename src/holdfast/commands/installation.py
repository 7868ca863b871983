"""Looks at an installation, as `serve` would find it; writes nothing."""

from __future__ import annotations

import asyncio
import http.client
import os
import platform
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import holdfast
from holdfast.client import Client
from holdfast.commands.findings import Finding
from holdfast.config import Settings
from holdfast.domain import cluster
from holdfast.domain.errors import HoldfastError, StoreUnavailable
from holdfast.domain.proxies import Proxy, Routes, explained
from holdfast.domain.rows import Json

PYTHON = (3, 11)
LEAST_FREE = 500_000_000
"""Bytes on the disk: the packages of the engine take 100 MB, and messages need room to grow."""
SKEW = 60.0
"""Seconds that a clock may be wrong; TLS and WhatsApp's tokens bear no more for long."""
PATIENCE = 10.0


def look(settings: Settings) -> Iterator[Finding]:
    """Everything that a server needs, one after the other. What raises is a problem, with its sentence."""
    looks: list[tuple[str, Callable[[Settings], Finding]]] = [
        ("Python", _python),
        ("WhatsApp engine", _engine),
        ("data folder", _data_folder),
        ("disk", _disk),
        ("database", _database),
        ("port", _port),
    ]
    for what, one in looks:
        try:
            yield one(settings)
        except HoldfastError as error:
            yield problem(what, error)
    yield from _whatsapp(settings)


def problem(what: str, error: HoldfastError) -> Finding:
    """An error's sentence names cause and way out: the first sentence is what was found."""
    found, _, advice = error.in_full.partition(". ")
    return Finding(what, False, found.rstrip("."), advice)


def _python(_: Settings) -> Finding:
    found = f"Python {platform.python_version()}, Holdfast {holdfast.__version__}"
    ok = sys.version_info >= PYTHON
    return Finding("Python", ok, found, "" if ok else f"Install Python {PYTHON[0]}.{PYTHON[1]} or newer.")


def _engine(settings: Settings) -> Finding:
    from holdfast.engines.baileys.install import look as look_at_engine  # noqa: PLC0415 - `--help` stays fast

    engine = look_at_engine(settings.data_dir, settings.node)
    found = f"Node {engine.version} at {engine.node}; "
    if engine.complete:
        return Finding("WhatsApp engine", True, f"{found}packages in {engine.folder / 'node_modules'}")
    advice = "Nothing: the first start installs them from the npm registry, in about a minute."
    return Finding("WhatsApp engine", True, f"{found}packages not installed yet", advice)


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path


def _data_folder(settings: Settings) -> Finding:
    folder, there = settings.data_dir.resolve(), _existing(settings.data_dir)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding("data folder", True, str(folder) if there == folder else f"{folder}, made at the first start")
    advice = "Set HOLDFAST_DATA_DIR to a folder of this user."
    return Finding("data folder", False, f"{there} cannot be written", advice)


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_existing(settings.data_dir)).free
    ok = free >= LEAST_FREE
    return Finding("disk", ok, f"{free / 1e9:.1f} GB free", "" if ok else "Free some space: 0.5 GB is the least.")


def _database(settings: Settings) -> Finding:
    from holdfast.store.database_file import check_not_lost  # noqa: PLC0415
    from holdfast.store.examine import examine  # noqa: PLC0415 - `--help` stays fast
    from holdfast.store.root_key import refusal  # noqa: PLC0415

    check_not_lost(settings.url, settings.data_dir)
    try:
        found = asyncio.run(examine(settings.url))
    except StoreUnavailable as error:
        if type(error) is not StoreUnavailable:  # it is there, and its sentence names the way out
            raise
        advice = "Start the database, or check HOLDFAST_DATABASE_URL, the network and the firewall."
        return Finding("database", False, error.in_full.rstrip("."), advice)
    if abs(found.ahead) > SKEW:
        said = f"{found.program}; its clock and this machine's differ by {abs(found.ahead):.0f} s"
        return Finding("database", False, said, "Let both machines set their clocks by NTP.")
    if found.async_replicas:
        said = f"{found.program}, with {found.async_replicas} asynchronous replicas"
        advice = (
            "Make replication synchronous (synchronous_standby_names): after a failover to a replica that lags, two "
            "instances could hold one session."
        )
        return Finding("database", False, said, advice)
    if found.closed:
        said = f"{found.program}; this user may not read and write {', '.join(found.closed)}"
        return Finding("database", False, said, "Grant it SELECT, INSERT, UPDATE and DELETE on all tables.")
    if found.root_key not in (None, settings.whatsapp.root_key):
        return problem("database", refusal(found.root_key, settings.whatsapp))
    if odd := _odd_ones(settings, found.instances):
        return Finding("database", False, f"{found.program}; {odd}", "Give all instances the same settings.")
    if found.schema is None:
        return Finding("database", True, f"{found.program}: empty, made at the first start")
    if not found.current:
        return Finding("database", True, f"{found.program}: of an older version", "Nothing: the next start updates it.")
    running = len(found.instances)
    said = f"{running or 'no'} instance{'' if running == 1 else 's'} on it"
    return Finding("database", True, f"{found.program}: sound; {said}")


def _odd_ones(settings: Settings, instances: Iterable[Json]) -> str:
    """How running instances differ from what `serve` would start here; empty if none does."""
    ours = settings.facts()
    told = {said: row["id"] for row in instances for said in cluster.differences(ours, row["facts"])}
    return " ".join(f"Instance {instance[:8]}: {said}" for said, instance in told.items()).removesuffix(".")


def _port(settings: Settings) -> Finding:
    from holdfast.ground import bind  # noqa: PLC0415 - `--help` stays fast

    with Client.of(settings, None, None) as client:
        if settings.port and client.is_there():
            said = f"A Holdfast answers at {client.url}"
            return Finding("port", True, said, f"`holdfast doctor --url {client.url}` looks at it.")
    bind(settings.host, settings.port).close()
    return Finding("port", True, f"{settings.host}:{settings.port} is free")


# --- WhatsApp ---------------------------------------------------------------------------------------------------


def _whatsapp(settings: Settings) -> Iterator[Finding]:
    address = urlsplit(settings.whatsapp_url)
    date: float | None = None
    try:
        began = time.monotonic()
        date = _answer(address, settings)
        yield Finding("WhatsApp", True, f"{address.hostname} answers in {time.monotonic() - began:.1f} s")
    except socket.gaierror as error:
        said = f"{address.hostname} cannot be resolved ({error.strerror})"
        yield Finding("WhatsApp", False, said, "Check this machine's DNS and network.")
    except ProxyUnusable as error:
        yield Finding("WhatsApp", False, error.sentence.rstrip("."), "Check HOLDFAST_PROXY, and what it lets through.")
    except ssl.SSLError as error:
        said = f"The secure connection to {address.hostname} fails ({error.reason or 'TLS'})"
        yield Finding("WhatsApp", False, said, "Check the machine's clock, and any proxy that opens TLS.")
    except (OSError, ValueError) as error:
        said = f"{address.hostname} cannot be reached ({getattr(error, 'strerror', None) or error})"
        yield Finding("WhatsApp", False, said, "Check the network, and that the firewall lets port 443 out.")
    yield _clock(date)


def _answer(address: SplitResult, settings: Settings) -> float | None:
    """When the server says that it is, in Unix seconds, if it speaks HTTP. Asked through the default proxy, if there is
    one.
    """
    host = address.hostname or ""
    context = ssl.create_default_context()
    if settings.whatsapp_ca_file:
        context.load_verify_locations(settings.whatsapp_ca_file)
    routes = settings.routes()
    if routes.default is not None:
        return asyncio.run(_answer_through(routes.default, routes, address, context))
    connection: http.client.HTTPConnection
    if address.scheme == "wss":
        connection = http.client.HTTPSConnection(host, address.port, timeout=PATIENCE, context=context)
    else:
        connection = http.client.HTTPConnection(host, address.port, timeout=PATIENCE)
    try:
        connection.connect()
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("Date")
        return parsedate_to_datetime(date).timestamp() if date else None
    except http.client.HTTPException:
        return None
    finally:
        connection.close()


async def _answer_through(proxy: Proxy, routes: Routes, address: SplitResult, context: ssl.SSLContext) -> float | None:
    import aiohttp  # noqa: PLC0415 - `--help` stays fast

    from holdfast.engines.proxies import ProxyFailed, client, resolve  # noqa: PLC0415

    url = f"{'https' if address.scheme == 'wss' else 'http'}://{address.netloc}/"
    try:
        addresses = await resolve(proxy, routes)
        async with (
            client(proxy, addresses, timeout=aiohttp.ClientTimeout(total=PATIENCE)) as through,
            through.head(url, ssl=context, allow_redirects=False) as answer,
        ):
            date = answer.headers.get("Date")
            return parsedate_to_datetime(date).timestamp() if date else None
    except ProxyFailed as error:
        said = explained(error.proxy.name, error.why).replace("The session's proxy", "HOLDFAST_PROXY")
        raise ProxyUnusable(said) from error
    except aiohttp.ClientError as error:
        raise OSError(str(error)) from error


class ProxyUnusable(HoldfastError):
    """The proxy of HOLDFAST_PROXY did not open a connection."""

    code = "proxy_failed"


def _clock(date: float | None) -> Finding:
    """Against WhatsApp's clock; without it, against the age of this installation."""
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    ahead = now - date if date is not None else min(0.0, now - Path(holdfast.__file__).stat().st_mtime)
    if abs(ahead) <= SKEW:
        return Finding("clock", True, shown)
    how = "ahead" if ahead > 0 else "behind"
    return Finding("clock", False, f"{shown}: {abs(ahead):.0f} s {how}", "Let this machine set its clock by NTP.")
