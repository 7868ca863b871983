"""Requests between instances: what is stored verifies them and cannot make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.runtime.clock import SystemClock
from holdfast.runtime.peer_signatures import FRESH, PUBLIC_KEY, PeerSignatures, _signed
from holdfast.store import SqlStore, open_store

URL = "http://127.0.0.1:3000"
BODY = b'{"method": "call"}'


class Pair:
    """Two registered instances on a store; the clock can be moved."""

    def __init__(self, store: SqlStore, clock: SystemClock) -> None:
        self.store, self.clock = store, clock
        self.one, self.two = PeerSignatures(store, clock, "one", ""), PeerSignatures(store, clock, "two", URL + "/")

    async def register(self) -> None:
        for name, who in (("one", self.one), ("two", self.two)):
            await self.store.register_instance(name, "", "test", (), {PUBLIC_KEY: who.public_key})


@pytest.fixture
async def pair(tmp_path: Path) -> Pair:
    clock = SystemClock()
    store = open_store(f"sqlite:///{tmp_path}/test.sqlite3", clock)
    await store.open()
    made = Pair(store, clock)
    await made.register()
    return made


async def test_a_signature_holds_for_its_receiver_body_and_time(pair: Pair) -> None:
    signed = pair.one.sign(URL, BODY)
    assert await pair.two.verify(signed, BODY)
    assert not await pair.two.verify(signed, BODY + b" ")
    assert not await pair.two.verify(pair.one.sign("http://127.0.0.1:3001", BODY), BODY), "it was for another instance"
    assert not await pair.two.verify(signed.replace("i=one", "i=two"), BODY)
    pair.clock.put_right(FRESH + 2)
    assert not await pair.two.verify(signed, BODY), "it is old"
    assert await pair.two.verify(pair.one.sign(URL, BODY), BODY)


async def test_an_instance_that_was_restarted_or_came_later_is_known(pair: Pair) -> None:
    assert await pair.two.verify(pair.one.sign(URL, BODY), BODY)
    before = pair.one
    pair.one = PeerSignatures(pair.store, pair.clock, "one", "")
    await pair.register()
    assert await pair.two.verify(pair.one.sign(URL, BODY), BODY)
    assert not await pair.two.verify(before.sign(URL, BODY), BODY)
    late = PeerSignatures(pair.store, pair.clock, "late", "")
    assert not await pair.two.verify(late.sign(URL, BODY), BODY), "it is not registered"


async def test_nothing_that_is_stored_signs(pair: Pair) -> None:
    """Every value of the database is tried as the key of a signature."""
    stored = [value for row in await pair.store.instances() for value in json.dumps(row).replace('"', " ").split()]
    seeds = [bytes.fromhex(value) for value in stored if len(value) == 64]
    assert len(seeds) == 2, "the public keys"
    at = f"{pair.clock.now():.0f}"
    for seed in seeds:
        forged = Ed25519PrivateKey.from_private_bytes(seed).sign(_signed("one", URL, at, BODY)).hex()
        assert not await pair.two.verify(f"i=one,t={at},v2={forged}", BODY)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "",
        lambda _: ",,,=,=",
        lambda signed: signed.replace("v2=", "v1="),
        lambda signed: signed[:-1],
        lambda signed: signed + "zz",
        lambda signed: signed.replace("t=", "t=\u00b2"),
        lambda signed: signed.replace("t=", "t=-"),
        lambda signed: signed.replace("t=", "t=" + "9" * 5000),
        lambda signed: signed.replace("i=one", "i=\u00e9"),
        lambda signed: signed.replace("v2=", "v2=\u00e9"),
    ],
)
async def test_what_is_no_signature_is_refused(pair: Pair, spoil: Callable[[str], str]) -> None:
    assert not await pair.two.verify(spoil(pair.one.sign(URL, BODY)), BODY)
