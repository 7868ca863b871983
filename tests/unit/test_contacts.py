"""Exported contacts, read back by other readers than our own, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.contacts import FORMATS, to_csv, to_json, to_vcard
from holdfast.domain.rows import ContactRow

ANA = ContactRow("40712345601@s.whatsapp.net", "40712345601", "777@lid", 'Ana, "mama"; Ion', "ana\nșef")
HIDDEN = ContactRow("888@lid", "", "888@lid", "", "Zoé")
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=120)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_json_holds_the_contact_and_nothing_else() -> None:
    assert json.loads(to_json([ANA, HIDDEN])) == [
        {
            "id": "40712345601@c.us",
            "phone": "40712345601",
            "lid": "777@lid",
            "name": ANA.name,
            "push_name": ANA.push_name,
        },
        {"id": "888@lid", "phone": "", "lid": "888@lid", "name": "", "push_name": "Zoé"},
    ]
    assert json.loads(to_json([])) == []


@given(NAMES, NAMES)
def test_csv_is_read_back_as_it_was_but_for_the_apostrophe(name: str, push_name: str) -> None:
    [row] = read(to_csv([ContactRow("1@lid", "", "1@lid", name, push_name)]))
    assert row["name"].removeprefix("'") == name.removeprefix("'")
    assert row["push_name"].removeprefix("'") == push_name.removeprefix("'")
    for cell in row.values():
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@pytest.mark.parametrize("name", ['=HYPERLINK("http://x")', "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1"])  # noqa: RUF001
def test_no_name_becomes_a_formula(name: str) -> None:
    [row] = read(to_csv([ContactRow("1@lid", "", "1@lid", name, "")]))
    assert row["name"] == f"'{name}"


def unfolded(text: str) -> list[str]:
    return text.replace("\r\n ", "").split("\r\n")


def test_vcards_escape_what_has_a_meaning() -> None:
    lines = unfolded(to_vcard([ANA, HIDDEN]))
    assert lines[:7] == [
        "BEGIN:VCARD",
        "VERSION:3.0",
        'FN:Ana\\, "mama"\\; Ion',
        'N:;Ana\\, "mama"\\; Ion;;;',
        "NICKNAME:ana\\nșef",
        "TEL;TYPE=CELL:+40712345601",
        "END:VCARD",
    ]
    assert lines[7:] == ["BEGIN:VCARD", "VERSION:3.0", "FN:Zoé", "N:;Zoé;;;", "NOTE:WhatsApp 888@lid", "END:VCARD", ""]


@given(NAMES)
def test_no_name_leaves_its_line_of_a_vcard(name: str) -> None:
    text = to_vcard([ContactRow("40712345601@s.whatsapp.net", "40712345601", "", name, "")])
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    lines = unfolded(text)
    assert [line.partition(":")[0] for line in lines if line] == [
        "BEGIN",
        "VERSION",
        "FN",
        "N",
        "TEL;TYPE=CELL",
        "END",
    ]
    assert len(lines[2].splitlines()) <= 1


def test_each_format_has_its_media_type() -> None:
    assert {name: (f.media_type, f.suffix) for name, f in FORMATS.items()} == {
        "json": ("application/json", "json"),
        "csv": ("text/csv", "csv"),
        "vcard": ("text/vcard", "vcf"),
    }
