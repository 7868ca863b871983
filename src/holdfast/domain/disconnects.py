"""Why a connection ended, and what follows: the one table of disconnects.

Sources: WhatsApp's stream errors and connect failures as Baileys 7.0.0-rc14 reports them (lib/Types/index.js
`DisconnectReason`, lib/Utils/generics.js `getErrorCodeFromStreamError`) and as whatsmeow names them
(types/events: 401, 403 and 406 logged out, 402 temporary ban with `expire`, 405 client outdated). A device removed
without a code reaches us as 440: the tag is looked at before the number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from holdfast.domain.proxies import explained


class Kind(StrEnum):
    """What follows a disconnect."""

    TERMINAL = "terminal"
    """Only a human can help: clear the credentials, keep the history, ask for a new QR."""
    RETRY = "retry"
    """Heals by itself: back off and try again."""
    NOW = "now"
    """Expected: reconnect at once, without a penalty."""
    CONFLICT = "conflict"
    """Somebody outside holds the same credentials: hold off for minutes, never fight."""
    BAN = "ban"
    """Park until the ban expires; the credentials stay good."""
    OUTDATED = "outdated"
    """The client version is refused: ask for the current one."""
    BROKEN = "broken"
    """Our own state proved broken: one clean reconnect, then terminal."""
    HALT = "halt"
    """No try can succeed before a person changed something; the link stays good. Connect tries again."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """One row of the table. `sentence` says what happened, `advice` what a person should do (may be nothing)."""

    code: str
    kind: Kind
    sentence: str
    advice: str = ""

    @property
    def message(self) -> str:
        """The sentence that users see."""
        return f"{self.sentence} {self.advice}".strip()


LOGGED_OUT = Disconnect(
    "logged_out", Kind.TERMINAL, "The device was logged out on the phone.", "Link it again with a new QR code."
)
ON_PURPOSE = "Logged out by the user. Connect to link it again."
"""The sentence of a logout that a person ordered."""
FORBIDDEN = Disconnect(
    "forbidden",
    Kind.TERMINAL,
    "WhatsApp refused this account (403): it may be banned.",
    "Open WhatsApp on the phone to see why; then link it again.",
)
ACCOUNT_GONE = Disconnect(
    "account_gone",
    Kind.TERMINAL,
    "WhatsApp no longer knows this device (406).",
    "Link it again with a new QR code.",
)
MULTIDEVICE_MISMATCH = Disconnect(
    "multidevice_mismatch",
    Kind.TERMINAL,
    "The phone's linked-device list no longer matches this device (411).",
    "Update WhatsApp on the phone and link it again.",
)
BAD_SESSION = Disconnect(
    "bad_session",
    Kind.BROKEN,
    "The saved credentials of this session are damaged.",
    "If it happens again, link it with a new QR code.",
)
REPLACED = Disconnect(
    "replaced",
    Kind.CONFLICT,
    "Another program connected with the same credentials (440).",
    "Stop the other program, or log this device out on the phone and link it anew.",
)
CLIENT_OUTDATED = Disconnect(
    "client_outdated", Kind.OUTDATED, "WhatsApp refused our client version (405).", "Update Holdfast if this persists."
)
TEMPORARILY_BANNED = Disconnect(
    "temporarily_banned",
    Kind.BAN,
    "WhatsApp banned this account temporarily (402).",
    "Send less, and wait: the session resumes by itself when the ban ends.",
)
RESTART_REQUIRED = Disconnect("restart_required", Kind.NOW, "WhatsApp asked for a new connection (515).")
PAIRING_REFUSED = Disconnect(
    "pairing_refused",
    Kind.TERMINAL,
    "WhatsApp gave no pairing code for this number.",
    "Check the number, wait some minutes, or link by QR.",
)
ANOTHER_NUMBER = Disconnect(
    "another_number",
    Kind.TERMINAL,
    "The phone that scanned has another number than this session had.",
    "Link the same number again, or confirm that the session is to change its number.",
)
TIMED_OUT = Disconnect("timed_out", Kind.RETRY, "WhatsApp did not answer in time.")
CONNECTION_LOST = Disconnect("connection_lost", Kind.RETRY, "The connection to WhatsApp was lost.")
SERVER_ERROR = Disconnect("server_error", Kind.RETRY, "WhatsApp's server reported an error of its own.")
SERVICE_UNAVAILABLE = Disconnect("service_unavailable", Kind.RETRY, "WhatsApp's server is not available (503).")
REFUSED_UPGRADE = Disconnect(
    "refused_upgrade", Kind.RETRY, "WhatsApp's server refused the connection.", "A proxy or firewall may be in the way."
)
DNS_FAILED = Disconnect(
    "dns_failed", Kind.RETRY, "WhatsApp's address could not be resolved.", "Check this machine's DNS and network."
)
TLS_FAILED = Disconnect(
    "tls_failed",
    Kind.RETRY,
    "The secure connection to WhatsApp failed.",
    "Check the machine's clock, and any proxy that opens TLS.",
)
PROXY_FAILED = Disconnect(
    "proxy_failed",
    Kind.RETRY,
    "The session's proxy did not open a connection.",
    "Check the proxy, and `config.proxy` of the session or HOLDFAST_PROXY; nothing is sent past it.",
)
UNREACHABLE = Disconnect(
    "unreachable", Kind.RETRY, "WhatsApp cannot be reached from this machine.", "Check its network connection."
)
UNRESPONSIVE = Disconnect("unresponsive", Kind.RETRY, "The connection was open, but nothing came through it.")
UNLISTED = Disconnect(
    "unlisted",
    Kind.RETRY,
    "WhatsApp no longer lists this device on the account; connecting anew to be told why.",
)
STORE_UNAVAILABLE = Disconnect(
    "store_unavailable",
    Kind.RETRY,
    "The database did not take a write, so the connection was closed before anything could be lost.",
    "Check the database and its disk.",
)
CREDENTIALS_EXIST = Disconnect(
    "credentials_exist", Kind.RETRY, "The session has credentials already; connecting with them."
)
ENGINE_CRASHED = Disconnect("engine_crashed", Kind.RETRY, "The engine process ended unexpectedly and is replaced.")
ENGINE_MEMORY = Disconnect(
    "engine_crashed",
    Kind.RETRY,
    "The engine process used more memory than it may, and is replaced.",
    "If this happens again, raise HOLDFAST_SIDECAR_MEMORY_MB or lower HOLDFAST_SESSIONS_PER_SIDECAR.",
)
ENGINE_UNAVAILABLE = Disconnect(
    "engine_unavailable", Kind.RETRY, "The engine could not be started.", "Run `holdfast doctor` on this machine."
)
GRANT_LAPSED = Disconnect("grant_lapsed", Kind.RETRY, "The right to run this session could not be renewed in time.")
PAIRING_EXPIRED = Disconnect(
    "pairing_expired",
    Kind.TERMINAL,
    "The QR code was not scanned in time.",
    "Connect to get a new one and to link the device.",
)

# --- sessions on a WAHA server
WAHA_FAILED = Disconnect(
    "waha_failed",
    Kind.RETRY,
    "WAHA reports this session as FAILED.",
    "It is restarted there; nothing needs to be done.",
)
WAHA_STUCK = Disconnect(
    "waha_stuck", Kind.RETRY, "WAHA does not get this session past STARTING.", "It is restarted there."
)
WAHA_STOPPED = Disconnect("waha_stopped", Kind.RETRY, "The session was stopped at WAHA; it is started there again.")
WAHA_UNLINKED = Disconnect("waha_unlinked", Kind.RETRY, "WAHA asks for a new QR code: the device is no longer linked.")
WAHA_UNREACHABLE = Disconnect(
    "waha_unreachable", Kind.RETRY, "The WAHA server does not answer.", "Its sessions come back as soon as it does."
)
WAHA_MISSING = Disconnect(
    "waha_missing",
    Kind.TERMINAL,
    "WAHA no longer has this session: it was deleted there.",
    "Connect to make a new one and to link it with a new QR code.",
)
WAHA_KEY = Disconnect(
    "waha_key",
    Kind.HALT,
    "The WAHA server refused our key (401).",
    "Correct its api_key in HOLDFAST_WAHA_SERVERS and start Holdfast anew, or Connect to try again.",
)
WAHA_REFUSED = Disconnect(
    "waha_refused",
    Kind.HALT,
    "The WAHA server refused to make this session.",
    "Its reason is in the log; WAHA takes letters, digits, '-' and '_' in a session's name, 54 of them at most.",
)
WAHA_ONLY_DEFAULT = Disconnect(
    "waha_only_default",
    Kind.HALT,
    "This WAHA server is an old Core, which allows no session but 'default'.",
    "Update WAHA, or name the session 'default'.",
)
WAHA_UNSUITABLE = Disconnect(
    "waha_unsuitable",
    Kind.HALT,
    "What answers at the WAHA server's address is no WAHA that Holdfast can use.",
    "Check its url in HOLDFAST_WAHA_SERVERS, and its version: 2024.10 at least.",
)
WAHA_UNKNOWN_SERVER = Disconnect(
    "waha_unknown_server",
    Kind.HALT,
    "This session lives on a WAHA server that is not in HOLDFAST_WAHA_SERVERS.",
    "Add the server there and start Holdfast anew, or move the session.",
)
WAHA_PASSKEY = Disconnect(
    "waha_passkey",
    Kind.HALT,
    "WhatsApp asks for a passkey, which can be given in WAHA's own dashboard only.",
    "Give it there, then Connect.",
)

ALL: tuple[Disconnect, ...] = (
    LOGGED_OUT,
    FORBIDDEN,
    ACCOUNT_GONE,
    MULTIDEVICE_MISMATCH,
    PAIRING_REFUSED,
    ANOTHER_NUMBER,
    BAD_SESSION,
    REPLACED,
    CLIENT_OUTDATED,
    TEMPORARILY_BANNED,
    RESTART_REQUIRED,
    TIMED_OUT,
    CONNECTION_LOST,
    SERVER_ERROR,
    SERVICE_UNAVAILABLE,
    REFUSED_UPGRADE,
    DNS_FAILED,
    TLS_FAILED,
    PROXY_FAILED,
    UNREACHABLE,
    UNRESPONSIVE,
    UNLISTED,
    STORE_UNAVAILABLE,
    CREDENTIALS_EXIST,
    ENGINE_CRASHED,
    ENGINE_MEMORY,
    ENGINE_UNAVAILABLE,
    GRANT_LAPSED,
    PAIRING_EXPIRED,
    WAHA_FAILED,
    WAHA_STUCK,
    WAHA_STOPPED,
    WAHA_UNLINKED,
    WAHA_UNREACHABLE,
    WAHA_MISSING,
    WAHA_KEY,
    WAHA_REFUSED,
    WAHA_ONLY_DEFAULT,
    WAHA_UNSUITABLE,
    WAHA_UNKNOWN_SERVER,
    WAHA_PASSKEY,
)

CRASHES = (ENGINE_CRASHED, ENGINE_MEMORY)
"""Ends of our own process, after which there is nothing to wait for."""
_OURS = (
    PROXY_FAILED,
    UNLISTED,
    STORE_UNAVAILABLE,
    CREDENTIALS_EXIST,
    ENGINE_CRASHED,
    ENGINE_MEMORY,
    ENGINE_UNAVAILABLE,
    GRANT_LAPSED,
    WAHA_FAILED,
    WAHA_STUCK,
    WAHA_STOPPED,
    WAHA_UNLINKED,
)
NETWORK: frozenset[str] = frozenset(row.code for row in ALL if row.kind is Kind.RETRY and row not in _OURS)
"""Codes of a network or server fault that other sessions share: one session's success says that it is over."""

IN_CONFLICT = frozenset({REPLACED.code, "conflict"})
"""Codes of a session that another program took over: at first, and from the third time in a row."""

RESTRICTED = "restricted"
"""The code of a session that works, but may not write to new people (463, reach-out timelock): no disconnect."""

BY_TAG: Mapping[str, Disconnect] = {
    "device_removed": LOGGED_OUT,
    "credentials": BAD_SESSION,
    "pairing_refused": PAIRING_REFUSED,
    "another_number": ANOTHER_NUMBER,
    "store": STORE_UNAVAILABLE,
    "has_credentials": CREDENTIALS_EXIST,
    "upgrade": REFUSED_UPGRADE,
    "dns": DNS_FAILED,
    "tls": TLS_FAILED,
    "proxy": PROXY_FAILED,
    "refused": UNREACHABLE,
    "liveness": UNRESPONSIVE,
    "engine": ENGINE_CRASHED,
    "memory": ENGINE_MEMORY,
    "engine_unavailable": ENGINE_UNAVAILABLE,
    "grant": GRANT_LAPSED,
    **{row.code: row for row in ALL if row.code.startswith("waha_") or row is PAIRING_EXPIRED},
}

BY_CODE: Mapping[int, Disconnect] = {
    401: LOGGED_OUT,
    402: TEMPORARILY_BANNED,
    403: FORBIDDEN,
    405: CLIENT_OUTDATED,
    406: ACCOUNT_GONE,
    408: TIMED_OUT,
    409: CLIENT_OUTDATED,
    411: MULTIDEVICE_MISMATCH,
    428: CONNECTION_LOST,
    440: REPLACED,
    500: SERVER_ERROR,
    501: SERVER_ERROR,
    503: SERVICE_UNAVAILABLE,
    515: RESTART_REQUIRED,
}


def classify(code: int, tag: str) -> Disconnect:
    """The row for what an engine reported: the tag first, then WhatsApp's number, else a lost connection.

    A number never proves that our credentials are damaged: Baileys gives 500 for much else, so only the tag
    `credentials`, our own evidence, leads to `bad_session`.
    """
    return BY_TAG.get(tag) or BY_CODE.get(code) or CONNECTION_LOST


def of_closed(code: int, tag: str, attrs: Mapping[str, str]) -> Disconnect:
    """The row for what an engine reported, with a sentence of its own where `attrs` say more."""
    row = classify(code, tag)
    if row is PROXY_FAILED and attrs.get("proxy"):
        return replace(row, sentence=explained(attrs["proxy"], attrs.get("why", "")))
    return row


def ban_seconds(attrs: Mapping[str, str]) -> float:
    """How long a 402 lasts, in seconds, from the failure's `expire` attribute; one hour where it names none."""
    try:
        seconds = float(attrs.get("expire", ""))
    except ValueError:
        return 3600.0
    return seconds if 0 < seconds < 10 * 365 * 86400 else 3600.0
