"""Reads the folders of Baileys' `useMultiFileAuthState`: `creds.json`, and one file for each Signal key.

A file is named after its key, `{type}-{id}.json`, with `/` written as `__` and `:` as `-` (Baileys 7.0.0-rc14,
lib/Utils/use-multi-file-auth-state.js; 6.x has the same). Its text is what our own sidecar stores, so it is taken over
as it is, once it is known to be sound. A folder is taken whole or not at all.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.domain.errors import HoldfastError, InvalidName
from holdfast.domain.identity import valid_session_name
from holdfast.domain.jids import LID, bare, phone_of, split
from holdfast.domain.rows import MovedIn

CREDS = "creds.json"
PREFIX = "session-"
_BROWSER_PROFILE = ("Default", "Crashpad", "DevToolsActivePort")
"""What Chromium leaves in the profile that whatsapp-web.js keeps for a session."""

_LOSABLE = "Restore it from a backup, or delete it: WhatsApp agrees on a new key of that kind by itself."
_NEW_QR = "Link this number with a new QR code instead: `holdfast pair NAME`."


class NoCredentials(HoldfastError):
    """There are no credentials of Baileys."""

    code = "no_credentials"


class DamagedCredentials(HoldfastError):
    """The credentials are damaged."""

    code = "damaged_credentials"


class IncompatibleCredentials(HoldfastError):
    """These are credentials of another library."""

    code = "incompatible_credentials"


@dataclass(frozen=True, slots=True)
class Folder:
    """A sound folder, read."""

    moved: MovedIn
    identity: str
    """The device's public identity key: who has the same has the same device."""
    left_out: list[str]
    """Names of files that are none of Baileys'."""


# --- finding ----------------------------------------------------------------------------------------------------


def find_folders(path: Path) -> list[Path]:
    """The session folders that `path` is or holds, by name; one that only looks like one is among them, so that
    `read_folder` can say what it is. Raises `NoCredentials` if there is none, or no such folder.
    """
    try:
        if not path.is_dir():
            raise NoCredentials(f"There is no folder {path}.")
        if _is_session(path):
            return [path]
        inside = [inner for inner in sorted(path.iterdir()) if inner.is_dir()]
        found = [inner for inner in inside if inner.name.startswith(PREFIX) or _is_session(inner)]
    except OSError as error:
        raise NoCredentials(f"{error.filename or path} cannot be read ({error.strerror}).") from error
    if not found:
        raise NoCredentials(
            f"{path} holds no credentials: there is no {CREDS} in it, nor in a folder in it. "
            "Give the folder that was given to useMultiFileAuthState, or the one above it."
        )
    return found


def _is_session(path: Path) -> bool:
    if (path / CREDS).exists() or _is_browser_profile(path):
        return True
    return any(_key_of(inner.name) for inner in path.iterdir())


def _is_browser_profile(path: Path) -> bool:
    return any((path / name).exists() for name in _BROWSER_PROFILE)


def session_name(path: Path) -> str:
    """What to call the session of a folder: `session-{company}` is `{company}`. Raises `InvalidName`."""
    name = path.name.removeprefix(PREFIX)
    try:
        return valid_session_name(name)
    except InvalidName as error:
        raise InvalidName(f"'{name}' cannot be a session's name. Give one with --name.") from error


# --- reading ----------------------------------------------------------------------------------------------------


def read_folder(path: Path) -> Folder:
    """Read and check every file. Blocks.

    Raises `IncompatibleCredentials` (another library, another version, never linked), `NoCredentials`, or
    `DamagedCredentials` with a sentence for each file (fact `files`: sentences by name).
    """
    if not (path / CREDS).exists():
        raise _without_creds(path)
    wrong: dict[str, str] = {}
    keys: dict[tuple[str, str], bytes] = {}
    left_out: list[str] = []
    creds: Mapping[str, Any] = {}
    for file, name in _files(path):
        key = _key_of(name)
        if key is None:
            left_out.append(name)
            continue
        try:
            text, value = _json(file)
            if name == CREDS:
                creds = _checked(value)
            elif not _KINDS[key[0]].sound(value):
                raise ValueError("it does not hold what a key of its kind does")
        except ValueError as error:
            wrong[name] = f"{name} is damaged: {error}. {_NEW_QR if name == CREDS else _LOSABLE}"
            continue
        keys[key] = text
    if wrong:
        raise DamagedCredentials(" ".join(wrong.values()), files=wrong)
    me = creds["me"]
    lid = bare(str(me.get("lid") or ""))
    moved = MovedIn(
        keys, phone_of(bare(me["id"])), lid if split(lid)[2] == LID else "", str(me.get("name") or "").replace("\0", "")
    )
    return Folder(moved, _identity(creds), left_out)


def identity_of(text: bytes) -> str | None:
    """The identity (see `Folder`) in stored credentials; None if they are no such ones."""
    try:
        return _identity(json.loads(text))
    except (ValueError, TypeError, KeyError):
        return None


def _identity(creds: Mapping[str, Any]) -> str:
    return str(creds["signedIdentityKey"]["public"]["data"])


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        raise DamagedCredentials(f"{path} cannot be read ({error.strerror}).", files={}) from error
    yield from ((file, file.name) for file in inside)


def _without_creds(path: Path) -> HoldfastError:
    if _is_browser_profile(path):
        return IncompatibleCredentials(
            "This is a browser profile of whatsapp-web.js, whose credentials no other library can use. " + _NEW_QR
        )
    return NoCredentials(f"There is no {CREDS} in it: without it the other files are worth nothing. {_NEW_QR}")


def _json(file: Path) -> tuple[bytes, Any]:
    """The file's text and its value. Raises `ValueError` with what is wrong."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error
    if not text.strip(b"\0 \r\n\t"):
        raise ValueError("it is empty")
    try:
        return text, json.loads(text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not whole JSON") from error


def _no_constant(word: str) -> Any:
    raise ValueError(word)


# --- credentials ------------------------------------------------------------------------------------------------


def _checked(creds: Any) -> Mapping[str, Any]:
    """Raises `ValueError` for damage, `IncompatibleCredentials` for what is whole but not ours to use."""
    if not isinstance(creds, dict):
        raise ValueError("it is no object")
    if "serverToken" in creds or "encKey" in creds:
        raise IncompatibleCredentials(
            f"{CREDS} is of Baileys 3 or older, from before WhatsApp had linked devices. {_NEW_QR}"
        )
    if isinstance(creds.get("creds"), dict):
        raise IncompatibleCredentials(
            f"{CREDS} was written by useSingleFileAuthState, with all keys in one file; only the folders of "
            f"useMultiFileAuthState can be imported. {_NEW_QR}"
        )
    missing = [name for name in _FIELDS if name not in creds]
    if missing:
        raise IncompatibleCredentials(
            f"{CREDS} has no {', '.join(missing)}: it is of another version of Baileys than 5, 6 or 7, or of another "
            f"program. {_NEW_QR}"
        )
    wrong = [name for name, sound in _FIELDS.items() if not sound(creds[name])]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} cannot be read")
    me = creds.get("me")
    if not isinstance(me, dict) or not me.get("id") or not isinstance(creds.get("account"), dict):
        raise IncompatibleCredentials(
            f"{CREDS} was never linked: it has no account yet, for its QR code was not scanned. {_NEW_QR}"
        )
    if not isinstance(me["id"], str) or not phone_of(bare(me["id"])).isdecimal():
        raise ValueError("the account's id in it cannot be read")
    return creds


def _bytes(value: Any) -> bytes | None:
    """What Baileys' BufferJSON reads as bytes, or None."""
    if not isinstance(value, dict):
        return None
    data = value.get("data")
    if value.get("type") != "Buffer" or not isinstance(data, str):
        return None
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def _is_bytes(value: Any) -> bool:
    return bool(_bytes(value))


def _is_pair(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    private, public = _bytes(value.get("private")), _bytes(value.get("public"))
    return private is not None and len(private) == 32 and public is not None and len(public) in (32, 33)


def _is_signed(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_pair(value.get("keyPair")) or not _is_count(value.get("keyId")):
        return False
    return len(_bytes(value.get("signature")) or b"") == 64


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "noiseKey": _is_pair,
    "signedIdentityKey": _is_pair,
    "signedPreKey": _is_signed,
    "registrationId": _is_count,
    "advSecretKey": _is_text,
    "nextPreKeyId": _is_count,
    "firstUnuploadedPreKeyId": _is_count,
}
"""Without these a linked device cannot log in, read or write."""


# --- keys -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """One type of Signal key: what its ids look like in a file's name, how they are read, what its values are."""

    ids: re.Pattern[str]
    sound: Callable[[Any], bool]
    unescape: Callable[[str], str] = str


def _sender(name: str) -> str:
    """`group::user::device`, whose colons became dashes; an old group's own id has one dash."""
    return "::".join(name.rsplit("--", 2))


_ADDRESS = re.compile(r"[0-9a-z_]+\.\d+")
_KINDS: Mapping[str, _Kind] = {
    "app-state-sync-version": _Kind(re.compile(r"[a-z_]+"), lambda v: _is_map(v) and _is_count(v.get("version"))),
    "app-state-sync-key": _Kind(re.compile(r".+"), _is_map, lambda name: name.replace("__", "/")),
    "sender-key-memory": _Kind(re.compile(r".+@.+"), _is_map),
    "sender-key": _Kind(re.compile(r".+--.+--\d+"), _is_bytes, _sender),
    "lid-mapping": _Kind(re.compile(r"\d+(_reverse)?"), _is_text),
    "device-list": _Kind(re.compile(r"\w+"), lambda v: isinstance(v, list) and all(_is_text(d) for d in v)),
    "identity-key": _Kind(_ADDRESS, _is_bytes),
    "pre-key": _Kind(re.compile(r"\d+"), _is_pair),
    "session": _Kind(_ADDRESS, lambda v: _is_map(v) and _is_map(v.get("_sessions"))),
    "tctoken": _Kind(re.compile(r".+"), _is_map, lambda name: re.sub(r"^(\d+)-(\d+)@", r"\1:\2@", name)),
}
"""A type that another one begins with comes after it."""


def _key_of(name: str) -> tuple[str, str] | None:
    """The key of a file, or None if it is none of Baileys'."""
    if name == CREDS:
        return ("creds", "")
    if not name.endswith(".json"):
        return None
    stem = name.removesuffix(".json")
    for kind, facts in _KINDS.items():
        if stem.startswith(f"{kind}-"):
            written = stem.removeprefix(f"{kind}-")
            return (kind, facts.unescape(written)) if facts.ids.fullmatch(written) else None
    return None
