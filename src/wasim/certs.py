"""The server's static Noise key and the certificates that vouch for it: root -> intermediate -> leaf.

Clients trust the root's public key alone (Baileys: ``WA_CERT_DETAILS.PUBLIC_KEY``). As with the real server the
intermediate names issuer serial 0, the leaf holds the static key itself, and each is signed with XEdDSA over the
encoded details.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasim import curve
from wasim.state import State
from wasim.wire.login import CERTIFICATE_CHAIN, CERTIFICATE_DETAILS
from wasim.wire.protobuf import encode

ROOT_SERIAL = 0
YEAR = 365 * 86400


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """The root's public key, the static key pair, and the encoded certificate chain."""

    root_public: bytes
    static: curve.KeyPair
    chain: bytes


def server_identity(state: State, now: float) -> ServerIdentity:
    """Load the server's keys from ``state``, or make them; certify the static key for a year from ``now``."""
    stored = dict(state.load("server-key"))
    pairs: dict[str, curve.KeyPair] = {}
    for name in ("root", "intermediate", "static"):
        pairs[name] = curve.key_pair(stored.get(name))
        state.put("server-key", name, pairs[name].private)
    state.commit()
    intermediate = _certify(pairs["root"], 1, ROOT_SERIAL, pairs["intermediate"].public, now)
    leaf = _certify(pairs["intermediate"], 2, 1, pairs["static"].public, now)
    chain = encode(CERTIFICATE_CHAIN, {"leaf": leaf, "intermediate": intermediate})
    return ServerIdentity(pairs["root"].public, pairs["static"], chain)


def _certify(issuer: curve.KeyPair, serial: int, issuer_serial: int, key: bytes, now: float) -> dict[str, bytes]:
    details = encode(
        CERTIFICATE_DETAILS,
        {
            "serial": serial,
            "issuerSerial": issuer_serial,
            "key": key,
            "notBefore": int(now) - 86400,
            "notAfter": int(now) + YEAR,
        },
    )
    return {"details": details, "signature": curve.sign(issuer.private, details)}
