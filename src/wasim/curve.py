"""Curve25519 as WhatsApp uses it: X25519 agreement, and XEdDSA signatures with the same keys.

Public keys here are the bare 32 bytes; where the protocol puts the type byte 5 in front, the caller does.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import xeddsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

KEY_TYPE = b"\x05"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A Curve25519 key pair; ``private`` is never logged or shown."""

    private: bytes
    public: bytes

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.hex()[:16]}…)"


def key_pair(private: bytes | None = None) -> KeyPair:
    """Make a new pair, or the pair of a 32-byte private key."""
    key = X25519PrivateKey.from_private_bytes(private) if private else X25519PrivateKey.generate()
    return KeyPair(key.private_bytes_raw(), key.public_key().public_bytes_raw())


def agree(private: bytes, public: bytes) -> bytes:
    """Give the 32-byte shared secret.

    :raises ValueError: if ``public`` is no usable point
    """
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def sign(private: bytes, message: bytes) -> bytes:
    """Give the 64-byte XEdDSA signature."""
    even = xeddsa.priv_force_sign(private, False)  # XEdDSA: the Edwards key with sign bit 0
    return bytes(xeddsa.ed25519_priv_sign(even, message, secrets.token_bytes(64)))


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` fits.

    Signers put the sign of their Edwards key in the last bit (curve25519-js, libsignal) or keep it 0 (the XEdDSA
    paper); both are read.
    """
    if len(public) != 32 or len(signature) != 64:
        return False
    sign_bit = bool(signature[63] & 0x80)
    plain = signature[:63] + bytes((signature[63] & 0x7F,))
    edwards = xeddsa.curve25519_pub_to_ed25519_pub(public, sign_bit)
    return bool(xeddsa.ed25519_verify(plain, edwards, message))
