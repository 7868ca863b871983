"""Write ``messages.json`` of ``wasim`` and of ``holdfast``: the fields of WhatsApp's protobuf messages.

The facts are read from ``WAProto.proto`` of the npm package that the sidecar pins. Run it after that version changed:

    python scripts/message_schema.py

The two packages do not import each other, so each has a copy.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sidecar/node_modules/baileys"
TARGETS = (ROOT / "src/wasim/wire/messages.json", ROOT / "src/holdfast/domain/messages.json")
SCALARS = {
    "bool", "bytes", "double", "fixed32", "fixed64", "float", "int32", "int64", "sfixed32", "sfixed64", "string",
    "uint32", "uint64",
}  # fmt: skip
_OPEN = re.compile(r"(message|enum|oneof) (\w+) \{")
_FIELD = re.compile(r"(?:(optional|required|repeated) )?([\w.]+) (\w+) = (\d+)(?: \[(.*)\])?;")
_MAP = re.compile(r"map<([\w.]+), ([\w.]+)> (\w+) = (\d+);")
_VALUE = re.compile(r"(\w+) = (-?\d+);")


def read(text: str) -> tuple[dict[str, dict[str, list[Any]]], dict[str, dict[str, int]]]:
    """Return messages (name -> field number -> [name, type, label]) and enums (name -> value name -> number)."""
    messages: dict[str, dict[str, list[Any]]] = {}
    enums: dict[str, dict[str, int]] = {}
    scope: list[tuple[str, str]] = []
    for raw in text.splitlines():
        line = raw.split("//")[0].strip()
        name = ".".join(part for kind, part in scope if kind != "oneof")
        if opened := _OPEN.match(line):
            scope.append((opened[1], opened[2]))
            whole = ".".join(part for kind, part in scope if kind != "oneof")
            if opened[1] != "oneof":
                (messages if opened[1] == "message" else enums)[whole] = {}
            if line.endswith("}"):
                scope.pop()
        elif line == "}":
            scope.pop()
        elif scope and scope[-1][0] == "enum" and (value := _VALUE.match(line)):
            enums[name][value[1]] = int(value[2])
        elif scope and (entry := _MAP.match(line)):
            made = f"{name}.{entry[3]}Entry"
            messages[made] = {"1": ["key", entry[1]], "2": ["value", entry[2]]}
            messages[name][entry[4]] = [entry[3], made, "map"]
        elif scope and (field := _FIELD.match(line)):
            label = [] if field[1] != "repeated" else ["packed" if "packed=true" in (field[5] or "") else "repeated"]
            messages[name][field[4]] = [field[3], field[2], *label]
        elif line and not line.startswith(("syntax", "package")):
            raise SystemExit(f"not understood: {raw}")
    return messages, enums


def resolve(messages: dict[str, dict[str, list[Any]]], enums: dict[str, dict[str, int]]) -> None:
    """Replace each type by its full name, searched from the innermost scope outwards as protobuf does."""
    for name, fields in messages.items():
        for field in fields.values():
            if field[1] not in SCALARS:
                field[1] = _found(field[1], name.split("."), messages.keys() | enums.keys())


def _found(wanted: str, scope: list[str], known: set[str]) -> str:
    for depth in range(len(scope), -1, -1):
        if (name := ".".join([*scope[:depth], wanted])) in known:
            return name
    raise SystemExit(f"there is no type {wanted} in {'.'.join(scope)}")


def table() -> str:
    """Read the package; return the files' text."""
    text = (PACKAGE / "WAProto/WAProto.proto").read_text("utf-8")
    messages, enums = read(text)
    resolve(messages, enums)
    version = json.loads((PACKAGE / "package.json").read_text("utf-8"))["version"]
    whatsapp = re.search(r"WhatsApp Version: (\S+)", text)
    source = f"baileys {version}, WAProto of WhatsApp {whatsapp[1] if whatsapp else 'unknown'}"
    rows = [f' "{name}": {json.dumps(fields)}' for name, fields in sorted(messages.items())]
    sets = [f' "{name}": {json.dumps(values)}' for name, values in sorted(enums.items())]
    out = f'{{"source": {json.dumps(source)},\n"messages": {{\n' + ",\n".join(rows) + '\n},\n"enums": {\n'
    return out + ",\n".join(sets) + "\n}}\n"


def main() -> None:
    """Write the files."""
    for target in TARGETS:
        target.write_text(table(), "utf-8")


if __name__ == "__main__":
    main()
