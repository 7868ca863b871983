"""WhatsApp's binary nodes: the XML-like stanzas, and their codec.

A stanza is a tag, string attributes and either children, bytes or nothing. On the wire each string is a
dictionary token, a packed run of digits or hex digits, an address, or raw UTF-8 (dictionary and layout as in
Baileys 7.0.0-rc14, ``lib/WABinary``). The codec works on one whole node; framing and encryption are
``wire/noise.py``'s.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

LIST_EMPTY = 0
DICTIONARY_0 = 236
INTEROP_JID = 245
FB_JID = 246
AD_JID = 247
LIST_8 = 248
LIST_16 = 249
JID_PAIR = 250
HEX_8 = 251
BINARY_8 = 252
BINARY_20 = 253
BINARY_32 = 254
NIBBLE_8 = 255
PACKED_MAX = 127
MAX_DEPTH = 64  # nesting that no real stanza reaches; keeps a hostile frame off the Python stack
MAX_INFLATED = 16 * 1024 * 1024

DOMAIN_TYPES = {"s.whatsapp.net": 0, "lid": 1, "hosted": 128, "hosted.lid": 129}
DOMAIN_SERVERS = {number: server for server, number in DOMAIN_TYPES.items()}

_NIBBLES = "0123456789-."
_HEX = "0123456789ABCDEF"
_DEVICE_JID = re.compile(r"([^@:]+):(0|[1-9][0-9]{0,4})@(.+)", re.DOTALL)


class NodeError(ValueError):
    """Bytes that are no node, or a node that cannot be written; the message names the place."""


@dataclass(slots=True)
class Node:
    """One stanza or one of its children.

    ``content`` is a list of child nodes, bytes, or None for an empty element. Text stands in ``content`` as UTF-8.
    """

    tag: str
    attrs: dict[str, str] = field(default_factory=dict)
    content: list[Node] | bytes | None = None

    def children(self, tag: str | None = None) -> list[Node]:
        """Give the child nodes, all or those with ``tag``; an element of bytes has none."""
        if not isinstance(self.content, list):
            return []
        return self.content if tag is None else [node for node in self.content if node.tag == tag]

    def child(self, tag: str) -> Node | None:
        """Give the first child with ``tag``, or None."""
        return next(iter(self.children(tag)), None)

    def first(self) -> Node | None:
        """Give the first child of any tag, or None."""
        return next(iter(self.children()), None)

    def bytes(self) -> bytes:
        """Give the content as bytes; empty for an element without bytes."""
        return self.content if isinstance(self.content, bytes) else b""

    def text(self) -> str:
        """Give the content as text; undecodable bytes are replaced."""
        return self.bytes().decode("utf-8", "replace")

    def __str__(self) -> str:
        attrs = "".join(f" {key}={value!r}" for key, value in self.attrs.items())
        if isinstance(self.content, list):
            return f"<{self.tag}{attrs}>{''.join(map(str, self.content))}</{self.tag}>"
        size = "" if self.content is None else f"{len(self.content)} bytes"
        return f"<{self.tag}{attrs}>{size}</{self.tag}>" if size else f"<{self.tag}{attrs}/>"


@dataclass(frozen=True, slots=True)
class Tokens:
    """The dictionary: single-byte tokens by index, and four pages of double-byte ones."""

    single: tuple[str, ...]
    double: tuple[tuple[str, ...], ...]
    codes: dict[str, bytes]


@lru_cache(maxsize=1)
def tokens() -> Tokens:
    """Load the token dictionary (version 3, the one that clients announce in their first bytes)."""
    raw = json.loads(resources.files("wasim.wire").joinpath("tokens.json").read_text("utf-8"))
    single = tuple(raw["single"])
    double = tuple(tuple(page) for page in raw["double"])
    codes: dict[str, bytes] = {}
    for page_number, page in enumerate(double):
        for index, token in enumerate(page):
            codes[token] = bytes((DICTIONARY_0 + page_number, index))
    for index, token in enumerate(single):
        if token:
            codes[token] = bytes((index,))
    return Tokens(single, double, codes)


def encode(node: Node) -> bytes:
    """Write ``node`` with the flag byte 0 (not compressed) in front.

    :raises NodeError: for an empty tag, or content that is neither nodes nor bytes
    """
    out = bytearray(b"\0")
    _write_node(out, node)
    return bytes(out)


def decode(data: bytes) -> Node:
    """Read one node; the first byte is the flag (bit 1: the rest is zlib).

    :raises NodeError: if ``data`` is not exactly one node
    """
    if not data:
        raise NodeError("empty frame")
    body = data[1:]
    if data[0] & 2:
        body = _inflate(body)
    reader = _Reader(body)
    try:
        node = reader.node(0)
    except IndexError:
        raise NodeError(f"frame ends inside a node, after {len(body)} bytes") from None
    if reader.at != len(body):
        raise NodeError(f"{len(body) - reader.at} bytes follow the node")
    return node


def _inflate(data: bytes) -> bytes:
    worker = zlib.decompressobj()
    try:
        out = worker.decompress(data, MAX_INFLATED)
    except zlib.error as error:
        raise NodeError(f"compressed frame is damaged: {error}") from None
    if worker.unconsumed_tail or not worker.eof:
        raise NodeError("compressed frame is cut off or larger than 16 MiB")
    return out


# -- writing


def _write_node(out: bytearray, node: Node) -> None:
    if not node.tag:
        raise NodeError("a node needs a tag")
    has_content = node.content is not None
    _write_list_start(out, 1 + 2 * len(node.attrs) + has_content)
    _write_string(out, node.tag)
    for key, value in node.attrs.items():
        _write_string(out, key)
        _write_string(out, value)
    if isinstance(node.content, list):
        _write_list_start(out, len(node.content))
        for child in node.content:
            _write_node(out, child)
    elif isinstance(node.content, bytes | bytearray):
        _write_bytes(out, node.content)
    elif node.content is not None:
        raise NodeError(f"<{node.tag}> holds {type(node.content).__name__}; only nodes and bytes can be sent")


def _write_list_start(out: bytearray, size: int) -> None:
    if size == 0:
        out.append(LIST_EMPTY)
    elif size < 256:
        out += bytes((LIST_8, size))
    elif size < 65536:
        out.append(LIST_16)
        out += size.to_bytes(2, "big")
    else:
        raise NodeError(f"a list of {size} items does not fit")


def _write_bytes(out: bytearray, data: bytes | bytearray) -> None:
    size = len(data)
    if size < 256:
        out += bytes((BINARY_8, size))
    elif size < 1 << 20:
        out.append(BINARY_20)
        out += size.to_bytes(3, "big")
    else:
        out.append(BINARY_32)
        out += size.to_bytes(4, "big")
    out += data


def _write_string(out: bytearray, value: str) -> None:
    code = tokens().codes.get(value)
    if code is not None:
        out += code
    elif _packable(value, _NIBBLES):
        _write_packed(out, value, NIBBLE_8, _NIBBLES)
    elif _packable(value, _HEX):
        _write_packed(out, value, HEX_8, _HEX)
    elif not _write_jid(out, value):
        _write_bytes(out, value.encode("utf-8"))


def _packable(value: str, alphabet: str) -> bool:
    return 0 < len(value) <= PACKED_MAX and all(char in alphabet for char in value)


def _write_packed(out: bytearray, value: str, tag: int, alphabet: str) -> None:
    digits = [alphabet.index(char) for char in value]
    odd = len(digits) % 2
    if odd:
        digits.append(15)
    out += bytes((tag, len(digits) // 2 | odd << 7))
    out += bytes(high << 4 | low for high, low in zip(digits[::2], digits[1::2], strict=True))


def _write_jid(out: bytearray, value: str) -> bool:
    """Write an address as one, if the reader gives the same string back; tell whether it did."""
    user, at, server = value.partition("@")
    if not at or not server or "@" in server:
        return False
    match = _DEVICE_JID.fullmatch(value)
    if match is None:
        out.append(JID_PAIR)
        if user:
            _write_string(out, user)
        else:
            out.append(LIST_EMPTY)
        _write_string(out, server)
        return True
    device = int(match[2])
    if server not in DOMAIN_TYPES or not 0 < device < 256:
        return False
    out += bytes((AD_JID, DOMAIN_TYPES[server], device))
    _write_string(out, match[1])
    return True


# -- reading


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise IndexError(end)
        value = self.data[self.at : end]
        self.at = end
        return value

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def node(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise NodeError(f"nodes nested deeper than {MAX_DEPTH}")
        size = self.list_size(self.byte())
        tag = self.string(self.byte()) if size else ""
        if not tag:
            raise NodeError(f"node without a tag at byte {self.at}")
        attrs: dict[str, str] = {}
        for _ in range((size - 1) // 2):
            key = self.string(self.byte())
            attrs[key] = self.string(self.byte())
        return Node(tag, attrs, None if size % 2 else self.content(depth))

    def content(self, depth: int) -> list[Node] | bytes:
        tag = self.byte()
        if tag in (LIST_EMPTY, LIST_8, LIST_16):
            return [self.node(depth + 1) for _ in range(self.list_size(tag))]
        size = self.binary_size(tag)
        return self.string(tag).encode("utf-8") if size is None else self.take(size)

    def list_size(self, tag: int) -> int:
        match tag:
            case 0:
                return 0
            case 248:
                return self.byte()
            case 249:
                return self.number(2)
        raise NodeError(f"byte {tag} at {self.at - 1} starts no list")

    def binary_size(self, tag: int) -> int | None:
        match tag:
            case 252:
                return self.byte()
            case 253:
                return self.number(3) & 0xFFFFF
            case 254:
                return self.number(4)
        return None

    def string(self, tag: int) -> str:
        words = tokens()
        if 0 < tag < len(words.single):
            return words.single[tag]
        if DICTIONARY_0 <= tag < DICTIONARY_0 + len(words.double):
            page, index = words.double[tag - DICTIONARY_0], self.byte()
            if index >= len(page):
                raise NodeError(f"dictionary page {tag - DICTIONARY_0} has no token {index}")
            return page[index]
        size = self.binary_size(tag)
        if size is not None:
            return self._utf8(self.take(size))
        match tag:
            case 0:
                return ""
            case 251:
                return "".join(self.packed(_HEX))
            case 255:
                return "".join(self.packed(_NIBBLES))
        return self.jid(tag)

    def packed(self, alphabet: str) -> Iterator[str]:
        start = self.byte()
        digits = [digit for byte in self.take(start & 127) for digit in (byte >> 4, byte & 15)]
        if start >> 7 and digits:
            digits.pop()
        for digit in digits:
            if digit >= len(alphabet):
                raise NodeError(f"digit {digit} is not in the packed alphabet {alphabet}")
            yield alphabet[digit]

    def jid(self, tag: int) -> str:
        if tag == JID_PAIR:
            user, server = self.string(self.byte()), self.string(self.byte())
            if not server:
                raise NodeError(f"address without a server at byte {self.at}")
            return f"{user}@{server}"
        if tag == AD_JID:
            domain, device = self.byte(), self.byte()
            user = self.string(self.byte())
            server = DOMAIN_SERVERS.get(domain, "s.whatsapp.net")
            return f"{user}:{device}@{server}" if device else f"{user}@{server}"
        if tag == FB_JID:
            user, device = self.string(self.byte()), self.number(2)
            return f"{user}:{device}@{self.string(self.byte())}"
        if tag == INTEROP_JID:
            user, device, integrator = self.string(self.byte()), self.number(2), self.number(2)
            return f"{integrator}-{user}:{device}@{self.string(self.byte())}"
        raise NodeError(f"byte {tag} at {self.at - 1} starts no string")

    @staticmethod
    def _utf8(data: bytes) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise NodeError("a string is not valid UTF-8") from None
