"""How clients seal media before they upload it: AES-256-CBC and a truncated HMAC, by keys from one media key.

Layout as in Baileys 7.0.0-rc14 (``encryptedStream`` and ``getMediaKeys`` in lib/Utils/messages-media.js): ciphertext,
then the first 10 bytes of HMAC-SHA256 over IV and ciphertext. Baileys does not check that MAC; this does.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wasim.signal.kdf import cbc_decrypt, cbc_encrypt, hkdf, mac

MAC_SIZE = 10
KEYS_SIZE = 112
LABELS = {
    "image": b"WhatsApp Image Keys",
    "sticker": b"WhatsApp Image Keys",
    "video": b"WhatsApp Video Keys",
    "audio": b"WhatsApp Audio Keys",
    "document": b"WhatsApp Document Keys",
}


class MediaError(ValueError):
    """A file that is not what its message says; the text names what differs."""


@dataclass(frozen=True, slots=True)
class SealedMedia:
    """An encrypted file and what a message says of it."""

    key: bytes
    data: bytes
    sha256: bytes
    length: int

    @property
    def enc_sha256(self) -> bytes:
        """The hash of the encrypted file, by which it is uploaded."""
        return hashlib.sha256(self.data).digest()

    def __repr__(self) -> str:
        return f"SealedMedia({self.length} bytes)"


def seal(kind: str, plain: bytes, key: bytes | None = None) -> SealedMedia:
    """Encrypt a file; ``key`` (32 bytes) is a new random one unless given."""
    key = key or secrets.token_bytes(32)
    iv, cipher_key, mac_key = _keys(kind, key)
    body = cbc_encrypt(cipher_key, iv, plain)
    return SealedMedia(key, body + mac(mac_key, iv + body)[:MAC_SIZE], hashlib.sha256(plain).digest(), len(plain))


def open_sealed(kind: str, data: bytes, key: bytes, *, sha256: bytes, enc_sha256: bytes) -> bytes:
    """Check and decrypt a file.

    :raises MediaError: if a hash or the MAC is wrong, or the file cannot be decrypted
    """
    if not hmac.compare_digest(hashlib.sha256(data).digest(), enc_sha256):
        raise MediaError("the encrypted file has another hash than its message says")
    iv, cipher_key, mac_key = _keys(kind, key)
    body, seal_mac = data[:-MAC_SIZE], data[-MAC_SIZE:]
    if not hmac.compare_digest(mac(mac_key, iv + body)[:MAC_SIZE], seal_mac):
        raise MediaError("the file's MAC is wrong")
    try:
        plain = cbc_decrypt(cipher_key, iv, body)
    except ValueError:
        raise MediaError("the file cannot be decrypted") from None
    if not hmac.compare_digest(hashlib.sha256(plain).digest(), sha256):
        raise MediaError("the file has another hash than its message says")
    return plain


def seal_retry(key: bytes, message_id: str, plain: bytes) -> tuple[bytes, bytes]:
    """Encrypt what is said of a file that is to be uploaded again; give ciphertext and IV."""
    iv = secrets.token_bytes(12)
    return AESGCM(_retry_key(key)).encrypt(iv, plain, message_id.encode()), iv


def open_retry(key: bytes, message_id: str, data: bytes, iv: bytes) -> bytes:
    """The inverse of ``seal_retry``.

    :raises MediaError: if it was not sealed with that file's key for that message
    """
    try:
        return AESGCM(_retry_key(key)).decrypt(iv, data, message_id.encode())
    except (InvalidTag, ValueError):
        raise MediaError("the request for the file was not sealed with the file's key") from None


def _retry_key(key: bytes) -> bytes:
    return hkdf(key, 32, info=b"WhatsApp Media Retry Notification")


def _keys(kind: str, key: bytes) -> tuple[bytes, bytes, bytes]:
    keys = hkdf(key, KEYS_SIZE, info=LABELS[kind])
    return keys[:16], keys[16:48], keys[48:80]
