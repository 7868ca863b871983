"""The protobuf messages of the handshake and the login (WAProto in Baileys 7.0.0-rc14)."""

from __future__ import annotations

from wasim.wire.protobuf import Schema

_CLIENT_HELLO = Schema("ClientHello", {1: ("ephemeral", "bytes", False)})
_SERVER_HELLO = Schema(
    "ServerHello",
    {1: ("ephemeral", "bytes", False), 2: ("static", "bytes", False), 3: ("payload", "bytes", False)},
)
_CLIENT_FINISH = Schema("ClientFinish", {1: ("static", "bytes", False), 2: ("payload", "bytes", False)})
HANDSHAKE = Schema(
    "HandshakeMessage",
    {
        2: ("clientHello", _CLIENT_HELLO, False),
        3: ("serverHello", _SERVER_HELLO, False),
        4: ("clientFinish", _CLIENT_FINISH, False),
    },
)

CERTIFICATE_DETAILS = Schema(
    "NoiseCertificate.Details",
    {
        1: ("serial", "uint", False),
        2: ("issuerSerial", "uint", False),
        3: ("key", "bytes", False),
        4: ("notBefore", "uint", False),
        5: ("notAfter", "uint", False),
    },
)
CERTIFICATE = Schema("NoiseCertificate", {1: ("details", "bytes", False), 2: ("signature", "bytes", False)})
CERTIFICATE_CHAIN = Schema("CertChain", {1: ("leaf", CERTIFICATE, False), 2: ("intermediate", CERTIFICATE, False)})

_VERSION = Schema(
    "AppVersion", {1: ("primary", "uint", False), 2: ("secondary", "uint", False), 3: ("tertiary", "uint", False)}
)
_USER_AGENT = Schema("UserAgent", {1: ("platform", "uint", False), 2: ("appVersion", _VERSION, False)})
_REGISTRATION = Schema(
    "DevicePairingRegistrationData",
    {
        1: ("eRegid", "bytes", False),
        2: ("eKeytype", "bytes", False),
        3: ("eIdent", "bytes", False),
        4: ("eSkeyId", "bytes", False),
        5: ("eSkeyVal", "bytes", False),
        6: ("eSkeySig", "bytes", False),
        7: ("buildHash", "bytes", False),
        8: ("deviceProps", "bytes", False),
    },
)
CLIENT_PAYLOAD = Schema(
    "ClientPayload",
    {
        1: ("username", "uint", False),
        3: ("passive", "bool", False),
        5: ("userAgent", _USER_AGENT, False),
        7: ("pushName", "string", False),
        18: ("device", "uint", False),
        19: ("devicePairingData", _REGISTRATION, False),
        33: ("pull", "bool", False),
    },
)
