"""The phone's part in linking a companion: it signs the companion's identity, by QR or by code.

Sources: Baileys 7.0.0-rc14 lib/Utils/validate-connection.js (what it checks and signs), lib/Socket/socket.js
``requestPairingCode`` and lib/Socket/messages-recv.js ``link_code_companion_reg`` (the exchange by code).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wasim import curve
from wasim.curve import KeyPair
from wasim.ports import PhoneNetwork, QrData
from wasim.signal.kdf import hkdf
from wasim.wire.protobuf import ProtobufError, decode, encode
from wasim.wire.schema import (
    DEVICE_IDENTITY,
    KEY_INDEX_LIST,
    SEALED_DEVICE_IDENTITY,
    SIGNED_DEVICE_IDENTITY,
    SIGNED_KEY_INDEX_LIST,
)

ACCOUNT_PREFIX, DEVICE_PREFIX, LIST_PREFIX = b"\x06\x00", b"\x06\x01", b"\x06\x02"
CODE_ITERATIONS = 131_072
SALT, IV = 32, 16


class LinkingError(ValueError):
    """A link that the phone refuses; the text says why."""


class Linking:
    """What a phone remembers of the companions that it links."""

    def __init__(self, identity: KeyPair, network: PhoneNetwork) -> None:
        self._identity = identity
        self._network = network
        facts = network.load()
        self._raw_id = int(facts.get("raw_id") or network.rng.randrange(1, 1 << 31))
        self._key_index = int(facts.get("key_index") or 0)
        self._valid: list[int] = list(facts.get("key_indexes") or [])
        self._pending: tuple[bytes, bytes] | None = None
        self._ephemeral: KeyPair | None = None
        self._companion_ephemeral = b""
        network.store("raw_id", self._raw_id)

    # --- the identity of a companion ----------------------------------------------------------------------------
    def sign(self, qr: QrData) -> bytes:
        """ADVSignedDeviceIdentityHMAC: the companion's identity signed by the account, sealed with the QR's secret."""
        self._key_index += 1
        self._network.store("key_index", self._key_index)
        details = encode(
            DEVICE_IDENTITY,
            {"rawId": self._raw_id, "timestamp": int(self._network.now()), "keyIndex": self._key_index},
        )
        signature = curve.sign(self._identity.private, ACCOUNT_PREFIX + details + qr.identity)
        signed = encode(
            SIGNED_DEVICE_IDENTITY,
            {"details": details, "accountSignatureKey": self._identity.public, "accountSignature": signature},
        )
        self._pending = (details, qr.identity)
        seal = hmac.digest(qr.adv_secret, signed, hashlib.sha256)
        return encode(SEALED_DEVICE_IDENTITY, {"details": signed, "hmac": seal})

    def confirm(self, identity: bytes) -> None:
        """Check what the companion signed in turn. Raises ``LinkingError``."""
        if self._pending is None:
            raise LinkingError("no link is under way")
        details, companion = self._pending
        try:
            signed = decode(SIGNED_DEVICE_IDENTITY, identity)
        except ProtobufError as error:
            raise LinkingError(f"the device identity cannot be read: {error}") from error
        if signed.get("details") != details:
            raise LinkingError("the companion signed other details")
        message = DEVICE_PREFIX + details + companion + self._identity.public
        if not curve.verify(companion, message, signed.get("deviceSignature", b"")):
            raise LinkingError("the companion's signature does not fit its identity key")
        self._pending = None
        self._valid.append(self._key_index)
        self._network.store("key_indexes", self._valid)

    def key_index_list(self) -> bytes:
        """The signed list of linked devices' key indexes, which others check device lists against."""
        details = encode(
            KEY_INDEX_LIST,
            {
                "rawId": self._raw_id,
                "timestamp": int(self._network.now()),
                "currentIndex": self._key_index,
                "validIndexes": _packed([0, *self._valid]),
            },
        )
        signature = curve.sign(self._identity.private, LIST_PREFIX + details)
        return encode(SIGNED_KEY_INDEX_LIST, {"details": details, "accountSignature": signature})

    # --- by code ------------------------------------------------------------------------------------------------
    def enter_code(self, code: str, wrapped: bytes) -> tuple[bytes, bytes]:
        """Unwrap the companion's ephemeral key with the code; give (our wrapped ephemeral key, our identity key)."""
        salt, iv, data = wrapped[:SALT], wrapped[SALT : SALT + IV], wrapped[SALT + IV :]
        self._companion_ephemeral = _ctr(_code_key(code, salt), iv, data)
        self._ephemeral = curve.key_pair()
        salt, iv = secrets.token_bytes(SALT), secrets.token_bytes(IV)
        return salt + iv + _ctr(_code_key(code, salt), iv, self._ephemeral.public), self._identity.public

    def finish_code(self, bundle: bytes, companion_identity: bytes) -> bytes:
        """Open the companion's bundle; give the secret that a QR would have carried. Raises ``LinkingError``."""
        if self._ephemeral is None:
            raise LinkingError("no code was entered")
        shared = curve.agree(self._ephemeral.private, self._companion_ephemeral)
        key = hkdf(shared, 32, info=b"link_code_pairing_key_bundle_encryption_key", salt=bundle[:SALT])
        try:
            plain = AESGCM(key).decrypt(bundle[SALT : SALT + 12], bundle[SALT + 12 :], None)
        except InvalidTag:
            raise LinkingError("the code is wrong: the companion's keys do not open with it") from None
        if len(plain) != 96 or plain[:32] != companion_identity or plain[32:64] != self._identity.public:
            raise LinkingError("the companion's bundle holds other identity keys")
        own = curve.agree(self._identity.private, companion_identity)
        self._ephemeral = None
        return hkdf(shared + own + plain[64:], 32, info=b"adv_secret")


def check_companion(data: bytes, companion: bytes, account: bytes | None) -> None:
    """Hold a companion to the device identity that it shows, as clients do before they answer it.

    :param companion: its identity key
    :param account: its phone's identity key where that is known; else the one it shows is believed
    :raises LinkingError: if one of the two signatures is wrong
    """
    try:
        signed = decode(SIGNED_DEVICE_IDENTITY, data)
    except ProtobufError as error:
        raise LinkingError(f"the device identity cannot be read: {error}") from error
    shown, details = signed.get("accountSignatureKey") or account or b"", signed.get("details", b"")
    if account is not None and shown != account:
        raise LinkingError("the device identity is of another account")
    if not curve.verify(shown, ACCOUNT_PREFIX + details + companion, signed.get("accountSignature", b"")):
        raise LinkingError("the phone's signature does not fit the companion's identity key")
    if not curve.verify(companion, DEVICE_PREFIX + details + companion + shown, signed.get("deviceSignature", b"")):
        raise LinkingError("the companion's signature does not fit its identity key")


def _packed(numbers: list[int]) -> bytes:
    """Protobuf's packed varints."""
    out = bytearray()
    for number in numbers:
        rest = number
        while rest > 127:
            out.append(rest & 127 | 128)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def _code_key(code: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", code.encode(), salt, CODE_ITERATIONS)


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()
