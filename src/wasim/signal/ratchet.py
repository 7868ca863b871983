"""One Signal session: the double ratchet (signal.org/docs/specifications/doubleratchet), wire format version 3.

Public keys on the wire carry the type byte 5; inside, they are the bare 32 bytes.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from typing import Any

from wasim import curve
from wasim.curve import KEY_TYPE, KeyPair
from wasim.signal import kdf
from wasim.wire.protobuf import ProtobufError, decode, encode
from wasim.wire.schema import PRE_KEY_MESSAGE, SIGNAL_MESSAGE

VERSION = b"\x33"
MAC_SIZE = 8
MAX_AHEAD = 2_000
MAX_SKIPPED = 2_000
MAX_CHAINS = 5
_NONE_SENT = 1 << 31
"""libsignal counts from -1: a chain on which nothing was sent shows as a huge unsigned number."""


class SignalError(ValueError):
    """A message that cannot be decrypted; the text names the reason, and never a key."""


class Duplicate(SignalError):
    """A message that was decrypted before."""


@dataclass(slots=True)
class Chain:
    """A chain of message keys. ``key`` is empty once the chain is closed; ``skipped`` holds keys not used yet."""

    key: bytes
    index: int = 0
    skipped: dict[int, bytes] = field(default_factory=dict)

    def step(self) -> tuple[int, bytes]:
        """The next message's number and key."""
        number, seed = self.index, kdf.mac(self.key, b"\x01")
        self.key = kdf.mac(self.key, b"\x02")
        self.index += 1
        return number, seed

    def skip_to(self, number: int) -> None:
        """Keep the keys of the messages before ``number``."""
        if number - self.index > MAX_AHEAD:
            raise SignalError(f"the message is {number - self.index} ahead of the chain")
        while self.key and self.index < number:
            at, seed = self.step()
            self.skipped[at] = seed
        while len(self.skipped) > MAX_SKIPPED:
            del self.skipped[next(iter(self.skipped))]

    def take(self, number: int) -> bytes | None:
        """The key of message ``number``, which is used up by that; None if it was before.

        Raises ``SignalError`` if the message is too far ahead, or the chain ended before it.
        """
        self.skip_to(number)
        if number < self.index:
            return self.skipped.pop(number, None)
        if not self.key:
            raise SignalError("the chain is closed")
        return self.step()[1]

    def copy(self) -> Chain:
        """A copy to try a message on."""
        return Chain(self.key, self.index, dict(self.skipped))

    def to_json(self) -> list[Any]:
        """Facts in which bytes may stand."""
        return [self.key, self.index, [[number, seed] for number, seed in self.skipped.items()]]

    @classmethod
    def from_json(cls, facts: list[Any]) -> Chain:
        """The inverse of ``to_json``."""
        return cls(facts[0], facts[1], dict(facts[2]))


@dataclass(slots=True)
class Pending:
    """What the first messages carry until the other side has answered."""

    pre_key_id: int | None
    signed_pre_key_id: int
    base_key: bytes


@dataclass(slots=True)
class Session:
    """The state shared with one device."""

    own_identity: bytes
    their_identity: bytes
    base_key: bytes
    root: bytes
    ratchet: KeyPair
    sending: Chain | None
    their_ratchet: bytes
    receiving: dict[bytes, Chain] = field(default_factory=dict)
    previous: int = 0
    pending: Pending | None = None

    # --- sending ------------------------------------------------------------------------------------------------
    def encrypt(self, plain: bytes, registration_id: int) -> tuple[str, bytes]:
        """(``pkmsg`` or ``msg``, the ciphertext)."""
        if self.sending is None:
            raise SignalError("the session has nothing to send with yet")
        number, seed = self.sending.step()
        cipher_key, mac_key, iv = _message_keys(seed)
        body = encode(
            SIGNAL_MESSAGE,
            {
                "ratchetKey": KEY_TYPE + self.ratchet.public,
                "counter": number,
                "previousCounter": self.previous,
                "ciphertext": kdf.cbc_encrypt(cipher_key, iv, plain),
            },
        )
        signed = VERSION + body
        message = signed + _mac(mac_key, self.own_identity, self.their_identity, signed)
        if self.pending is None:
            return "msg", message
        wrapped = {
            "preKeyId": self.pending.pre_key_id,
            "baseKey": KEY_TYPE + self.pending.base_key,
            "identityKey": KEY_TYPE + self.own_identity,
            "message": message,
            "registrationId": registration_id,
            "signedPreKeyId": self.pending.signed_pre_key_id,
        }
        return "pkmsg", VERSION + encode(PRE_KEY_MESSAGE, wrapped)

    # --- receiving ----------------------------------------------------------------------------------------------
    def decrypt(self, data: bytes) -> bytes:
        """Give the plaintext of a ``msg``; raises ``SignalError`` and changes nothing if it does not fit."""
        parts = _read(data)
        their, number = _bare(parts.get("ratchetKey", b"")), int(parts.get("counter", 0))
        trial = self.copy()
        trial._turn(their, int(parts.get("previousCounter", 0)))
        seed = trial.receiving[their].take(number)
        if seed is None:
            raise Duplicate("the message was decrypted before")
        cipher_key, mac_key, iv = _message_keys(seed)
        expected = _mac(mac_key, self.their_identity, self.own_identity, data[:-MAC_SIZE])
        if not hmac.compare_digest(expected, data[-MAC_SIZE:]):
            raise SignalError("the message's MAC is wrong")
        try:
            plain = kdf.cbc_decrypt(cipher_key, iv, parts.get("ciphertext", b""))
        except ValueError:
            raise SignalError("the message cannot be decrypted with its key") from None
        trial.pending = None
        self._become(trial)
        return plain

    def _turn(self, their: bytes, previous: int) -> None:
        """Step the ratchet when the other side shows a new key."""
        if their in self.receiving:
            return
        current = self.receiving.get(self.their_ratchet)
        if current is not None:
            if previous < _NONE_SENT:
                current.skip_to(previous + 1)
            current.key = b""
        self.root, chain_key = _root_step(self.root, self.ratchet.private, their)
        self.receiving[their] = Chain(chain_key)
        while len(self.receiving) > MAX_CHAINS:
            del self.receiving[next(iter(self.receiving))]
        self.previous = max(self.sending.index - 1, 0) if self.sending else 0
        self.ratchet = curve.key_pair()
        self.root, chain_key = _root_step(self.root, self.ratchet.private, their)
        self.sending = Chain(chain_key)
        self.their_ratchet = their

    # --- keeping ------------------------------------------------------------------------------------------------
    def copy(self) -> Session:
        """A copy to try a message on; keys are bytes, only the chains change in place."""
        return replace(
            self,
            sending=self.sending.copy() if self.sending else None,
            receiving={key: chain.copy() for key, chain in self.receiving.items()},
        )

    def _become(self, other: Session) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def to_json(self) -> dict[str, Any]:
        """Facts in which bytes may stand."""
        return {
            "own": self.own_identity,
            "their": self.their_identity,
            "base": self.base_key,
            "root": self.root,
            "ratchet": self.ratchet.private,
            "public": self.ratchet.public,
            "sending": self.sending.to_json() if self.sending else None,
            "their_ratchet": self.their_ratchet,
            "receiving": [[key, chain.to_json()] for key, chain in self.receiving.items()],
            "previous": self.previous,
            "pending": [self.pending.pre_key_id, self.pending.signed_pre_key_id, self.pending.base_key]
            if self.pending
            else None,
        }


def session_from_json(facts: dict[str, Any]) -> Session:
    """The inverse of ``Session.to_json``."""
    return Session(
        own_identity=facts["own"],
        their_identity=facts["their"],
        base_key=facts["base"],
        root=facts["root"],
        ratchet=KeyPair(facts["ratchet"], facts["public"]),
        sending=Chain.from_json(facts["sending"]) if facts["sending"] else None,
        their_ratchet=facts["their_ratchet"],
        receiving={key: Chain.from_json(chain) for key, chain in facts["receiving"]},
        previous=facts["previous"],
        pending=Pending(*facts["pending"]) if facts["pending"] else None,
    )


def _bare(public: bytes) -> bytes:
    if len(public) != 33 or public[:1] != KEY_TYPE:
        raise SignalError("a ratchet key has 33 bytes, the first of them 5")
    return public[1:]


def _read(data: bytes) -> dict[str, Any]:
    if len(data) < MAC_SIZE + 2 or data[0] >> 4 < 3 or data[0] & 15 > 3:
        raise SignalError("that is no Signal message of version 3")
    try:
        return decode(SIGNAL_MESSAGE, data[1:-MAC_SIZE])
    except ProtobufError as error:
        raise SignalError(f"the message cannot be read: {error}") from error


def _message_keys(seed: bytes) -> tuple[bytes, bytes, bytes]:
    keys = kdf.hkdf(seed, 80, info=b"WhisperMessageKeys")
    return keys[:32], keys[32:64], keys[64:80]


def _mac(key: bytes, sender: bytes, receiver: bytes, signed: bytes) -> bytes:
    return kdf.mac(key, KEY_TYPE + sender + KEY_TYPE + receiver + signed)[:MAC_SIZE]


def _root_step(root: bytes, private: bytes, their: bytes) -> tuple[bytes, bytes]:
    keys = kdf.hkdf(curve.agree(private, their), 64, info=b"WhisperRatchet", salt=root)
    return keys[:32], keys[32:]


# --- starting a session (X3DH) ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the server gives of a device with which no session stands yet."""

    registration_id: int
    identity: bytes
    signed_id: int
    signed_key: bytes
    signature: bytes
    one_time_id: int | None = None
    one_time_key: bytes | None = None


def _shared(parts: list[bytes]) -> bytes:
    secret = kdf.hkdf(b"\xff" * 32 + b"".join(parts), 64, info=b"WhisperText")
    return secret[:32]


def start(identity: KeyPair, bundle: Bundle) -> Session:
    """A session with a device whose bundle was fetched; raises ``SignalError`` for a bad signature."""
    if not curve.verify(bundle.identity, KEY_TYPE + bundle.signed_key, bundle.signature):
        raise SignalError("the signed pre-key is not signed by the device's identity key")
    base = curve.key_pair()
    parts = [
        curve.agree(identity.private, bundle.signed_key),
        curve.agree(base.private, bundle.identity),
        curve.agree(base.private, bundle.signed_key),
    ]
    if bundle.one_time_key is not None:
        parts.append(curve.agree(base.private, bundle.one_time_key))
    ratchet = curve.key_pair()
    root, chain_key = _root_step(_shared(parts), ratchet.private, bundle.signed_key)
    return Session(
        own_identity=identity.public,
        their_identity=bundle.identity,
        base_key=base.public,
        root=root,
        ratchet=ratchet,
        sending=Chain(chain_key),
        their_ratchet=bundle.signed_key,
        pending=Pending(bundle.one_time_id, bundle.signed_id, base.public),
    )


def answer(identity: KeyPair, signed: KeyPair, one_time: KeyPair | None, their_identity: bytes, base: bytes) -> Session:
    """The session that a ``pkmsg`` starts, from its identity and base key."""
    parts = [
        curve.agree(signed.private, their_identity),
        curve.agree(identity.private, base),
        curve.agree(signed.private, base),
    ]
    if one_time is not None:
        parts.append(curve.agree(one_time.private, base))
    return Session(
        own_identity=identity.public,
        their_identity=their_identity,
        base_key=base,
        root=_shared(parts),
        ratchet=signed,
        sending=None,
        their_ratchet=b"",
    )


def read_pre_key_message(data: bytes) -> dict[str, Any]:
    """The parts of a ``pkmsg``; keys bare. Raises ``SignalError``."""
    if len(data) < 2 or data[0] >> 4 < 3 or data[0] & 15 > 3:
        raise SignalError("that is no Signal message of version 3")
    try:
        parts = decode(PRE_KEY_MESSAGE, data[1:])
    except ProtobufError as error:
        raise SignalError(f"the message cannot be read: {error}") from error
    parts["baseKey"], parts["identityKey"] = _bare(parts.get("baseKey", b"")), _bare(parts.get("identityKey", b""))
    return parts
