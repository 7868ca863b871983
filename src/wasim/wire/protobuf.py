"""A small protobuf codec: messages as dicts, by tables of fields (``wire/schema.py``).

A kind is ``"uint"``, ``"int"`` (signed, two's complement), ``"bool"``, one of fixed size (``"double"``, ``"float"``,
``"fixed32"``, ``"fixed64"``, ``"sfixed32"``, ``"sfixed64"``), ``"bytes"``, ``"string"``, an ``Enum``, or the ``Schema``
of a nested message. Unknown fields are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

Kind = Union[str, "Schema", "Enum"]
MAX_NUMBER = (1 << 64) - 1
_FIXED = {
    "double": struct.Struct("<d"), "float": struct.Struct("<f"), "fixed32": struct.Struct("<I"),
    "fixed64": struct.Struct("<Q"), "sfixed32": struct.Struct("<i"), "sfixed64": struct.Struct("<q"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Enum:
    """Names of numbers; messages as dicts hold the numbers."""

    name: str
    values: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Schema:
    """One message: field number -> (name, kind, repeated). ``packed``: numbers of fields written in one piece.

    ``entry`` marks the pairs of a map, which are a repeated message with ``key`` and ``value``.
    """

    name: str
    fields: Mapping[int, tuple[str, Kind, bool]]
    packed: frozenset[int] = frozenset()
    entry: bool = False


class ProtobufError(ValueError):
    """Bytes that are no such message, or a value that does not fit its schema."""


def encode(schema: Schema, value: Mapping[str, Any]) -> bytes:
    """Write ``value``; names that the schema lacks are an error, None is left out."""
    out = bytearray()
    known = {name for name, _, _ in schema.fields.values()}
    if unknown := value.keys() - known:
        raise ProtobufError(f"{schema.name} has no field {', '.join(sorted(unknown))}")
    for number, (name, kind, repeated) in sorted(schema.fields.items()):
        item = value.get(name)
        if item is None:
            continue
        if number in schema.packed:
            _write_packed(out, number, kind, item)
            continue
        for one in item if repeated else (item,):
            _write(out, number, kind, one)
    return bytes(out)


def decode(schema: Schema, data: bytes) -> dict[str, Any]:
    """Read a message; absent fields are absent in the result.

    :raises ProtobufError: if ``data`` is cut off or uses a wrong wire type
    """
    out: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        raw, at = _raw(data, at, tag & 7)
        field = schema.fields.get(tag >> 3)
        if field is None:
            continue
        name, kind, repeated = field
        if repeated and tag & 7 == 2 and isinstance(raw, bytes) and _is_number(kind):
            out.setdefault(name, []).extend(_unpacked(kind, raw, schema.name, name))
            continue
        value = _value(kind, raw, tag & 7, schema.name, name)
        if repeated:
            out.setdefault(name, []).append(value)
        else:
            out[name] = value
    return out


def _write_varint(out: bytearray, value: int) -> None:
    value &= MAX_NUMBER
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _is_number(kind: Kind) -> bool:
    return isinstance(kind, Enum) or (kind not in ("bytes", "string") and not isinstance(kind, Schema))


def _wire(kind: Kind) -> int:
    if not _is_number(kind):
        return 2
    fixed = _FIXED.get(kind) if isinstance(kind, str) else None
    return 0 if fixed is None else 1 if fixed.size == 8 else 5


def _write_number(out: bytearray, kind: Kind, value: Any) -> None:
    fixed = _FIXED.get(kind) if isinstance(kind, str) else None
    if fixed is None:
        _write_varint(out, int(value))
        return
    try:
        out += fixed.pack(value)
    except (struct.error, OverflowError) as error:
        raise ProtobufError(f"{value!r} is no {kind}") from error


def _write_packed(out: bytearray, number: int, kind: Kind, values: Any) -> None:
    data = bytearray()
    for value in values:
        _write_number(data, kind, value)
    if data:
        _write_varint(out, number << 3 | 2)
        _write_varint(out, len(data))
        out += data


def _write(out: bytearray, number: int, kind: Kind, value: Any) -> None:
    _write_varint(out, number << 3 | _wire(kind))
    if _is_number(kind):
        _write_number(out, kind, value)
        return
    data = encode(kind, value) if isinstance(kind, Schema) else value.encode() if isinstance(value, str) else value
    _write_varint(out, len(data))
    out += data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ProtobufError("cut off inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & MAX_NUMBER, at
    raise ProtobufError("a number of more than 10 bytes")


def _raw(data: bytes, at: int, wire: int) -> tuple[int | bytes, int]:
    if wire == 0:
        return _varint(data, at)
    if wire == 2:
        size, at = _varint(data, at)
    elif wire in (1, 5):
        size = 8 if wire == 1 else 4
    else:
        raise ProtobufError(f"unknown wire type {wire}")
    if at + size > len(data):
        raise ProtobufError("cut off inside a field")
    return data[at : at + size], at + size


def _unpacked(kind: Kind, data: bytes, schema: str, name: str) -> list[Any]:
    wire, at, found = _wire(kind), 0, []
    while at < len(data):
        raw, at = _raw(data, at, wire)
        found.append(_value(kind, raw, wire, schema, name))
    return found


def _value(kind: Kind, raw: int | bytes, wire: int, schema: str, name: str) -> Any:
    if wire != _wire(kind):
        held = {0: "a number", 2: "bytes"}.get(wire, "a number of fixed size")
        raise ProtobufError(f"{schema}.{name} holds {held}")
    if isinstance(raw, int):
        signed = isinstance(kind, Enum) or kind == "int"
        return bool(raw) if kind == "bool" else raw - (1 << 64) if signed and raw >> 63 else raw
    if isinstance(kind, Schema):
        return decode(kind, raw)
    if kind == "string":
        return raw.decode("utf-8", "replace")
    return raw if kind == "bytes" else _FIXED[str(kind)].unpack(raw)[0]
