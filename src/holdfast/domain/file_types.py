"""Types and names of files (pure): what a name says of a type, what is in a zip, and names that any phone can save.

The table of the standard library, the same on every machine, with the types that it lacks.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from typing import Final

_OOXML = "application/vnd.openxmlformats-officedocument"
_ODF = "application/vnd.oasis.opendocument"
_LACKING: Final = {
    ".docx": f"{_OOXML}.wordprocessingml.document",
    ".dotx": f"{_OOXML}.wordprocessingml.template",
    ".docm": "application/vnd.ms-word.document.macroenabled.12",
    ".xlsx": f"{_OOXML}.spreadsheetml.sheet",
    ".xltx": f"{_OOXML}.spreadsheetml.template",
    ".xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    ".pptx": f"{_OOXML}.presentationml.presentation",
    ".ppsx": f"{_OOXML}.presentationml.slideshow",
    ".pptm": "application/vnd.ms-powerpoint.presentation.macroenabled.12",
    ".odt": f"{_ODF}.text",
    ".ods": f"{_ODF}.spreadsheet",
    ".odp": f"{_ODF}.presentation",
    ".odg": f"{_ODF}.graphics",
    ".epub": "application/epub+zip",
    ".apk": "application/vnd.android.package-archive",
    ".jar": "application/java-archive",
    ".kmz": "application/vnd.google-earth.kmz",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".pkpass": "application/vnd.apple.pkpass",
    ".pages": "application/vnd.apple.pages",
    ".numbers": "application/vnd.apple.numbers",
    ".msg": "application/vnd.ms-outlook",
    ".eml": "message/rfc822",
    ".rtf": "application/rtf",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".bz2": "application/x-bzip2",
    ".xz": "application/x-xz",
    ".rar": "application/vnd.rar",
    ".7z": "application/x-7z-compressed",
    ".exe": "application/x-msdownload",
    ".webp": "image/webp",
    ".heif": "image/heif",
    ".jfif": "image/jpeg",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".3gp": "video/3gpp",
    ".mkv": "video/x-matroska",
    ".ogv": "video/ogg",
    ".m4a": "audio/mp4",
    ".m4b": "audio/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".amr": "audio/amr",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".md": "text/markdown",
    ".ics": "text/calendar",
    ".vcf": "text/vcard",
    ".log": "text/plain",
    ".sql": "application/sql",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".xml": "application/xml",
    ".gpx": "application/gpx+xml",
}
_TYPES: Final = {**mimetypes.MimeTypes().types_map[True], **_LACKING}
_COMMON: Final = {
    "image/jpeg": ".jpg", "audio/ogg": ".oga", "video/mp4": ".mp4", "audio/mp4": ".m4a", "audio/mpeg": ".mp3",
    "text/plain": ".txt", "text/html": ".html", "application/gzip": ".gz", "image/tiff": ".tiff", "image/bmp": ".bmp",
    "application/x-ole-storage": ".doc", "application/x-msdownload": ".exe", "video/x-msvideo": ".avi",
    "application/octet-stream": "",
}  # fmt: skip
"""Of types with several endings, the one that people know."""
_EXTENSIONS: Final = {kind: ending for ending, kind in reversed(_TYPES.items())} | _COMMON

BYTES = 240
"""Most bytes of a name in UTF-8: file systems take 255."""
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")
_NOWHERE = re.compile(r'[<>:"|?*]')
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Zero-width, and yet part of Persian words and of emoji."""


def by_name(filename: str) -> str:
    """The type that a name's ending tells; empty if it tells none."""
    return _TYPES.get(_suffix(filename).lower(), "")


def extension(mimetype: str) -> str:
    """`.jpg` and so on; empty for a type without one."""
    return _EXTENSIONS.get(mimetype.partition(";")[0].strip().lower(), "")


def _suffix(filename: str) -> str:
    dot = filename.rfind(".")
    suffix = filename[dot:] if dot > 0 else ""
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def clean_name(given: str) -> str:
    """The last part of a path, without what cannot be seen or saved; empty if nothing is left."""
    last = given.replace("\\", "/").rpartition("/")[2]
    seen = "".join(c for c in last if c in _JOINERS or unicodedata.category(c) not in _INVISIBLE)
    name = _NOWHERE.sub("_", " ".join(seen.split())).strip(" .")
    suffix = _suffix(name)
    stem = name[: len(name) - len(suffix)]
    return stem.encode()[: BYTES - len(suffix)].decode(errors="ignore").rstrip(" .") + suffix


def file_name(given: str, mimetype: str) -> str:
    """The name under which a file is sent: `file` where it has none, and with an ending of its type."""
    name = clean_name(given) or "file"
    suffix, wanted = _suffix(name), extension(mimetype)
    if suffix.lower() in _TYPES or (suffix and not wanted and not suffix[1:].isdecimal()):
        return name
    return clean_name(f"{name[: BYTES - 12]}{wanted or '.bin'}")


# --- what is in a zip -----------------------------------------------------------------------------------------------

_ENTRY = re.compile(rb"PK\x03\x04.{22}(?P<length>..)..", re.DOTALL)
_DECLARED = re.compile(rb"mimetype(application/[a-z0-9.+-]{3,100}?)(?:PK|\Z)", re.DOTALL)
_PARTS: Final = (
    ("word/", _LACKING[".docx"]),
    ("xl/", _LACKING[".xlsx"]),
    ("ppt/", _LACKING[".pptx"]),
    ("AndroidManifest.xml", _LACKING[".apk"]),
    ("classes.dex", _LACKING[".apk"]),
    ("META-INF/MANIFEST.MF", _LACKING[".jar"]),
)


def in_zip(head: bytes) -> str:
    """The type of what a zip holds, as far as its first bytes tell: office documents, books, programs."""
    declared = _DECLARED.match(head, 30)
    if declared is not None:
        return declared[1].decode()
    names = []
    for entry in _ENTRY.finditer(head):
        length = int.from_bytes(entry["length"], "little")
        names.append(head[entry.end() : entry.end() + length].decode(errors="replace"))
    return next((kind for part, kind in _PARTS if any(name.startswith(part) for name in names)), "")
