"""What the first bytes of a file say, held against what its sender says."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.errors import InvalidMedia
from holdfast.domain.media import NAME, check_kind, check_type, ending, name_of, seen

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"
PNG = b"\x89PNG\r\n\x1a\n\x00"
MP4 = b"\x00\x00\x00\x18ftypisom\x00"
OPUS = b"OggS\x00\x02" + bytes(22) + b"OpusHead\x01"
VORBIS = b"OggS\x00\x02" + bytes(22) + b"\x01vorbis"
ZIP = b"PK\x03\x04\x14\x00"
HTML = b"\n <!DOCTYPE html><title>Not found</title>"
MP3 = b"\xff\xfb\x90\x64"
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (JPEG, "image/jpeg"),
        (PNG, "image/png"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (MP4, "video/mp4"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        (MP3, "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (OPUS, "audio/ogg"),
        (b"%PDF-1.7", "application/pdf"),
        (HTML, "text/html"),
        (b"MZ\x90\x00\x03", "application/x-msdownload"),
        (b"BM\x36\x00\x00", "image/bmp"),
        (b"BMW, a car", ""),
        ("ÿþtext".encode("latin-1"), ""),
        (b"", ""),
        (b"name;price\n", ""),
    ],
)
def test_bytes_tell_the_type(head: bytes, kind: str) -> None:
    assert seen(head) == kind


@pytest.mark.parametrize(
    ("said", "head", "taken"),
    [
        ("image/jpeg", JPEG, "image/jpeg"),
        ("image/jpg", JPEG, "image/jpg"),
        ("", PNG, "image/png"),
        ("application/octet-stream", MP4, "video/mp4"),
        ("audio/ogg; codecs=opus", OPUS, "audio/ogg; codecs=opus"),
        (SHEET, ZIP, SHEET),
        ("text/csv", b"a;b", "text/csv"),
        ("application/x-strange", b"\x01\x02", "application/x-strange"),
        ("text/html", HTML, "text/html"),
        ("audio/mp4", MP4, "audio/mp4"),
        ("image/svg+xml", b"<svg/>", "image/svg+xml"),
        ("", b"no type", "application/octet-stream"),
    ],
)
def test_what_agrees_is_taken(said: str, head: bytes, taken: str) -> None:
    assert check_type(said, head) == taken


@pytest.mark.parametrize(
    ("said", "head", "word"),
    [
        ("image/jpeg", HTML, "text/html"),
        ("image/jpeg", PNG, "image/png"),
        ("application/pdf", b"MZ\x90\x00", "msdownload"),
        ("image/png", b"nothing known", "no type"),
        ("text/plain", b"\x7fELF\x02", "executable"),
        (SHEET, b"%PDF-", "pdf"),
        ("image/png", b"", "empty"),
        ("not a type", JPEG, "image/jpeg"),
        ("application/pdf", HTML, "text/html"),
    ],
)
def test_what_differs_is_refused_and_named(said: str, head: bytes, word: str) -> None:
    with pytest.raises(InvalidMedia, match=word):
        check_type(said, head)


@pytest.mark.parametrize(
    ("kind", "head"), [("image", JPEG), ("video", MP4), ("voice", OPUS), ("file", b"anything"), ("file", JPEG)]
)
def test_kinds_that_whatsapp_shows(kind: str, head: bytes) -> None:
    check_kind(kind, head)


@pytest.mark.parametrize(
    ("kind", "head", "way"),
    [("voice", MP3, "OGG with Opus"), ("voice", VORBIS, "OGG"), ("image", MP4, "JPEG"), ("video", JPEG, "MP4")],
)
def test_kinds_that_it_does_not_show_name_the_way_out(kind: str, head: bytes, way: str) -> None:
    with pytest.raises(InvalidMedia, match=way) as caught:
        check_kind(kind, head)
    assert "sendFile" in caught.value.sentence


@given(st.binary(max_size=64), st.text(max_size=30))
def test_nothing_that_is_sent_breaks_it(head: bytes, said: str) -> None:
    with contextlib.suppress(InvalidMedia):
        assert "/" in check_type(said, head)


@given(st.text(), st.sampled_from(["image/jpeg", "audio/ogg; codecs=opus", "x/y", "", "a/../../b"]))
def test_names_are_safe_and_the_same_again(fact: str, mimetype: str) -> None:
    name = name_of(fact, 1, mimetype=mimetype)
    assert NAME.fullmatch(name)
    assert name == name_of(fact, 1, mimetype=mimetype)


def test_endings() -> None:
    assert [ending(kind) for kind in ("image/jpeg", "audio/ogg; codecs=opus", "application/pdf", "x/unknown")] == [
        ".jpg", ".oga", ".pdf", ".bin",
    ]  # fmt: skip
