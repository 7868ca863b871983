"""A small protobuf codec: messages as dicts, by tables of fields (``wire/schema.py``).

A kind is ``"uint"``, ``"bool"``, ``"double"``, ``"bytes"``, ``"string"`` or the ``Schema`` of a nested message.
Unknown fields are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

Kind = Union[str, "Schema"]
MAX_NUMBER = (1 << 64) - 1
_DOUBLE = struct.Struct("<d")


@dataclass(frozen=True)
class Schema:
    """One message: field number -> (name, kind, repeated)."""

    name: str
    fields: Mapping[int, tuple[str, Kind, bool]]


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


def _write(out: bytearray, number: int, kind: Kind, value: Any) -> None:
    if kind in ("uint", "bool"):
        _write_varint(out, number << 3)
        _write_varint(out, int(value))
        return
    if kind == "double":
        _write_varint(out, number << 3 | 1)
        out += _DOUBLE.pack(value)
        return
    data = encode(kind, value) if isinstance(kind, Schema) else value.encode() if isinstance(value, str) else value
    _write_varint(out, number << 3 | 2)
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


def _value(kind: Kind, raw: int | bytes, wire: int, schema: str, name: str) -> Any:
    if isinstance(raw, int):
        if kind not in ("uint", "bool"):
            raise ProtobufError(f"{schema}.{name} holds a number")
        return bool(raw) if kind == "bool" else raw
    if wire == 1 and kind == "double":
        return _DOUBLE.unpack(raw)[0]
    if wire == 2:
        if isinstance(kind, Schema):
            return decode(kind, raw)
        if kind == "string":
            return raw.decode("utf-8", "replace")
        if kind == "bytes":
            return raw
    raise ProtobufError(f"{schema}.{name} holds {'bytes' if wire == 2 else 'a number of fixed size'}")
