"""The server's side of WhatsApp's Noise XX handshake, and the encrypted frames after it.

``Noise_XX_25519_AESGCM_SHA256`` with the four header bytes ``WA 06 03`` as prologue. Frames carry a 3-byte
big-endian length; one WebSocket message may hold a part of a frame or several (seen in Baileys 7.0.0-rc14,
``lib/Utils/noise-handler.js``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wasim import curve

MODE = b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0"
HEADER = b"WA\x06\x03"
MAX_FRAME = 1 << 24


class NoiseError(ValueError):
    """The peer broke the handshake or a frame; the message says how."""


def _hkdf(salt: bytes, material: bytes) -> tuple[bytes, bytes]:
    key = HKDF(hashes.SHA256(), 64, salt, b"").derive(material)
    return key[:32], key[32:]


class Cipher:
    """AES-256-GCM with a counter as nonce; one direction of a connection."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._counter = 0

    def _nonce(self) -> bytes:
        nonce = b"\0" * 8 + self._counter.to_bytes(4, "big")
        self._counter += 1
        return nonce

    def encrypt(self, plain: bytes, aad: bytes = b"") -> bytes:
        """Seal one frame."""
        return self._aead.encrypt(self._nonce(), plain, aad)

    def decrypt(self, sealed: bytes, aad: bytes = b"") -> bytes:
        """Open one frame.

        :raises NoiseError: if it was not sealed with this key as the next one
        """
        try:
            return self._aead.decrypt(self._nonce(), sealed, aad)
        except InvalidTag:
            raise NoiseError("a frame does not open with the agreed key") from None


class Handshake:
    """One responder handshake: ``answer`` the hello, ``finish`` with the client's second message."""

    def __init__(self, static: curve.KeyPair, certificate: bytes, header: bytes = HEADER) -> None:
        self._static = static
        self._certificate = certificate
        self._hash = MODE
        self._salt = MODE
        self._cipher = Cipher(MODE)
        self._ephemeral = curve.key_pair()
        self._mix_hash(header)

    def _mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _mix_key(self, private: bytes, public: bytes) -> None:
        try:
            shared = curve.agree(private, public)
        except ValueError:
            raise NoiseError("the peer sent an unusable public key") from None
        self._salt, key = _hkdf(self._salt, shared)
        self._cipher = Cipher(key)

    def _seal(self, plain: bytes) -> bytes:
        sealed = self._cipher.encrypt(plain, self._hash)
        self._mix_hash(sealed)
        return sealed

    def _open(self, sealed: bytes) -> bytes:
        plain = self._cipher.decrypt(sealed, self._hash)
        self._mix_hash(sealed)
        return plain

    def answer(self, client_ephemeral: bytes) -> tuple[bytes, bytes, bytes]:
        """Take the client's ephemeral key; give the server's ephemeral, sealed static and sealed certificate.

        :raises NoiseError: if the key is unusable
        """
        if len(client_ephemeral) != 32:
            raise NoiseError(f"the client's ephemeral key has {len(client_ephemeral)} bytes instead of 32")
        self._client_ephemeral = client_ephemeral
        self._mix_hash(client_ephemeral)
        self._mix_hash(self._ephemeral.public)
        self._mix_key(self._ephemeral.private, client_ephemeral)
        static = self._seal(self._static.public)
        self._mix_key(self._static.private, client_ephemeral)
        return self._ephemeral.public, static, self._seal(self._certificate)

    def finish(self, sealed_static: bytes, sealed_payload: bytes) -> tuple[bytes, bytes]:
        """Take the client's sealed static key and payload; give both in the clear.

        :raises NoiseError: if they do not open, or the key is unusable
        """
        static = self._open(sealed_static)
        if len(static) != 32:
            raise NoiseError(f"the client's static key has {len(static)} bytes instead of 32")
        self._mix_key(self._ephemeral.private, static)
        return static, self._open(sealed_payload)

    def split(self) -> tuple[Cipher, Cipher]:
        """Give the ciphers for reading from and writing to the client."""
        read, write = _hkdf(self._salt, b"")
        return Cipher(read), Cipher(write)


class FrameReader:
    """Cuts the byte stream of a client into frames, the first of them after its header."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.routing_info: bytes | None = None
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take received bytes, give each frame that is complete.

        :raises NoiseError: for a wrong header
        """
        self._buffer += data
        if not self._started and not self._start():
            return
        while len(self._buffer) >= 3:
            end = 3 + int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[3:end])
            del self._buffer[:end]
            yield frame

    def _start(self) -> bool:
        """Read the optional routing prefix and the header; tell whether they are complete."""
        at = 0
        if self._buffer[:2] == b"ED":
            if len(self._buffer) < 7:
                return False
            if self._buffer[2:4] != b"\0\1":
                raise NoiseError("the routing prefix is not version 1")
            at = 7 + int.from_bytes(self._buffer[4:7], "big")
            if at > 4096:
                raise NoiseError("the routing prefix is longer than 4096 bytes")
        if len(self._buffer) < at + 4:
            return False
        if bytes(self._buffer[at : at + 4]) != HEADER:
            raise NoiseError(f"the first bytes are {bytes(self._buffer[at : at + 4])!r}, not {HEADER!r}")
        if at:
            self.routing_info = bytes(self._buffer[7:at])
        del self._buffer[: at + 4]
        self._started = True
        return True


def frame(data: bytes) -> bytes:
    """Put the 3-byte length in front.

    :raises NoiseError: if ``data`` is 16 MiB or more
    """
    if len(data) >= MAX_FRAME:
        raise NoiseError(f"a frame of {len(data)} bytes does not fit")
    return len(data).to_bytes(3, "big") + data
