"""Files of messages (pure): what their first bytes and their names say that they are.

The bytes decide: whoever says `image/jpeg` of a web page is told so, before WhatsApp's users see a picture that does
not open. Where bytes fit several types, as those of a zip or of a text do, the name says which.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from holdfast.domain import file_types
from holdfast.domain.errors import InvalidMedia

HEAD = 4096
"""So many first bytes of a file are looked at."""
UNKNOWN = "application/octet-stream"

State = Literal["staged", "awaited", "kept", "lost", "dropped"]


@dataclass(frozen=True, slots=True)
class MediaRow:
    """A file of a message. `name` is its name in the store of files, unique and without meaning; `source` the plaintext
    of the message that says where WhatsApp has it; `filename` the one that its sender gave it.
    """

    name: str
    session: str
    message_id: str
    chat: str
    sender: str
    from_me: bool
    state: State
    source: bytes = b""
    mimetype: str = ""
    filename: str = ""
    size: int = 0
    attempts: int = 0
    problem: str = ""


def name_of(*facts: object, mimetype: str) -> str:
    """The name of a file, always the same for the same facts, with the ending of its type."""
    return hashlib.sha256("|".join(map(str, facts)).encode()).hexdigest()[:40] + ending(mimetype)


def ending(mimetype: str) -> str:
    """`.jpg` and so on; `.bin` for a type without one."""
    return file_types.extension(mimetype) or ".bin"


NAME = re.compile(r"[0-9a-f]{40}\.[a-z0-9]{1,10}")


def bare(mimetype: str) -> str:
    """`audio/ogg` of `Audio/OGG; codecs=opus`."""
    return mimetype.partition(";")[0].strip().lower()


# --- what the bytes say ------------------------------------------------------------------------------------------

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypmif1", "image/heic"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp3g", "video/3gpp"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"#!AMR", "audio/amr"),
    (8, b"WAVE", "audio/wav"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"MZ", "application/x-msdownload"),
    (0, b"\x7fELF", "application/x-executable"),
)
_ALIKE: tuple[frozenset[str], ...] = (
    frozenset({"image/jpeg", "image/jpg", "image/pjpeg"}),
    frozenset({"image/heic", "image/heif"}),
    frozenset({"image/bmp", "image/x-ms-bmp"}),
    frozenset({"video/mp4", "audio/mp4", "video/quicktime", "video/3gpp", "audio/3gpp", "audio/x-m4a", "video/x-m4v",
               "audio/m4a", "audio/aac", "video/3gpp2"}),
    frozenset({"video/webm", "audio/webm", "video/x-matroska"}),
    frozenset({"audio/ogg", "video/ogg", "application/ogg", "audio/opus"}),
    frozenset({"audio/mpeg", "audio/mp3", "audio/x-mpeg"}),
    frozenset({"audio/aac", "audio/x-aac"}),
    frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"}),
    frozenset({"audio/flac", "audio/x-flac"}),
    frozenset({"audio/amr", "audio/amr-nb"}),
    frozenset({"video/x-msvideo", "video/avi"}),
    frozenset({"application/gzip", "application/x-gzip", "application/x-tar"}),
    frozenset({"application/vnd.rar", "application/x-rar-compressed", "application/x-rar"}),
    frozenset({"application/x-msdownload", "application/vnd.microsoft.portable-executable", "application/x-dosexec"}),
    frozenset({"application/x-ole-storage", "application/msword", "application/vnd.ms-excel",
               "application/vnd.ms-powerpoint", "application/vnd.ms-outlook"}),
)  # fmt: skip
_IN_ZIP = re.compile(
    r"application/(zip|x-zip-compressed|epub\+zip|java-archive|vnd\.(openxmlformats|oasis|android|apple|google-earth).*"
    r"|vnd\.ms-(word|excel|powerpoint)\..*macroenabled.*)"
)


def seen(head: bytes) -> str:
    """The type that the first bytes tell; empty if they tell none."""
    for offset, mark, kind in _SIGNATURES:
        in_riff = offset != 8 or head.startswith(b"RIFF")
        no_word = not (len(mark) == 2 and mark.isalpha()) or b"\0" in head  # a text may begin with BM or MZ
        if head.startswith(mark, offset) and in_riff and no_word:
            return kind
    if len(head) > 1 and head[0] == 0xFF:  # a frame of MPEG audio; text in UTF-16 begins almost alike
        if head[1] & 0xF6 == 0xF0:
            return "audio/aac"
        if head[1] & 0xE0 == 0xE0 and (head[1] >> 1) & 3 in (1, 2):
            return "audio/mpeg"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower()
    return "text/html" if start.startswith((b"<!doctype html", b"<html")) else ""


def _fits(said: str, found: str) -> bool:
    if said == found or any(said in group and found in group for group in _ALIKE):
        return True
    return found == "application/zip" and _IN_ZIP.fullmatch(said) is not None


def _told_by_bytes(said: str) -> bool:
    """Whether files of that type always begin in a way that `seen` knows."""
    return (said.startswith(("image/", "video/", "audio/")) and said != "image/svg+xml") or any(
        _fits(said, kind) for _, _, kind in _SIGNATURES
    )


OPUS = "audio/ogg; codecs=opus"
"""The one way in which WhatsApp's apps play Opus."""
_UNSAID = frozenset({"", UNKNOWN, "binary/octet-stream", "application/x-download", "application/force-download"})
_BROAD = frozenset({"application/zip", "application/x-zip-compressed", "application/x-ole-storage"})
"""Containers: they say less than the name of what is inside."""
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,100}")


def check_type(said: str, head: bytes, filename: str = "") -> str:
    """The type under which a file is sent: the one that its sender says, if the bytes agree, else what bytes and name
    tell together. Raises `InvalidMedia` for a file that is not what it is said to be, and for an empty one.
    """
    if not head:
        raise InvalidMedia("The file is empty.")
    found, plain = seen(head), bare(said)
    if plain not in _UNSAID:
        _check_said(plain, found)
    if found == "audio/ogg" and b"OpusHead" in head:
        return OPUS
    if plain in _UNSAID or (plain in _BROAD and file_types.by_name(filename)):
        return _by_content_and_name(head, found, filename)
    return said.strip()


def _check_said(plain: str, found: str) -> None:
    if not _TYPE.fullmatch(plain):
        raise InvalidMedia("Invalid MIME type. Example: image/jpeg.")
    if _fits(plain, found) or not (found or _told_by_bytes(plain)):
        return
    if found in ("", "text/html") and not _told_by_bytes(plain) and plain != "application/json":
        return
    raise InvalidMedia(
        f"The file is not {plain}: its bytes are "
        f"{'those of ' + found if found else 'of no type that is known'}. Send it as what it is."
    )


def _by_content_and_name(head: bytes, found: str, filename: str) -> str:
    named = file_types.by_name(filename)
    if found == "application/zip":
        inside = file_types.in_zip(head)
        if not _fits(named, found) or (inside and named != found and not _akin(named, inside)):
            return inside or found
        return named
    if not found:
        binary = b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff"))
        return UNKNOWN if not named or _told_by_bytes(named) or (binary and named.startswith("text/")) else named
    return named if _fits(named, found) else found


def _akin(named: str, inside: str) -> bool:
    """Whether both are of one family: `docm` is one of those that hold a `word/`."""
    return named == inside or any(one.search(named) and one.search(inside) for one in _FAMILIES)


_FAMILIES = (
    re.compile(r"wordprocessingml|ms-word"),
    re.compile(r"spreadsheetml|ms-excel"),
    re.compile(r"presentationml|ms-powerpoint"),
    re.compile(r"java-archive|android"),
)


_SENDABLE = {
    "image": (frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"}), "a JPEG, PNG, WebP or GIF picture"),
    "video": (frozenset({"video/mp4", "video/3gpp", "video/quicktime"}), "an MP4, 3GP or QuickTime video"),
    "voice": (frozenset({"audio/ogg"}), "audio in OGG with Opus"),
}


def check_kind(kind: str, head: bytes) -> None:
    """Raises `InvalidMedia` for a file that WhatsApp cannot show as such a message."""
    if kind not in _SENDABLE:
        return
    types, words = _SENDABLE[kind]
    found = seen(head)
    if found not in types or (kind == "voice" and b"OpusHead" not in head):
        raise InvalidMedia(
            f"A {kind} message must be {words}; this file is {found or 'of no known type'}. "
            "Convert it, or send it with /api/sendFile."
        )
