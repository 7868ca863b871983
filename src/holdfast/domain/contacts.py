"""Contacts as files that other programs read: JSON, CSV, vCard. Nothing but contacts is in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.domain.rows import ContactRow
from holdfast.domain.waha import to_waha_id

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - spreadsheets read wide ones too
"""Beginnings that make a spreadsheet run a cell as a formula: a contact's name is written by strangers."""


@dataclass(frozen=True, slots=True)
class Format:
    """How contacts are written, and as what they are sent."""

    write: Callable[[Sequence[ContactRow]], str]
    media_type: str
    suffix: str


def _facts(row: ContactRow) -> dict[str, str]:
    return {
        "id": to_waha_id(row.id),
        "phone": row.phone,
        "lid": row.lid,
        "name": row.name,
        "push_name": row.push_name,
    }


def to_json(rows: Sequence[ContactRow]) -> str:
    """A list of objects, one contact on each line."""
    lines = ",\n".join(json.dumps(_facts(row), ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]\n" if rows else "[]\n"


def to_csv(rows: Sequence[ContactRow]) -> str:
    """RFC 4180, UTF-8, with a head line. What a spreadsheet would run as a formula begins with an apostrophe."""
    head = "id,phone,lid,name,push_name\r\n"
    return head + "".join(",".join(map(_cell, _facts(row).values())) + "\r\n" for row in rows)


def _cell(text: str) -> str:
    if text.lstrip(" ").startswith(_FORMULA):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text


def to_vcard(rows: Sequence[ContactRow]) -> str:
    """vCard 3.0, which phones import. A contact without a known number has its WhatsApp id as a note."""
    return "".join(_card(row) for row in rows)


def _card(row: ContactRow) -> str:
    shown = row.name or row.push_name or (f"+{row.phone}" if row.phone else row.id)
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"FN:{_escaped(shown)}", f"N:;{_escaped(shown)};;;"]
    if row.push_name and row.push_name != shown:
        lines.append(f"NICKNAME:{_escaped(row.push_name)}")
    if row.phone:
        lines.append(f"TEL;TYPE=CELL:+{row.phone}")
    else:
        lines.append(f"NOTE:WhatsApp {_escaped(row.id)}")
    lines.append("END:VCARD")
    return "".join(f"{_folded(line)}\r\n" for line in lines)


def _escaped(text: str) -> str:
    for mark in ("\\", ";", ","):
        text = text.replace(mark, f"\\{mark}")
    return "\\n".join(text.splitlines())


def _folded(line: str) -> str:
    """At most 75 bytes a line, never cut inside of a character; what follows begins with a space."""
    parts, size = [""], 0
    for character in line:
        width = len(character.encode(errors="replace"))
        if size + width > 75:
            parts.append(" ")
            size = 1
        parts[-1] += character
        size += width
    return "\r\n".join(parts)


FORMATS: Mapping[str, Format] = {
    "json": Format(to_json, "application/json", "json"),
    "csv": Format(to_csv, "text/csv", "csv"),
    "vcard": Format(to_vcard, "text/vcard", "vcf"),
}
