"""What the first bytes of a file say, held against what its sender says."""

from __future__ import annotations

import contextlib
import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.errors import InvalidMedia
from holdfast.domain.file_types import BYTES, clean_name, file_name
from holdfast.domain.media import HEAD, NAME, check_kind, check_type, ending, name_of, seen

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


def zipped(*names: str, stored: bytes = b"x") -> bytes:
    """The first bytes of a zip with these entries, the first one not compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, b"x" if number else stored, zipfile.ZIP_DEFLATED if number else zipfile.ZIP_STORED)
    return out.getvalue()[:HEAD]


OFFICE = "application/vnd.openxmlformats-officedocument"
WORD, SLIDES = f"{OFFICE}.wordprocessingml.document", f"{OFFICE}.presentationml.presentation"
DOCX, XLSX = zipped("[Content_Types].xml", "word/document.xml"), zipped("[Content_Types].xml", "xl/workbook.xml")
ODT_TYPE = "application/vnd.oasis.opendocument.text"
ODT = zipped("mimetype", "content.xml", stored=ODT_TYPE.encode())
EPUB = zipped("mimetype", "META-INF/container.xml", stored=b"application/epub+zip")
APK = zipped("META-INF/MANIFEST.MF", "AndroidManifest.xml", "classes.dex")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(8)
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 "


@pytest.mark.parametrize(
    ("said", "name", "head", "taken"),
    [
        ("", "letter.docx", ZIP, WORD),
        ("application/octet-stream", "letter.DOCX", DOCX, WORD),
        ("application/zip", "letter.docx", DOCX, WORD),
        ("application/zip", "", DOCX, "application/zip"),
        ("", "", DOCX, WORD),
        ("", "letter", DOCX, WORD),
        ("", "all.zip", DOCX, "application/zip"),
        ("", "letter.docx", XLSX, SHEET),
        ("", "macros.docm", DOCX, "application/vnd.ms-word.document.macroenabled.12"),
        ("", "sheet.xlsx", ZIP, SHEET),
        ("", "talk.pptx", zipped("[Content_Types].xml", "ppt/presentation.xml"), SLIDES),
        ("", "text.odt", ODT, ODT_TYPE),
        ("", "text.odt", ZIP, ODT_TYPE),
        ("", "", ODT, ODT_TYPE),
        ("", "wrong.docx", ODT, ODT_TYPE),
        ("", "book.epub", EPUB, "application/epub+zip"),
        ("", "app.apk", APK, "application/vnd.android.package-archive"),
        ("", "app.bin", APK, "application/vnd.android.package-archive"),
        ("", "letter.doc", OLE, "application/msword"),
        ("", "sheet.xls", OLE, "application/vnd.ms-excel"),
        ("", "", OLE, "application/x-ole-storage"),
        ("", "list.csv", b"a;b\n", "text/csv"),
        ("", "notes.txt", b"hello", "text/plain"),
        ("", "notes.txt", b"\x00\x01\x02", "application/octet-stream"),
        ("", "notes.txt", "\ufeffhello".encode("utf-16-le"), "text/plain"),
        ("", "data.json", b"{}", "application/json"),
        ("", "card.vcf", b"BEGIN:VCARD", "text/vcard"),
        ("", "song.m4a", MP4, "audio/mp4"),
        ("", "clip.mp4", MP4, "video/mp4"),
        ("", "clip.mov", MP4, "video/quicktime"),
        ("", "picture.jpg", PNG, "image/png"),
        ("", "sticker.webp", WEBP, "image/webp"),
        ("", "picture.jpg", b"no picture", "application/octet-stream"),
        ("", "song.ogg", OPUS, "audio/ogg; codecs=opus"),
        ("audio/ogg", "", OPUS, "audio/ogg; codecs=opus"),
        ("audio/opus", "", OPUS, "audio/ogg; codecs=opus"),
        ("Audio/OGG; Codecs=Opus", "", OPUS, "audio/ogg; codecs=opus"),
        ("audio/ogg", "", VORBIS, "audio/ogg"),
        ("", "a.tar.gz", b"\x1f\x8b\x08", "application/gzip"),
        ("", "page.pdf", b"%PDF-1.7", "application/pdf"),
        ("", "data:text/html,x.pdf", b"%PDF-1.7", "application/pdf"),
    ],
)
def test_bytes_and_name_tell_the_type_together(said: str, name: str, head: bytes, taken: str) -> None:
    assert check_type(said, head, name) == taken


@pytest.mark.parametrize(
    ("given", "mimetype", "shown"),
    [
        ("", "application/pdf", "file.pdf"),
        ("", "application/octet-stream", "file.bin"),
        ("", "audio/ogg; codecs=opus", "file.oga"),
        ("report", "application/pdf", "report.pdf"),
        ("report v1.2", "application/pdf", "report v1.2.pdf"),
        ("Mr. Smith", "application/pdf", "Mr. Smith.pdf"),
        ("Mr.Smith", WORD, "Mr.Smith.docx"),
        ("data.parquet", "application/octet-stream", "data.parquet"),
        ("photo.jpeg", "image/jpeg", "photo.jpeg"),
        ("../../etc/passwd", "text/plain", "passwd.txt"),
        ("C:\\Users\\ana\\list.csv", "text/csv", "list.csv"),
        ("a\x00b\r\nc\u202egnp.exe", "image/png", "abcgnp.exe"),
        ("..", "image/png", "file.png"),
        (".htaccess", "text/plain", "htaccess.txt"),
        ("a<b>:c|d?.txt", "text/plain", "a_b__c_d_.txt"),
        ("\ud800.png", "image/png", "png.png"),
        ("  lots \t of   room .txt ", "text/plain", "lots of room.txt"),
        ("\U0001f468\u200d\U0001f469.png", "image/png", "\U0001f468\u200d\U0001f469.png"),
    ],
)
def test_names_have_an_ending_and_can_be_saved_anywhere(given: str, mimetype: str, shown: str) -> None:
    assert file_name(given, mimetype) == shown


@given(st.text(max_size=400), st.sampled_from(["image/jpeg", WORD, "x/y", ""]))
def test_any_name_can_be_saved_and_is_the_same_when_cleaned_again(given: str, mimetype: str) -> None:
    name = file_name(given, mimetype)
    assert 0 < len(name.encode()) <= BYTES
    assert not set(name) & set('/\\<>:"|?*\x00\r\n\u202e')
    assert "." in name[1:]
    assert clean_name(name) == name
    assert file_name(name, mimetype) == name


def test_a_long_name_keeps_its_ending() -> None:
    assert file_name("ü" * 300 + ".docx", WORD).endswith("ü.docx")
    assert len(file_name("x" * 300, WORD)) <= BYTES
    assert file_name("x" * 300, WORD).endswith("x.docx")
