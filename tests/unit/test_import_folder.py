"""Reading Baileys' folders: names of keys as Baileys itself writes them, and each way in which a folder is no good."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.domain.errors import HoldfastError, InvalidName
from holdfast.engines.baileys.multifile import (
    DamagedCredentials,
    IncompatibleCredentials,
    NoCredentials,
    find_folders,
    identity_of,
    read_folder,
    session_name,
)

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(sys.executable).parent / "node"

WRITE = """
import { Curve, initAuthCreds, signedKeyPair, useMultiFileAuthState } from 'baileys'
const { state, saveCreds } = await useMultiFileAuthState(process.argv[1])
const bytes = Buffer.alloc(33, 5)
Object.assign(state.creds, {
  me: { id: '40712345678:12@s.whatsapp.net', lid: '12249823751081:12@lid', name: 'Ana \\u0219i Ion' },
  account: { details: 'AA==', accountSignatureKey: 'AA==', accountSignature: 'AA==', deviceSignature: 'AA==' },
})
await saveCreds()
await state.keys.set({
  'pre-key': { 7: Curve.generateKeyPair() },
  session: { '40712345601.0': { _sessions: {} }, '88304537883858_1.12': { _sessions: {} } },
  'sender-key': {
    '120363041234567890@g.us::88304537883858_1::3': bytes,
    '40712345678-1600000000@g.us::40712345601::0': bytes,
    'status@broadcast::40712345601::0': bytes,
  },
  'sender-key-memory': { '40712345678-1600000000@g.us': { '40712345601@s.whatsapp.net': true } },
  'app-state-sync-key': { 'AAAA/b+c': { keyData: bytes, fingerprint: { rawId: 1 }, timestamp: '1' } },
  'app-state-sync-version': { critical_unblock_low: { version: 3, hash: bytes, indexValueMap: {} } },
  'lid-mapping': { 40712345601: '88304537883858', '88304537883858_reverse': '40712345601' },
  'device-list': { 40712345601: ['0', '12'] },
  'identity-key': { '88304537883858_1.0': bytes },
  tctoken: { '88304537883858@lid': {}, '88304537883858:5@lid': { token: bytes }, __index: { token: bytes } },
})
"""
KEYS = {
    ("creds", ""),
    ("pre-key", "7"),
    ("session", "40712345601.0"),
    ("session", "88304537883858_1.12"),
    ("sender-key", "120363041234567890@g.us::88304537883858_1::3"),
    ("sender-key", "40712345678-1600000000@g.us::40712345601::0"),
    ("sender-key", "status@broadcast::40712345601::0"),
    ("sender-key-memory", "40712345678-1600000000@g.us"),
    ("app-state-sync-key", "AAAA/b+c"),
    ("app-state-sync-version", "critical_unblock_low"),
    ("lid-mapping", "40712345601"),
    ("lid-mapping", "88304537883858_reverse"),
    ("device-list", "40712345601"),
    ("identity-key", "88304537883858_1.0"),
    ("tctoken", "88304537883858@lid"),
    ("tctoken", "88304537883858:5@lid"),
    ("tctoken", "__index"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that Baileys itself wrote, with ids of every form."""
    folder = tmp_path_factory.mktemp("baileys") / "session-shop"
    node = NODE if NODE.exists() else shutil.which("node") or "node"
    subprocess.run([node, "--input-type=module", "-e", WRITE, folder], cwd=ROOT / "sidecar", check=True, timeout=60)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(written, tmp_path / "session-shop"))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "creds.json"
    creds = json.loads(path.read_text())
    change(creds)
    path.write_text(json.dumps(creds))


def test_each_key_gets_back_the_name_that_baileys_gave_it(written: Path) -> None:
    folder = read_folder(written)
    assert folder.moved.keys.keys() == KEYS
    assert folder.left_out == []
    assert (folder.moved.phone, folder.moved.lid, folder.moved.push_name) == (
        "40712345678",
        "12249823751081@lid",
        "Ana și Ion",
    )
    assert folder.identity == identity_of(folder.moved.keys["creds", ""])


def test_values_are_taken_over_byte_by_byte(written: Path) -> None:
    keys = read_folder(written).moved.keys
    assert keys["app-state-sync-key", "AAAA/b+c"] == (written / "app-state-sync-key-AAAA__b+c.json").read_bytes()
    assert keys["creds", ""] == (written / "creds.json").read_bytes()


def test_other_files_are_named_and_left_out(folder: Path) -> None:
    (folder / "baileys_store.json").write_text("{}")
    (folder / "creds.json.bak").write_text("{}")
    (folder / "pre-key-x.json").write_text("{}")
    (folder / "media").mkdir()
    assert read_folder(folder).left_out == ["baileys_store.json", "creds.json.bak", "media", "pre-key-x.json"]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied by a crash": lambda text: b"",
    "zeroed by a crash": lambda text: b"\0" * len(text),
    "cut off": lambda text: text[:-2],
    "of another encoding": lambda text: b"\xff\xfe" + text,
    "of another kind": lambda text: b"17",
    "without its bytes": lambda text: text.replace(b"Buffer", b"Bluffer"),
    "no JSON, strictly": lambda text: b'{"a": NaN}',
    "nested beyond reason": lambda text: b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_files_are_named_one_by_one(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    names = [
        "pre-key-7.json",
        "sender-key-status@broadcast--40712345601--0.json",
        "identity-key-88304537883858_1.0.json",
    ]
    for name in names:
        path = folder / name
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedCredentials) as raised:
        read_folder(folder)
    assert list(raised.value.facts["files"]) == sorted(names)
    for name in names:
        assert f"{name} is damaged: " in raised.value.facts["files"][name]
        assert "delete it" in raised.value.facts["files"][name], "what can be lost may be deleted"


def test_damaged_credentials_need_a_backup_or_a_new_qr(folder: Path) -> None:
    (folder / "creds.json").write_bytes((folder / "creds.json").read_bytes()[:500])
    with pytest.raises(DamagedCredentials, match=r"creds\.json is damaged: it is not whole JSON.*new QR"):
        read_folder(folder)


def test_what_cannot_be_read_is_damaged(folder: Path) -> None:
    (folder / "pre-key-7.json").unlink()
    (folder / "pre-key-7.json").mkdir()
    with pytest.raises(DamagedCredentials, match="cannot be read"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda creds: creds.pop("me"), "never linked"),
        (lambda creds: creds.pop("account"), "never linked"),
        (lambda creds: creds.pop("noiseKey"), "has no noiseKey: it is of another version"),
        (lambda creds: creds.update(serverToken="x"), "Baileys 3 or older"),
        (lambda creds: creds.update(creds={}), "useSingleFileAuthState"),
    ],
)
def test_credentials_of_another_kind_are_named(
    folder: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    edit(folder, change)
    with pytest.raises(IncompatibleCredentials, match=sentence) as raised:
        read_folder(folder)
    assert raised.value.code == "incompatible_credentials"
    assert "new QR" in raised.value.sentence


@pytest.mark.parametrize(
    "change",
    [
        lambda creds: creds["me"].update(id="nobody"),
        lambda creds: creds["me"].update(id=5),
        lambda creds: creds["noiseKey"].update(private={"type": "Buffer", "data": "c2hvcnQ="}),
        lambda creds: creds["signedPreKey"].update(signature={"type": "Buffer", "data": "***"}),
        lambda creds: creds.update(registrationId="7"),
        lambda creds: creds.update(nextPreKeyId=True),
    ],
)
def test_credentials_with_a_wrong_value_are_damaged(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    edit(folder, change)
    with pytest.raises(DamagedCredentials, match=r"creds\.json is damaged: .*cannot be read"):
        read_folder(folder)


@pytest.mark.parametrize("sign", ["Default", "Crashpad", "DevToolsActivePort"])
def test_a_profile_of_whatsapp_web_js_is_recognised(tmp_path: Path, sign: str) -> None:
    (tmp_path / "session-shop" / sign).mkdir(parents=True)
    assert find_folders(tmp_path) == [tmp_path / "session-shop"]
    with pytest.raises(IncompatibleCredentials, match=r"whatsapp-web\.js"):
        read_folder(tmp_path / "session-shop")


def test_without_credentials_keys_are_worth_nothing(folder: Path) -> None:
    (folder / "creds.json").unlink()
    assert find_folders(folder) == [folder]
    with pytest.raises(NoCredentials, match=r"no creds\.json"):
        read_folder(folder)


def test_folders_are_found_in_order(folder: Path) -> None:
    above = folder.parent
    shutil.copytree(folder, above / "another")
    (above / "session-empty").mkdir()
    (above / "notes").mkdir()
    assert find_folders(above) == [above / "another", above / "session-empty", folder]
    assert find_folders(folder) == [folder]


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("")])
def test_nothing_to_import_is_said(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "there")
    with pytest.raises(NoCredentials, match=r"There is no folder|holds no credentials"):
        find_folders(tmp_path / "there")


def test_names_come_from_folders() -> None:
    assert (
        session_name(Path("/x/session-3b1bee0c-cbee-4de1-88f1-d6e890f4c995")) == "3b1bee0c-cbee-4de1-88f1-d6e890f4c995"
    )
    assert session_name(Path("/x/auth_info_baileys")) == "auth_info_baileys"
    for bad in ("session-", "my shop", "session-ă"):
        with pytest.raises(InvalidName, match="--name"):
            session_name(Path("/x") / bad)


def test_what_is_stored_and_no_json_has_no_identity() -> None:
    for text in (b"", b"{", b"[]", b"{}", b'{"signedIdentityKey": 1}'):
        assert identity_of(text) is None


def test_no_sentence_holds_a_key(folder: Path) -> None:
    secret = json.loads((folder / "creds.json").read_text())["noiseKey"]["private"]["data"]
    edit(folder, lambda creds: creds.update(registrationId=secret))
    with pytest.raises(HoldfastError) as raised:
        read_folder(folder)
    assert secret not in raised.value.sentence
