"""Signal against the npm libsignal under Baileys, byte for byte, and against itself on random walks."""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wasim.plain import HERE, VENV_NODE
from wasim import curve
from wasim.curve import KEY_TYPE, KeyPair
from wasim.signal import ratchet
from wasim.signal.ratchet import MAX_AHEAD, Bundle, Duplicate, Session, SignalError
from wasim.signal.sender_keys import SenderKeys, new_sender_key, sender_key_from_json, sender_keys_from_json

REGISTRATION = 77


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Peer:
    """``libsignal_peer.mjs``."""

    def __init__(self) -> None:
        node = str(VENV_NODE) if VENV_NODE.exists() else shutil.which("node") or "node"
        self._process = subprocess.Popen(
            [node, str(HERE / "libsignal_peer.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, name: str, **facts: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": name, **facts}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def bundle(self, one_time: int | None = 0) -> Bundle:
        keys = self.ask("keys")
        number, key = keys["preKeys"][one_time] if one_time is not None else (None, None)
        return Bundle(
            keys["registrationId"], base64.b64decode(keys["identity"]), keys["signedId"],
            base64.b64decode(keys["signed"]), base64.b64decode(keys["signature"]), number,
            base64.b64decode(key) if key else None,
        )  # fmt: skip

    def encrypt(self, plain: bytes) -> tuple[str, bytes]:
        answer = self.ask("encrypt", plain=b64(plain))
        return answer["kind"], base64.b64decode(answer["data"])

    def decrypt(self, message: tuple[str, bytes]) -> bytes:
        return base64.b64decode(self.ask("decrypt", kind=message[0], data=b64(message[1])))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


class Device:
    """One of ours: keys to be found by, and the session."""

    def __init__(self) -> None:
        self.identity, self.signed, self.one_time = curve.key_pair(), curve.key_pair(), curve.key_pair()

    @property
    def signature(self) -> bytes:
        return curve.sign(self.identity.private, KEY_TYPE + self.signed.public)

    def bundle(self) -> Bundle:
        return Bundle(
            REGISTRATION, self.identity.public, 1, self.signed.public, self.signature, 5, self.one_time.public
        )

    def answer(self, data: bytes, *, one_time: bool = True) -> tuple[Session, bytes]:
        parts = ratchet.read_pre_key_message(data)
        pair: KeyPair | None = self.one_time if one_time else None
        session = ratchet.answer(self.identity, self.signed, pair, parts["identityKey"], parts["baseKey"])
        return session, session.decrypt(parts["message"])


@pytest.mark.parametrize("one_time", [0, None])
def test_a_session_that_we_start(peer: Peer, one_time: int | None) -> None:
    session = ratchet.start(curve.key_pair(), peer.bundle(one_time))
    first = [session.encrypt(f"first {n}".encode(), REGISTRATION) for n in range(3)]
    assert {kind for kind, _ in first} == {"pkmsg"}
    assert [peer.decrypt(message) for message in first] == [b"first 0", b"first 1", b"first 2"]
    kind, data = peer.encrypt(b"answer")
    assert kind == "msg"
    assert session.decrypt(data) == b"answer"
    assert session.encrypt(b"on", REGISTRATION)[0] == "msg"


@pytest.mark.parametrize("one_time", [True, False])
def test_a_session_that_the_other_side_starts(peer: Peer, one_time: bool) -> None:
    device = Device()
    facts: dict[str, Any] = {"preKeyId": 5, "preKey": b64(device.one_time.public)} if one_time else {}
    peer.ask(
        "begin", registrationId=REGISTRATION, identity=b64(device.identity.public), signedId=1,
        signed=b64(device.signed.public), signature=b64(device.signature), **facts,
    )  # fmt: skip
    kind, data = peer.encrypt(b"hello")
    assert kind == "pkmsg"
    parts = ratchet.read_pre_key_message(data)
    assert (parts.get("preKeyId"), parts["signedPreKeyId"]) == (5 if one_time else None, 1)
    session, plain = device.answer(data, one_time=one_time)
    assert plain == b"hello"
    assert peer.decrypt(session.encrypt(b"back", REGISTRATION)) == b"back"
    assert peer.encrypt(b"now plain")[0] == "msg"


def test_a_bad_signature_starts_no_session(peer: Peer) -> None:
    device = Device()
    wrong = b64(curve.sign(curve.key_pair().private, KEY_TYPE + device.signed.public))
    with pytest.raises(RuntimeError, match="bad signature"):
        peer.ask(
            "begin", registrationId=1, identity=b64(device.identity.public), signedId=1,
            signed=b64(device.signed.public), signature=wrong,
        )  # fmt: skip
    bundle = peer.bundle()
    with pytest.raises(SignalError, match="not signed by the device's identity key"):
        ratchet.start(device.identity, Bundle(1, device.identity.public, 1, bundle.signed_key, bundle.signature))


def test_a_long_talk_out_of_order_and_over_a_restart(peer: Peer) -> None:
    rng = random.Random(7)
    session = ratchet.start(curve.key_pair(), peer.bundle())
    assert peer.decrypt(session.encrypt(b"open", REGISTRATION)) == b"open"
    to_peer: list[tuple[bytes, tuple[str, bytes]]] = []
    to_us: list[tuple[bytes, tuple[str, bytes]]] = []
    for number in range(200):
        plain = f"message {number}".encode() * rng.randrange(1, 9)
        if rng.random() < 0.5:
            to_peer.append((plain, session.encrypt(plain, REGISTRATION)))
        else:
            to_us.append((plain, peer.encrypt(plain)))
        while to_peer and rng.random() < 0.45:
            plain, message = to_peer.pop(rng.randrange(min(len(to_peer), 4)))
            assert peer.decrypt(message) == plain
        while to_us and rng.random() < 0.45:
            plain, message = to_us.pop(rng.randrange(min(len(to_us), 4)))
            assert session.decrypt(message[1]) == plain
        if number % 20 == 0:
            session = ratchet.session_from_json(session.to_json())
    for plain, message in to_us:
        assert session.decrypt(message[1]) == plain
    for plain, message in to_peer:
        assert peer.decrypt(message) == plain


def talk() -> tuple[Session, Session]:
    alice, bob = Device(), Device()
    one = ratchet.start(alice.identity, bob.bundle())
    other, plain = bob.answer(one.encrypt(b"open", REGISTRATION)[1])
    assert plain == b"open"
    return one, other


def test_what_does_not_fit_is_refused_by_name_and_changes_nothing() -> None:
    alice, bob = talk()
    _, data = alice.encrypt(b"text", REGISTRATION)
    inner = ratchet.read_pre_key_message(data)["message"]
    before = bob.to_json()
    with pytest.raises(SignalError, match="MAC is wrong"):
        bob.decrypt(inner[:-1] + bytes((inner[-1] ^ 1,)))
    with pytest.raises(SignalError, match="no Signal message of version 3"):
        bob.decrypt(b"\x22" + inner[1:])
    with pytest.raises(SignalError, match="33 bytes"):
        bob.decrypt(b"\x33" + bytes(20))
    assert bob.to_json() == before
    assert bob.decrypt(inner) == b"text"
    with pytest.raises(Duplicate, match="before"):
        bob.decrypt(inner)


def test_a_message_too_far_ahead_is_refused() -> None:
    alice, bob = talk()
    for _ in range(MAX_AHEAD + 2):
        _, data = alice.encrypt(b"", REGISTRATION)
    with pytest.raises(SignalError, match="ahead of the chain"):
        bob.decrypt(ratchet.read_pre_key_message(data)["message"])


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), max_size=40))
def test_every_message_arrives_once_whatever_the_order(steps: list[tuple[bool, bool, int]]) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(ratchet, "MAX_CHAINS", 100)  # else what stays away for more than five turns is rightly lost
    try:
        _walk(steps)
    finally:
        patch.undo()


def _walk(steps: list[tuple[bool, bool, int]]) -> None:
    sides = talk()
    on_the_way: tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]] = ([], [])
    arrived, sent = 0, 0

    def deliver(to: int, place: int) -> None:
        nonlocal arrived
        plain, data = on_the_way[to].pop(place % len(on_the_way[to]))
        assert sides[to].decrypt(data) == plain
        with pytest.raises(Duplicate):
            sides[to].decrypt(data)
        arrived += 1

    for sends, by_first, place in steps:
        sender = 0 if by_first else 1
        if sends:
            plain = f"{sent}".encode()
            kind, data = sides[sender].encrypt(plain, REGISTRATION)
            on_the_way[1 - sender].append(
                (plain, ratchet.read_pre_key_message(data)["message"] if kind == "pkmsg" else data)
            )
            sent += 1
        elif on_the_way[sender]:
            deliver(sender, place)
    for to in (0, 1):
        while on_the_way[to]:
            deliver(to, 0)
    assert arrived == sent


# --- sender keys


def test_our_sender_key_is_read_by_libsignal(peer: Peer) -> None:
    own = new_sender_key()
    peer.ask("group-learn", data=b64(own.distribution()))
    sent = [own.encrypt(f"to all {n}".encode()) for n in range(4)]
    own = sender_key_from_json(own.to_json())
    sent.append(own.encrypt(b"to all 4"))
    for number in (0, 3, 1, 2, 4):
        assert base64.b64decode(peer.ask("group-decrypt", data=b64(sent[number]))) == f"to all {number}".encode()


def test_libsignals_sender_key_is_read_by_us(peer: Peer) -> None:
    theirs = SenderKeys()
    theirs.learn(base64.b64decode(peer.ask("distribution")))
    sent = [base64.b64decode(peer.ask("group-encrypt", plain=b64(f"all {n}".encode()))) for n in range(4)]
    for number in (2, 0, 3):
        assert theirs.decrypt(sent[number]) == f"all {number}".encode()
    theirs = sender_keys_from_json(theirs.to_json())
    theirs.learn(base64.b64decode(peer.ask("distribution")))
    assert theirs.decrypt(sent[1]) == b"all 1"
    with pytest.raises(Duplicate):
        theirs.decrypt(sent[1])
    late = SenderKeys()
    late.learn(base64.b64decode(peer.ask("distribution")))
    assert late.decrypt(base64.b64decode(peer.ask("group-encrypt", plain=b64(b"later")))) == b"later"
    with pytest.raises(Duplicate):
        late.decrypt(sent[0])


def test_a_sender_key_message_that_does_not_fit_is_refused() -> None:
    own, other = new_sender_key(), new_sender_key()
    theirs = SenderKeys()
    with pytest.raises(SignalError, match="no sender key with that id"):
        theirs.decrypt(own.encrypt(b"x"))
    theirs.learn(own.distribution())
    data = own.encrypt(b"x")
    with pytest.raises(SignalError, match="not signed"):
        theirs.decrypt(data[:-1] + bytes((data[-1] ^ 1,)))
    other.id = own.id
    with pytest.raises(SignalError, match="not signed"):
        theirs.decrypt(other.encrypt(b"forged"))
    assert theirs.decrypt(data) == b"x"
    with pytest.raises(SignalError, match="only its owner"):
        sender_key_from_json(theirs.to_json()[0]).encrypt(b"y")
