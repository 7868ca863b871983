from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from wasim import certs, curve
from wasim.state import State
from wasim.wire.login import CERTIFICATE_CHAIN, CERTIFICATE_DETAILS
from wasim.wire.noise import HEADER, MODE, Cipher, FrameReader, Handshake, NoiseError, frame
from wasim.wire.protobuf import decode


class Initiator:
    """The client's side, written down separately from the server's."""

    def __init__(self) -> None:
        self.static, self.ephemeral = curve.key_pair(), curve.key_pair()
        self.hash = hashlib.sha256(hashlib.sha256(MODE + HEADER).digest() + self.ephemeral.public).digest()
        self.salt = MODE

    def mix(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def key(self, private: bytes, public: bytes) -> None:
        out = HKDF(hashes.SHA256(), 64, self.salt, b"").derive(curve.agree(private, public))
        self.salt, self.cipher = out[:32], Cipher(out[32:])

    def open(self, sealed: bytes) -> bytes:
        plain = self.cipher.decrypt(sealed, self.hash)
        self.mix(sealed)
        return plain

    def seal(self, plain: bytes) -> bytes:
        sealed = self.cipher.encrypt(plain, self.hash)
        self.mix(sealed)
        return sealed

    def run(self, server: Handshake, payload: bytes) -> tuple[bytes, bytes]:
        ephemeral, static, certificate = server.answer(self.ephemeral.public)
        self.mix(ephemeral)
        self.key(self.ephemeral.private, ephemeral)
        self.server_static = self.open(static)
        self.key(self.ephemeral.private, self.server_static)
        self.certificate = self.open(certificate)
        sealed = self.seal(self.static.public)
        self.key(self.static.private, ephemeral)
        return sealed, self.seal(payload)


def test_both_sides_agree_and_the_server_learns_the_clients_key() -> None:
    pair, client = curve.key_pair(), Initiator()
    server = Handshake(pair, b"certificate")
    static, payload = server.finish(*client.run(server, b"hello"))
    assert (static, payload) == (client.static.public, b"hello")
    assert (client.server_static, client.certificate) == (pair.public, b"certificate")
    read, write = server.split()
    out = HKDF(hashes.SHA256(), 64, client.salt, b"").derive(b"")
    assert read.decrypt(Cipher(out[:32]).encrypt(b"up")) == b"up"
    assert Cipher(out[32:]).decrypt(write.encrypt(b"down")) == b"down"


def test_a_changed_payload_is_refused() -> None:
    client, server = Initiator(), Handshake(curve.key_pair(), b"")
    static, payload = client.run(server, b"hello")
    with pytest.raises(NoiseError, match="does not open"):
        server.finish(static, payload[:-1] + bytes((payload[-1] ^ 1,)))


def test_a_zero_key_is_refused() -> None:
    with pytest.raises(NoiseError, match="unusable"):
        Handshake(curve.key_pair(), b"").answer(b"\0" * 32)


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50), st.none() | st.binary(max_size=40))
def test_frames_survive_any_cutting(parts: list[bytes], step: int, routing: bytes | None) -> None:
    prefix = b"" if routing is None else b"ED\0\1" + len(routing).to_bytes(3, "big") + routing
    data = prefix + HEADER + b"".join(map(frame, parts))
    reader = FrameReader()
    found = [got for at in range(0, len(data), step) for got in reader.feed(data[at : at + step])]
    assert found == parts
    assert reader.routing_info == routing


def test_another_protocol_is_refused() -> None:
    with pytest.raises(NoiseError, match="first bytes"):
        list(FrameReader().feed(b"GET / HTTP/1.1"))


def test_the_certificate_chain_holds() -> None:
    identity = certs.server_identity(State(None), 1_700_000_000.0)
    chain = decode(CERTIFICATE_CHAIN, identity.chain)
    leaf, intermediate = (decode(CERTIFICATE_DETAILS, chain[name]["details"]) for name in ("leaf", "intermediate"))
    assert curve.verify(identity.root_public, chain["intermediate"]["details"], chain["intermediate"]["signature"])
    assert curve.verify(intermediate["key"], chain["leaf"]["details"], chain["leaf"]["signature"])
    assert intermediate["issuerSerial"] == 0
    assert leaf["issuerSerial"] == intermediate["serial"]
    assert leaf["key"] == identity.static.public
