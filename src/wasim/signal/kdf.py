"""Key derivation and the cipher of Signal messages: HKDF-SHA256, AES-256-CBC, HMAC-SHA256."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7


def mac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256."""
    return hmac.digest(key, data, hashlib.sha256)


def hkdf(secret: bytes, length: int, *, info: bytes, salt: bytes = b"\0" * 32) -> bytes:
    """RFC 5869 with SHA-256."""
    key, block, out = mac(salt, secret), b"", b""
    counter = 1
    while len(out) < length:
        block = mac(key, block + info + bytes((counter,)))
        out += block
        counter += 1
    return out[:length]


def cbc_encrypt(key: bytes, iv: bytes, plain: bytes) -> bytes:
    """AES-256-CBC with PKCS#7 padding."""
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def cbc_decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """The inverse. Raises ValueError for wrong padding or length."""
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
