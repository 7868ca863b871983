"""Reads WhatsApp's protobuf messages: for what was sealed inside a message, and so reached no engine's decoder (pure).

The result has the form in which engines hand over bodies: bytes as `{"$b": base64}`, enums by name, what is not set is
left out. Names, numbers and types stand in `messages.json` (`scripts/message_schema.py` writes it).
"""

from __future__ import annotations

import base64
import json
import struct
from functools import cache
from importlib import resources
from typing import Any

DEEPEST = 40
"""Messages nest as deep as a sender likes; what is deeper is left out."""
_FIXED = {
    "double": struct.Struct("<d"), "float": struct.Struct("<f"), "fixed32": struct.Struct("<I"),
    "fixed64": struct.Struct("<Q"), "sfixed32": struct.Struct("<i"), "sfixed64": struct.Struct("<q"),
}  # fmt: skip
_SIGNED = frozenset({"int32", "int64"})
_64 = 1 << 64


class InvalidProtobuf(ValueError):
    """Bytes that are no such message."""


@cache
def _tables() -> tuple[dict[str, dict[int, list[Any]]], dict[str, dict[int, str]]]:
    """Messages by name (field number -> [name, type, label]), and enums by name (number -> name)."""
    raw = json.loads(resources.files("holdfast.domain").joinpath("messages.json").read_text("utf-8"))
    messages = {name: {int(n): field for n, field in fields.items()} for name, fields in raw["messages"].items()}
    return messages, {name: {n: value for value, n in values.items()} for name, values in raw["enums"].items()}


def decode(kind: str, data: bytes) -> dict[str, Any]:
    """Read a message of the kind (`Message`, `Message.ReactionMessage` ...).

    Raises:
        InvalidProtobuf: `data` is cut off, or a field has another type than its name says.
    """
    return _message(kind, data, 0)


def _message(kind: str, data: bytes, depth: int) -> dict[str, Any]:
    fields = _tables()[0][kind]
    out: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        raw, at = _raw(data, at, tag & 7)
        if (field := fields.get(tag >> 3)) is None:
            continue
        name, type_, *label = field
        values = _values(type_, raw, tag & 7, depth)
        if label == ["map"]:
            out.setdefault(name, {}).update({str(pair.get("key", "")): pair.get("value") for pair in values})
        elif label:
            out.setdefault(name, []).extend(values)
        elif values:
            out[name] = values[-1]
    return out


def _values(type_: str, raw: int | bytes, wire: int, depth: int) -> list[Any]:
    messages, enums = _tables()
    if type_ in messages:
        if not isinstance(raw, bytes) or wire != 2:
            raise InvalidProtobuf(f"{type_} is no message here")
        return [_message(type_, raw, depth + 1)] if depth < DEEPEST else []
    if type_ in ("string", "bytes"):
        if not isinstance(raw, bytes) or wire != 2:
            raise InvalidProtobuf(f"a number instead of {type_}")
        return [raw.decode("utf-8", "replace") if type_ == "string" else {"$b": base64.b64encode(raw).decode()}]
    return [_number(type_, one, enums) for one in _numbers(type_, raw, wire)]


def _numbers(type_: str, raw: int | bytes, wire: int) -> list[int | bytes]:
    """The values of a number field: several in one piece where they are packed."""
    fixed = _FIXED.get(type_)
    if wire == (0 if fixed is None else 1 if fixed.size == 8 else 5):
        return [raw]
    if wire != 2 or not isinstance(raw, bytes):
        raise InvalidProtobuf(f"another kind of number than {type_}")
    found: list[int | bytes] = []
    at = 0
    while at < len(raw):
        one, at = _varint(raw, at) if fixed is None else _cut(raw, at, fixed.size)
        found.append(one)
    return found


def _number(type_: str, raw: int | bytes, enums: dict[str, dict[int, str]]) -> Any:
    if isinstance(raw, bytes):
        return _FIXED[type_].unpack(raw)[0]
    if type_ == "bool":
        return bool(raw)
    signed = raw - _64 if raw >> 63 and (type_ in _SIGNED or type_ in enums) else raw
    return enums[type_].get(signed, signed) if type_ in enums else signed


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise InvalidProtobuf("cut off inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value % _64, at
    raise InvalidProtobuf("a number of more than 10 bytes")


def _raw(data: bytes, at: int, wire: int) -> tuple[int | bytes, int]:
    if wire == 0:
        return _varint(data, at)
    if wire == 2:
        size, at = _varint(data, at)
        return _cut(data, at, size)
    if wire in (1, 5):
        return _cut(data, at, 8 if wire == 1 else 4)
    raise InvalidProtobuf(f"unknown wire type {wire}")


def _cut(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise InvalidProtobuf("cut off inside a field")
    return data[at : at + size], at + size
