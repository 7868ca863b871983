"""Types and names of files, as strangers give them, in headers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.http_headers import SHOWN, UNKNOWN_TYPE, disposition, media_type

HEADER = re.compile(r"[\x20-\x7e]*")


@pytest.mark.parametrize(
    ("given_", "type_"),
    [
        ("image/jpeg", "image/jpeg"),
        (" Audio/OGG; codecs=opus", "audio/ogg"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", None),
        ("", UNKNOWN_TYPE),
        ("image", UNKNOWN_TYPE),
        ("image/", UNKNOWN_TYPE),
        ("image/png\r\nSet-Cookie: a=b", UNKNOWN_TYPE),
        ("image/png\n", "image/png"),
        ("text/html,image/png", UNKNOWN_TYPE),
        ("imäge/png", UNKNOWN_TYPE),
        ("a/" + "b" * 101, UNKNOWN_TYPE),
        ("image/p\0ng", UNKNOWN_TYPE),
    ],
)
def test_a_type_is_one_or_unknown(given_: str, type_: str | None) -> None:
    assert media_type(given_) == (type_ or given_)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("image/jpeg", "a.jpg", 'inline; filename="a.jpg"'),
        ("image/svg+xml", "a.svg", 'attachment; filename="a.svg"'),
        ("text/html", "a.html", 'attachment; filename="a.html"'),
        ("application/pdf", "a.pdf", 'attachment; filename="a.pdf"'),
        ("text/plain", "../../etc/passwd", 'attachment; filename="passwd"'),
        ("text/plain", "C:\\a\\b.txt", 'attachment; filename="b.txt"'),
        (
            "text/plain",
            'a"; x="b\r\nSet-Cookie: c',
            "attachment; filename=\"a__ x=_bSet-Cookie_ c\"; filename*=UTF-8''a%22%3B%20x%3D%22bSet-Cookie%3A%20c",
        ),
        ("text/plain", "été.txt", "attachment; filename=\"ete.txt\"; filename*=UTF-8''%C3%A9t%C3%A9.txt"),
        ("text/plain", "\u202egpj.exe", 'attachment; filename="gpj.exe"'),
        ("text/plain", "\ud800", 'attachment; filename="file"'),
        ("text/plain", "…", "attachment; filename=\"...\"; filename*=UTF-8''%E2%80%A6"),
        ("text/plain", "", 'attachment; filename="file"'),
        ("text/plain", "..", 'attachment; filename="file"'),
    ],
)
def test_names(kind: str, name: str, said: str) -> None:
    assert disposition(kind, name) == said


@given(kind=st.text() | st.sampled_from(sorted(SHOWN)), name=st.text(alphabet=st.characters(), max_size=400))
def test_every_header_is_one(kind: str, name: str) -> None:
    assert HEADER.fullmatch(media_type(kind))
    said = disposition(media_type(kind), name)
    assert HEADER.fullmatch(said)
    assert len(said) < 4_000
    assert said.count('"') == 2
