"""What the server reads of a phone's signed device identity: only the key index, which device lists show."""

from __future__ import annotations

from wasim.wire.protobuf import Schema, decode

_DETAILS = Schema("ADVDeviceIdentity", {3: ("keyIndex", "uint", False)})
_SIGNED = Schema("ADVSignedDeviceIdentity", {1: ("details", "bytes", False)})
_SEALED = Schema("ADVSignedDeviceIdentityHMAC", {1: ("details", "bytes", False)})


def device_key_index(sealed: bytes) -> int:
    """Give the key index in an encoded ``ADVSignedDeviceIdentityHMAC``.

    :raises ProtobufError: if it is none
    """
    signed = decode(_SEALED, sealed).get("details", b"")
    details = decode(_SIGNED, signed).get("details", b"")
    return int(decode(_DETAILS, details).get("keyIndex", 0))
