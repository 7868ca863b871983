"""Sender keys: one ciphertext for a whole group, after each member got the sender's chain in a message of its own.

Wire format version 3 as libsignal's; checked against Baileys 7.0.0-rc14 lib/Signal/Group. Signing keys carry the type
byte 5 on the wire; inside, they are the bare 32 bytes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from wasim import curve
from wasim.curve import KEY_TYPE, KeyPair
from wasim.signal import kdf
from wasim.signal.ratchet import VERSION, Chain, Duplicate, SignalError
from wasim.wire.protobuf import ProtobufError, Schema, decode, encode
from wasim.wire.schema import SENDER_KEY_DISTRIBUTION, SENDER_KEY_MESSAGE

SIGNATURE_SIZE = 64
MAX_STATES = 5
"""How many chains of one sender are kept: messages of an older one may still be on their way."""


@dataclass(slots=True)
class SenderKey:
    """A chain of message keys and the key that signs its messages; ``private`` is empty for somebody else's."""

    id: int
    chain: Chain
    public: bytes
    private: bytes = b""

    def distribution(self) -> bytes:
        """Give the message from which others can decrypt what comes next."""
        facts = {
            "id": self.id, "iteration": self.chain.index, "chainKey": self.chain.key,
            "signingKey": KEY_TYPE + self.public,
        }  # fmt: skip
        return VERSION + encode(SENDER_KEY_DISTRIBUTION, facts)

    def encrypt(self, plain: bytes) -> bytes:
        """Give the next message. Raises ``SignalError`` if the key is somebody else's."""
        if not self.private:
            raise SignalError("only its owner can encrypt with a sender key")
        number, seed = self.chain.step()
        key, iv = _message_keys(seed)
        facts = {"id": self.id, "iteration": number, "ciphertext": kdf.cbc_encrypt(key, iv, plain)}
        signed = VERSION + encode(SENDER_KEY_MESSAGE, facts)
        return signed + curve.sign(self.private, signed)

    def to_json(self) -> list[Any]:
        """Facts in which bytes may stand."""
        return [self.id, self.chain.to_json(), self.public, self.private]


def sender_key_from_json(facts: list[Any]) -> SenderKey:
    """The inverse of ``SenderKey.to_json``."""
    return SenderKey(facts[0], Chain.from_json(facts[1]), facts[2], facts[3])


def new_sender_key() -> SenderKey:
    """Make a key to send with."""
    pair: KeyPair = curve.key_pair()
    return SenderKey(secrets.randbelow(1 << 31), Chain(secrets.token_bytes(32)), pair.public, pair.private)


def read_distribution(data: bytes) -> SenderKey:
    """Read somebody's distribution message. Raises ``SignalError``."""
    parts = _read(SENDER_KEY_DISTRIBUTION, data[:1], data[1:])
    signing, chain = parts.get("signingKey", b""), parts.get("chainKey", b"")
    if len(signing) != 33 or signing[:1] != KEY_TYPE or len(chain) != 32:
        raise SignalError("a sender key needs a chain key of 32 bytes and a signing key of 33, the first of them 5")
    return SenderKey(int(parts.get("id", 0)), Chain(chain, int(parts.get("iteration", 0))), signing[1:])


class SenderKeys:
    """The chains of one sender in one group, newest first."""

    def __init__(self, keys: list[SenderKey] | None = None) -> None:
        self._keys = keys or []

    def learn(self, data: bytes) -> None:
        """Take a distribution message; one that is known does not set its chain back. Raises ``SignalError``."""
        key = read_distribution(data)
        known = next((kept for kept in self._keys if kept.id == key.id and kept.public == key.public), None)
        if known is None:
            self._keys = [key, *self._keys][:MAX_STATES]

    def decrypt(self, data: bytes) -> bytes:
        """Give the plaintext; raises ``SignalError`` and changes nothing if the message does not fit."""
        if len(data) <= SIGNATURE_SIZE + 1:
            raise SignalError("that is no sender key message of version 3")
        signed, signature = data[:-SIGNATURE_SIZE], data[-SIGNATURE_SIZE:]
        parts = _read(SENDER_KEY_MESSAGE, signed[:1], signed[1:])
        number, iteration = int(parts.get("id", 0)), int(parts.get("iteration", 0))
        owners = [key for key in self._keys if key.id == number]
        if not owners:
            raise SignalError("there is no sender key with that id")
        key = next((key for key in owners if curve.verify(key.public, signed, signature)), None)
        if key is None:
            raise SignalError("the message is not signed by the sender key's owner")
        chain = key.chain.copy()
        seed = chain.take(iteration)
        if seed is None:
            raise Duplicate("the message was decrypted before")
        cipher_key, iv = _message_keys(seed)
        try:
            plain = kdf.cbc_decrypt(cipher_key, iv, parts.get("ciphertext", b""))
        except ValueError:
            raise SignalError("the message cannot be decrypted with its sender key") from None
        key.chain = chain
        return plain

    def to_json(self) -> list[Any]:
        """Facts in which bytes may stand."""
        return [key.to_json() for key in self._keys]


def sender_keys_from_json(facts: list[Any]) -> SenderKeys:
    """The inverse of ``SenderKeys.to_json``."""
    return SenderKeys([sender_key_from_json(key) for key in facts])


def _read(schema: Schema, version: bytes, body: bytes) -> dict[str, Any]:
    if not version or version[0] >> 4 != 3:
        raise SignalError("that is no sender key message of version 3")
    try:
        return decode(schema, body)
    except ProtobufError as error:
        raise SignalError(f"the message cannot be read: {error}") from error


def _message_keys(seed: bytes) -> tuple[bytes, bytes]:
    keys = kdf.hkdf(seed, 48, info=b"WhisperGroup")
    return keys[16:], keys[:16]
