"""A phone's keys and its Signal sessions with other devices; stored fact by fact, so that a restart loses none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wasim import curve
from wasim.curve import KEY_TYPE, KeyPair
from wasim.ports import PhoneNetwork
from wasim.signal import ratchet
from wasim.signal.ratchet import Bundle, Duplicate, Session, SignalError
from wasim.wire.nodes import Node

BATCH = 100
"""One-time pre-keys per upload."""
SIGNED_ID = 1
"""The id of the signed pre-key; phones keep theirs."""
KEPT_SESSIONS = 8
"""Older sessions with a device that are still tried, as the other side may go on with one of them for a while."""

Address = tuple[str, int]
"""(phone number, device): whichever of its JIDs a device goes by, the session is the same."""


class KeyRing:
    """See the module. Sessions are lists, newest first: the first is used to send."""

    def __init__(self, network: PhoneNetwork) -> None:
        self._network = network
        facts = network.load()
        private = facts.get("identity")
        self.identity = curve.key_pair(private)
        self.registration_id = int(facts.get("registration") or network.rng.randrange(1, 16_380))
        self._signed = curve.key_pair(facts.get("signed"))
        self._one_time = {int(name[4:]): curve.key_pair(v) for name, v in facts.items() if name.startswith("one|")}
        self._next = int(facts.get("next") or 1)
        self._sessions: dict[Address, list[Session]] = {
            _address(name[8:]): [ratchet.session_from_json(session) for session in value]
            for name, value in facts.items()
            if name.startswith("session|")
        }
        if private is None:
            network.store("identity", self.identity.private)
            network.store("registration", self.registration_id)
            network.store("signed", self._signed.private)

    # --- pre-keys -----------------------------------------------------------------------------------------------
    def upload(self) -> Node:
        """The iq that gives the server a fresh batch of one-time keys."""
        fresh = [self._make_one_time() for _ in range(BATCH)]
        signature = curve.sign(self.identity.private, KEY_TYPE + self._signed.public)
        content = [
            Node("registration", {}, self.registration_id.to_bytes(4, "big")),
            Node("type", {}, KEY_TYPE),
            Node("identity", {}, self.identity.public),
            Node("list", {}, fresh),
            Node(
                "skey",
                {},
                [
                    Node("id", {}, SIGNED_ID.to_bytes(3, "big")),
                    Node("value", {}, self._signed.public),
                    Node("signature", {}, signature),
                ],
            ),
        ]
        return Node("iq", {"to": "@s.whatsapp.net", "type": "set", "xmlns": "encrypt"}, content)

    def _make_one_time(self) -> Node:
        number, pair = self._next, curve.key_pair()
        self._next += 1
        self._one_time[number] = pair
        self._network.store(f"one|{number}", pair.private)
        self._network.store("next", self._next)
        return Node("key", {}, [Node("id", {}, number.to_bytes(3, "big")), Node("value", {}, pair.public)])

    # --- sessions -----------------------------------------------------------------------------------------------
    def knows(self, address: Address) -> bool:
        """Whether a message to that device can be encrypted now."""
        sessions = self._sessions.get(address)
        return sessions is not None and sessions[0].sending is not None

    def identity_of(self, address: Address) -> bytes | None:
        """The identity key of a device with which a session stands."""
        sessions = self._sessions.get(address)
        return sessions[0].their_identity if sessions else None

    def begin(self, address: Address, user: Node) -> None:
        """Start a session from a fetched bundle (``<user>`` of a key query). Raises ``SignalError``."""
        self._add(address, ratchet.start(self.identity, read_bundle(user)))

    def forget(self, address: Address) -> None:
        """Drop the sessions with a device: the next message starts a new one."""
        self._sessions.pop(address, None)
        self._network.store(_name(address), None)

    def encrypt(self, address: Address, plain: bytes) -> tuple[str, bytes]:
        """(type, ciphertext) for a known device."""
        kind, data = self._sessions[address][0].encrypt(plain, self.registration_id)
        self._save(address)
        return kind, data

    def decrypt(self, address: Address, kind: str, data: bytes) -> bytes:
        """The padded plaintext. Raises ``SignalError``."""
        if kind == "pkmsg":
            return self._first(address, data)
        if kind != "msg":
            raise SignalError(f"unknown ciphertext type {kind!r}")
        return self._try(address, data, self._sessions.get(address, []))

    def _first(self, address: Address, data: bytes) -> bytes:
        parts = ratchet.read_pre_key_message(data)
        known = [s for s in self._sessions.get(address, []) if s.base_key == parts["baseKey"]]
        if known:
            return self._try(address, parts["message"], known)
        number = parts.get("preKeyId")
        if parts.get("signedPreKeyId") != SIGNED_ID:
            raise SignalError(f"there is no signed pre-key {parts.get('signedPreKeyId')}")
        one_time = self._one_time.get(number) if number is not None else None
        if number is not None and one_time is None:
            raise SignalError(f"one-time pre-key {number} was used before, or never existed")
        session = ratchet.answer(self.identity, self._signed, one_time, parts["identityKey"], parts["baseKey"])
        plain = session.decrypt(parts["message"])
        if number is not None:
            del self._one_time[number]
            self._network.store(f"one|{number}", None)
        self._add(address, session)
        return plain

    def _try(self, address: Address, data: bytes, sessions: Iterable[Session]) -> bytes:
        problem: SignalError = SignalError("there is no session with that device")
        for session in sessions:
            try:
                plain = session.decrypt(data)
            except Duplicate:
                raise
            except ValueError as error:
                problem = error if isinstance(error, SignalError) else SignalError(str(error))
                continue
            kept = self._sessions[address]
            kept.remove(session)
            kept.insert(0, session)
            self._save(address)
            return plain
        raise problem

    def _add(self, address: Address, session: Session) -> None:
        self._sessions[address] = [session, *self._sessions.get(address, [])][:KEPT_SESSIONS]
        self._save(address)

    def _save(self, address: Address) -> None:
        self._network.store(_name(address), [session.to_json() for session in self._sessions[address]])


def _name(address: Address) -> str:
    return f"session|{address[0]}|{address[1]}"


def _address(text: str) -> Address:
    phone, _, device = text.partition("|")
    return phone, int(device)


def read_bundle(user: Node) -> Bundle:
    """A device's keys out of a key query's answer. Raises ``SignalError`` if they are incomplete."""
    skey, one = user.child("skey"), user.child("key")
    registration, identity = user.child("registration"), user.child("identity")
    if skey is None or registration is None or identity is None:
        raise SignalError("the server gave no keys for that device")
    value, signature = skey.child("value"), skey.child("signature")
    if value is None or signature is None:
        raise SignalError("the signed pre-key is incomplete")
    one_value = one.child("value") if one else None
    return Bundle(
        registration_id=int.from_bytes(registration.bytes(), "big"),
        identity=identity.bytes(),
        signed_id=_id(skey),
        signed_key=value.bytes(),
        signature=signature.bytes(),
        one_time_id=_id(one) if one else None,
        one_time_key=one_value.bytes() if one_value else None,
    )


def _id(node: Node) -> int:
    number = node.child("id")
    return int.from_bytes(number.bytes(), "big") if number else 0


def key_of(pair: KeyPair) -> bytes:
    """A public key as messages carry it."""
    return KEY_TYPE + pair.public


class Hosted:
    """The network of the device that Meta hosts for an account: the same stanzas, keys of its own."""

    def __init__(self, network: PhoneNetwork) -> None:
        self._network = network

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def load(self) -> dict[str, Any]:
        """Give the facts of the hosted device."""
        return facts_of(self._network, "hosted|")

    def store(self, name: str, value: Any) -> None:
        """Keep a fact of the hosted device."""
        self._network.store(f"hosted|{name}", value)


def facts_of(network: PhoneNetwork, prefix: str) -> dict[str, Any]:
    """Stored facts by the rest of their name."""
    return {name.removeprefix(prefix): value for name, value in network.load().items() if name.startswith(prefix)}
