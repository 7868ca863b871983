"""What a connection is after its handshake: a device that logs in, or a companion that wants to be linked."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from wasim import curve, devices, versions
from wasim import jid as jids
from wasim.accounts import Device
from wasim.connection import Connection, Session
from wasim.hub import Hub
from wasim.pairing import Pairings, PairingSession
from wasim.stanzas import dispatch
from wasim.wire.nodes import Node


class LoginSession:
    """A device's stream."""

    def __init__(self, hub: Hub, device: Device, connection: Connection) -> None:
        self.names = device.names
        self._hub = hub
        self._device = device
        self._connection = connection

    def on_node(self, node: Node) -> None:
        """Handle one stanza, unless the device was unlinked or replaced meanwhile."""
        if node.tag == "xmlstreamend":
            self._connection.end(None, "the client ended the stream")
        elif self._hub.link(self._device) is self._connection:
            dispatch(self._hub, self._device, node)

    def on_close(self) -> None:
        """Take the device offline."""
        devices.gone(self._hub, self._device, self._connection)


def open_session(
    hub: Hub, pairings: Pairings, connection: Connection, noise: bytes, payload: dict[str, Any]
) -> Session | None:
    """Decide by the login payload; a refusal is sent as ``<failure>`` and ends the connection."""
    if "username" in payload:
        return _login(hub, connection, noise, payload)
    registration = payload.get("devicePairingData")
    if registration is None:
        return _fail(hub, connection, 400, "neither a login nor a registration")
    reason = _check_registration(registration)
    if reason:
        return _fail(hub, connection, 400, reason)
    if refused := _struck(hub, ("pairing",), payload):
        return _fail(hub, connection, *refused)
    return PairingSession(hub, pairings, connection, noise, registration)


def opener(hub: Hub, pairings: Pairings) -> functools.partial[Session | None]:
    """Bind ``open_session`` to a hub."""
    return functools.partial(open_session, hub, pairings)


def _login(hub: Hub, connection: Connection, noise: bytes, payload: dict[str, Any]) -> Session | None:
    address = jids.Jid(str(payload["username"]), jids.PN, int(payload.get("device", 0)))
    device = hub.accounts.device(address)
    names = device.names if device else (address.user, str(address.bare()), "", str(address))
    if refused := _struck(hub, names, payload):
        return _fail(hub, connection, *refused, names=names)
    if device is None or device.id == 0:
        return _fail(hub, connection, 401, "the device is not linked (or no longer)", names=names)
    if noise != device.noise:
        reason = "the Noise key is not the one that the device was linked with"
        return _fail(hub, connection, 401, reason, names=names)
    if payload.get("pushName"):
        device.push_name = payload["pushName"]
    _count(hub, names, "login")
    devices.login(hub, device, connection, versions.write(versions.of(payload)))
    return LoginSession(hub, device, connection)


def _struck(hub: Hub, names: tuple[str, ...], payload: dict[str, Any]) -> tuple[int, str, dict[str, Any]] | None:
    """Whether a fault refuses this login: the code, the reason for the log, further attributes."""
    if fault := hub.faults.take("failure", names):
        return int(fault.options.get("reason", 500)), "fault failure", fault.options
    outdated = hub.faults.find("outdated", names)
    if outdated is not None and versions.of(payload) < versions.wanted(outdated):
        hub.faults.take("outdated", names)
        return 405, f"version {versions.write(versions.of(payload))} is outdated", {}
    return None


def _count(hub: Hub, names: tuple[str, ...], kind: str) -> None:
    if names:
        hub.attempts.setdefault(names[3], Counter())[kind] += 1


def _fail(
    hub: Hub,
    connection: Connection,
    code: int,
    reason: str,
    extra: dict[str, Any] | None = None,
    *,
    names: tuple[str, ...] = (),
) -> Session | None:
    connection.names = names
    _count(hub, names, "login-refused")
    hub.journal.note("login-refused", jid=names[3] if names else None, code=code, reason=reason)
    attrs = {key: str(value) for key, value in (extra or {}).items() if key != "reason"}
    connection.end(Node("failure", {"reason": str(code), "location": "wasim"} | attrs), f"refused: {reason}")
    return None


def _check_registration(registration: dict[str, Any]) -> str | None:
    """Check what a new companion says of itself; give what is wrong."""
    sizes = {"eRegid": 4, "eKeytype": 1, "eIdent": 32, "eSkeyId": 3, "eSkeyVal": 32, "eSkeySig": 64}
    for name, size in sizes.items():
        if len(registration.get(name, b"")) != size:
            return f"{name} must have {size} bytes"
    signed = curve.KEY_TYPE + registration["eSkeyVal"]
    if registration["eKeytype"] != curve.KEY_TYPE:
        return "eKeytype must be 5"
    if not curve.verify(registration["eIdent"], signed, registration["eSkeySig"]):
        return "the signed pre-key is not signed by the identity key"
    return None
