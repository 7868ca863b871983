"""Database URLs as people and hosting platforms write them.

Whatever goes wrong here, no URL is ever quoted: they hold passwords.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

from holdfast.domain.errors import InvalidSettings

MEMORY = ":memory:"
SETTING = "HOLDFAST_DATABASE_URL"


def sqlite_path(url: str) -> str | None:
    """The file of an `sqlite:///...` URL (three slashes: relative, four: absolute), `:memory:`, or None for others."""
    scheme, _, rest = url.partition("://")
    if not scheme.startswith("sqlite"):
        return None
    path = unquote(rest.removeprefix("/").partition("?")[0])
    return MEMORY if path in ("", MEMORY) else str(Path(path).expanduser().absolute())


def is_postgres(url: str) -> bool:
    """`postgres://`, `postgresql://`, and SQLAlchemy's `postgresql+driver://`."""
    return pasted(url).partition("://")[0].partition("+")[0].lower() in ("postgres", "postgresql")


def pasted(url: str) -> str:
    """Without what comes along when a URL is copied: blanks, quotes, and the `psql` of a platform's example."""
    return url.strip().removeprefix("psql ").strip().strip("'\"")


@dataclass(frozen=True, slots=True)
class Target:
    """A PostgreSQL database, as asyncpg is told of it.

    `dsn`: the URL in plain form. `size`: most connections, if the URL says so. `timeout`: seconds to connect, if the
    URL says so. `system_ca`: trust the system's certificate authorities; None leaves TLS to `sslmode`. `pooled`:
    the URL itself says that a transaction pooler stands in between.
    """

    dsn: str = field(repr=False)
    size: int | None = None
    timeout: float | None = None
    system_ca: str | None = None
    pooled: bool = False


_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^\[\]:,@]*)(?::\d+)?")
"""A host with its port; a host may be empty, a name, an IPv4 or bracketed IPv6 address, or an escaped socket path."""

_KEPT_WORDS = (
    "host port user password dbname database passfile service sslmode sslcert sslkey sslrootcert sslcrl sslpassword "
    "sslnegotiation ssl_min_protocol_version ssl_max_protocol_version target_session_attrs krbsrvname gsslib "
    "application_name options search_path statement_timeout lock_timeout idle_in_transaction_session_timeout"
)
"""What asyncpg does itself, and settings of the server's, which it passes on."""

_DROPPED_WORDS = (
    "channel_binding gssencmode keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout "
    "client_encoding charset encoding fallback_application_name load_balance_hosts requirepeer sslcompression sslsni "
    "sslaccept uselibpqcompat pool_timeout pool_mode pgbouncer prepare prepareThreshold prepared_statements "
    "statement_cache_size prepared_statement_cache_size prepared_statement_name_func socket_timeout supa workaround "
    "pool max_connections min_connections idle_timeout reconnect async_fallback"
)
"""What other clients are told in URLs, and what holds here anyway: TLS binds channels as both sides can, keepalives
and timeouts are ours, text is UTF-8, no statement stays prepared."""

_KEPT, _DROPPED = frozenset(_KEPT_WORDS.split()), frozenset(_DROPPED_WORDS.split())
_SSL_MODES = {"no-verify": "require", "required": "require", "true": "require", "1": "require", "false": "disable"}
_TRUE = frozenset({"true", "1", "yes", "on", "transaction"})
_POOLED_HOST = re.compile(r"-pooler\.|\.pooler\.|^pgbouncer\b|^pooler\b")


def postgres(url: str, setting: str = SETTING) -> Target:
    """What a URL means. Raises `InvalidSettings`, naming `setting` and the mistake, and never the URL."""
    userinfo, hosts, database, query = _split(pasted(url), setting)
    given = _parameters(query, setting)
    known = {name: value for name, value in given.items() if name in _KEPT}
    if (mode := known.get("sslmode", given.get("ssl"))) is not None:
        known["sslmode"] = _SSL_MODES.get(mode.lower(), mode.lower())
        if known["sslmode"] not in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"):
            raise InvalidSettings(
                f"{setting}: sslmode must be disable, allow, prefer, require, verify-ca or verify-full."
            )
    known.setdefault("application_name", "holdfast")
    system_ca = None
    if known.get("sslrootcert") == "system" or (
        known.get("sslmode", "").startswith("verify-") and "sslrootcert" not in known
    ):
        system_ca = known.get("sslmode", "verify-full")
        known.pop("sslrootcert", None)
    if given.get("schema", "public") != "public":
        raise InvalidSettings(
            f"{setting}: 'schema' is not supported. Give Holdfast a database of its own, or a user whose search_path "
            "is set (ALTER ROLE ... SET search_path)."
        )
    return Target(
        dsn=_joined(userinfo, hosts, database, known),
        size=_number(given, "connection_limit", setting),
        timeout=_number(given, "connect_timeout", setting) or None,
        system_ca=system_ca,
        pooled=any(given.get(name, "").lower() in _TRUE for name in ("pgbouncer", "pool_mode"))
        or any(_POOLED_HOST.search(host) or host.endswith(":6543") for host in hosts.lower().split(",")),
    )


def _split(url: str, setting: str) -> tuple[str, str, str, str]:
    """(user and password, hosts, database, query), all as they were written.

    A password may hold characters that should have been escaped: then the last `@` is where it ends.
    """
    rest = url.partition("://")[2]
    authority, path, query = _cut(rest)
    userinfo, _, hosts = authority.rpartition("@")
    bare = "@" not in authority and "@" in rest
    if "#" in rest or (bare and ("@" in path or "=" not in query.partition("&")[0])) or not _are_hosts(hosts):
        userinfo, found, after = rest.rpartition("@")
        hosts, path, query = _cut(after)
        if not found or not _are_hosts(hosts):
            raise InvalidSettings(
                f"{setting} cannot be read: it must look like postgresql://user:password@host:5432/database, with "
                "every special character of the password escaped (@ as %40, # as %23, / as %2F)."
            )
    return userinfo, hosts, path, query


def _cut(rest: str) -> tuple[str, str, str]:
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    return authority, path, query


def _are_hosts(hosts: str) -> bool:
    return all(_ADDRESS.fullmatch(host) for host in hosts.split(","))


def _parameters(query: str, setting: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        found[unquote(name)] = unquote(value)
    ours = {"ssl", "schema", "connection_limit", "connect_timeout"}
    unknown = [name for name in found if name not in _KEPT | _DROPPED | ours]
    if unknown:
        raise InvalidSettings(
            f"{setting} has a parameter that Holdfast does not know: {', '.join(repr(name) for name in unknown)}. "
            "Remove it, or check its spelling."
        )
    return found


def _number(given: Mapping[str, str], name: str, setting: str) -> int | None:
    if name not in given:
        return None
    if not given[name].isdecimal():
        raise InvalidSettings(f"{setting}: {name} must be a whole number.")
    return max(1, int(given[name])) if name == "connection_limit" else int(given[name])


def _joined(userinfo: str, hosts: str, database: str, known: Mapping[str, str]) -> str:
    user, colon, password = userinfo.partition(":")
    login = quote(unquote(user), safe="") + colon + quote(unquote(password), safe="")
    name = f"/{quote(unquote(database), safe='')}" if database else ""
    return f"postgresql://{login + '@' if userinfo else ''}{hosts}{name}?{urlencode(known, quote_via=quote)}"
