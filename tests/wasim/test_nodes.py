from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasim.wire.nodes import Node, NodeError, decode, encode, tokens

strings = st.one_of(
    st.text(max_size=40),
    st.text("0123456789-.", min_size=1, max_size=140),
    st.text("0123456789ABCDEF", min_size=1, max_size=140),
    st.sampled_from(sorted(tokens().codes)),
    st.builds(
        "{}:{}@{}".format, st.integers(1, 10**15), st.integers(0, 99999), st.sampled_from(["lid", "g.us", "msgr"])
    ),
    st.builds("{}@{}".format, st.text(max_size=5), st.text(max_size=5)),
)
leaves = st.builds(Node, strings.filter(bool), st.dictionaries(strings, strings, max_size=4), st.none() | st.binary())
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        Node, strings.filter(bool), st.dictionaries(strings, strings, max_size=4), st.lists(inner, max_size=4)
    ),
    max_leaves=12,
)


@given(trees)
def test_decoding_gives_back_what_was_encoded(node: Node) -> None:
    assert decode(encode(node)) == node


@given(st.binary(max_size=200))
def test_any_bytes_are_a_node_or_a_node_error(data: bytes) -> None:
    try:
        decode(data)
    except NodeError:
        pass
    else:
        assert data


@given(trees)
def test_a_cut_off_frame_is_an_error(node: Node) -> None:
    with pytest.raises(NodeError):
        decode(encode(node)[:-1])


def test_compressed_frames_are_read() -> None:
    node = Node("iq", {"id": "1"}, [Node("ping")] * 300)
    assert decode(b"\2" + zlib.compress(encode(node)[1:])) == node


def test_a_compressed_bomb_is_refused() -> None:
    with pytest.raises(NodeError, match="16 MiB"):
        decode(b"\2" + zlib.compress(b"\0" * (17 * 1024 * 1024)))


def test_the_layout_is_whatsapps() -> None:
    # list of 8, "iq", "id" = packed "98765", "to" = JID pair without user; bytes as Baileys 7.0.0-rc14 writes them
    words = tokens().codes
    expected = bytes((0, 248, 5)) + words["iq"] + words["id"] + bytes((255, 0x83, 0x98, 0x76, 0x5F)) + words["to"]
    assert (
        encode(Node("iq", {"id": "98765", "to": "@s.whatsapp.net"}))
        == expected + bytes((250, 0)) + words["s.whatsapp.net"]
    )


def test_a_device_address_takes_the_short_form() -> None:
    assert encode(Node("to", {"jid": "12345:7@lid"})).endswith(bytes((247, 1, 7, 255, 0x83, 0x12, 0x34, 0x5F)))
    assert decode(encode(Node("to", {"jid": "12345:7@lid"}))).attrs == {"jid": "12345:7@lid"}
