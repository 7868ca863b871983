"""All of WhatsApp's protobuf messages by name, and messages as JSON: what the admin API takes and gives.

Names, numbers and types stand in ``messages.json``, which ``scripts/message_schema.py`` writes. JSON is protobuf's own
form: bytes in base64, an enum by its name (or number), numbers as numbers (or decimal strings).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from wasim.wire.protobuf import Enum, Kind, ProtobufError, Schema

_KINDS = {"int32": "int", "int64": "int", "uint32": "uint", "uint64": "uint"}


@cache
def _facts() -> tuple[dict[str, Schema], dict[str, Enum]]:
    raw = json.loads(resources.files("wasim.wire").joinpath("messages.json").read_text("utf-8"))
    enums = {name: Enum(name, values) for name, values in raw["enums"].items()}
    tables: dict[str, dict[int, tuple[str, Kind, bool]]] = {name: {} for name in raw["messages"]}
    schemas = {}
    maps = {field[1] for fields in raw["messages"].values() for field in fields.values() if field[2:] == ["map"]}
    for name, fields in raw["messages"].items():
        packed = frozenset(int(number) for number, field in fields.items() if field[2:] == ["packed"])
        schemas[name] = Schema(name, tables[name], packed, name in maps)
    for name, fields in raw["messages"].items():
        for number, (field, kind, *label) in fields.items():
            found = schemas.get(kind) or enums.get(kind) or _KINDS.get(kind, kind)
            tables[name][int(number)] = (field, found, bool(label))
    return schemas, enums


def schema(name: str) -> Schema:
    """Return the message of that name, such as ``Message.ImageMessage``."""
    return _facts()[0][name]


def from_json(kind: Schema, value: Any) -> dict[str, Any]:
    """Read a message given as JSON. Raises ``ProtobufError``, which names the field that does not fit."""
    return _message(kind, value, kind.name)


def _message(kind: Schema, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ProtobufError(f"{path} must be an object")
    fields = {name: (found, repeated) for name, found, repeated in kind.fields.values()}
    out: dict[str, Any] = {}
    for name, item in value.items():
        if name not in fields:
            raise ProtobufError(f"{path} has no field {name}")
        found, repeated = fields[name]
        where = f"{path}.{name}"
        if item is None:
            continue
        if isinstance(found, Schema) and found.entry:
            if not isinstance(item, Mapping):
                raise ProtobufError(f"{where} must be an object")
            pairs = [{"key": key, "value": entry} for key, entry in item.items()]
            out[name] = [_message(found, pair, where) for pair in pairs]
        elif repeated:
            if not isinstance(item, list):
                raise ProtobufError(f"{where} must be a list")
            out[name] = [_one(found, entry, where) for entry in item]
        else:
            out[name] = _one(found, item, where)
    return out


def _one(kind: Kind, value: Any, path: str) -> Any:
    if isinstance(kind, Schema):
        return _message(kind, value, path)
    if isinstance(kind, Enum):
        if isinstance(value, str) and value in kind.values:
            return kind.values[value]
        if isinstance(value, bool) or not isinstance(value, int):
            raise ProtobufError(f"{path} must be one of {', '.join(kind.values)}, or a number")
        return value
    if kind == "bytes":
        return _bytes(value, path)
    if kind in ("string", "bool"):
        if not isinstance(value, str if kind == "string" else bool):
            raise ProtobufError(f"{path} must be a {kind}")
        return value
    return _number(kind, value, path)


def _bytes(value: Any, path: str) -> bytes:
    try:
        return base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    except (AttributeError, ValueError, binascii.Error):
        raise ProtobufError(f"{path} must be bytes in base64") from None


def _number(kind: str, value: Any, path: str) -> int | float:
    real = kind in ("double", "float")
    number: int | float | None = None
    with contextlib.suppress(TypeError, ValueError):
        number = float(value) if real else int(value)
    if number is None or isinstance(value, bool) or (not real and isinstance(value, float) and value != number):
        raise ProtobufError(f"{path} must be a number")
    return number


def to_json(kind: Schema, value: Mapping[str, Any]) -> dict[str, Any]:
    """Write a message that ``decode`` read as JSON."""
    kinds = {name: found for name, found, _ in kind.fields.values()}
    return {name: _shown(kinds[name], item) for name, item in value.items()}


def _shown(kind: Kind, value: Any) -> Any:
    if isinstance(value, list):
        if isinstance(kind, Schema) and kind.entry:
            return {str(pair["key"]): pair["value"] for pair in (_shown(kind, one) for one in value)}
        return [_shown(kind, one) for one in value]
    if isinstance(kind, Schema):
        return to_json(kind, value)
    if isinstance(kind, Enum):
        return next((name for name, number in kind.values.items() if number == value), value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
