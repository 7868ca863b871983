"""Header values made of what strangers wrote: a file's type, and its name (pure). None can break a header, or make a
browser show a file as a page of ours.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

UNKNOWN_TYPE = "application/octet-stream"
MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,100}")
"""A media type without parameters, in lower case (RFC 6838)."""
SHOWN = frozenset(
    {
        "image/jpeg", "image/png", "image/webp", "image/gif",
        "video/mp4", "video/3gpp", "video/webm", "video/quicktime",
        "audio/ogg", "audio/mpeg", "audio/mp4", "audio/aac", "audio/amr", "audio/wav", "audio/x-wav", "audio/webm",
    }
)  # fmt: skip
"""What a browser may show by itself; all else is downloaded. Neither SVG, HTML nor PDF is here: they run scripts."""
FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""The Content-Security-Policy of a file: should a browser show it all the same, then without scripts and origin."""
LONGEST_NAME = 200
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls, formats, surrogates and separators of lines."""
MOST_READ = 2_000
"""Characters at the end of a name that are looked at."""


def media_type(given: str) -> str:
    """A type that may stand in a header: the given one without its parameters, if it is one."""
    plain = given.partition(";")[0].strip().lower()
    return plain if MEDIA_TYPE.fullmatch(plain) else UNKNOWN_TYPE


def disposition(kind: str, filename: str) -> str:
    """`Content-Disposition` of a file of that type (RFC 6266, RFC 8187 for names beyond ASCII)."""
    way = "inline" if kind in SHOWN else "attachment"
    name = _plain(filename)
    fallback = re.sub(
        r"[^A-Za-z0-9 ._()+,=@-]", "_", unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    )
    said = f'{way}; filename="{fallback.strip() or "file"}"'
    return said if fallback == name else f"{said}; filename*=UTF-8''{quote(name, safe='')}"


def _plain(filename: str) -> str:
    """The last part of a name, without what is not seen: controls, marks of direction, halves of surrogate pairs."""
    seen = "".join(char for char in filename[-MOST_READ:] if unicodedata.category(char) not in _UNSEEN)
    last = re.split(r"[/\\]", seen)[-1].strip(" .")
    stem, dot, ending = last.rpartition(".")
    if len(last) > LONGEST_NAME:
        last = f"{stem[: LONGEST_NAME - 20]}{dot}{ending[:19]}" if dot else last[:LONGEST_NAME]
    return last or "file"
