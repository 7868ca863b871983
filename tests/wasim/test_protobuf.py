"""The protobuf codec: against itself on what Hypothesis thinks up, and against Baileys' own ``WAProto``."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wasim.plain import HERE, VENV_NODE
from wasim.wire import schema
from wasim.wire.messages import from_json, to_json
from wasim.wire.protobuf import Enum, ProtobufError, Schema, decode, encode

INNER = Schema("Inner", {1: ("number", "uint", False), 2: ("text", "string", False)})
OUTER = Schema(
    "Outer",
    {
        1: ("number", "uint", False),
        2: ("flag", "bool", False),
        3: ("data", "bytes", False),
        4: ("text", "string", False),
        5: ("inner", INNER, False),
        6: ("double", "double", False),
        16: ("many", INNER, True),
        2000: ("numbers", "uint", True),
    },
)
NUMBERS = st.integers(0, (1 << 64) - 1)
INNERS = st.fixed_dictionaries({}, optional={"number": NUMBERS, "text": st.text()})
OUTERS = st.fixed_dictionaries(
    {},
    optional={
        "double": st.floats(allow_nan=False),
        "number": NUMBERS, "flag": st.booleans(), "data": st.binary(), "text": st.text(), "inner": INNERS,
        "many": st.lists(INNERS, min_size=1), "numbers": st.lists(NUMBERS, min_size=1),
    },
)  # fmt: skip


@given(value=OUTERS)
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    assert decode(OUTER, encode(OUTER, value)) == value


@given(value=OUTERS)
def test_unknown_fields_are_skipped(value: dict[str, Any]) -> None:
    assert decode(INNER, encode(OUTER, {k: v for k, v in value.items() if k in ("inner", "many", "numbers")})) == {}


@given(data=st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = decode(OUTER, data)
    except ProtobufError:
        return
    assert decode(OUTER, encode(OUTER, value)) == value


@given(value=OUTERS.filter(bool), cut=st.integers(1, 8))
def test_what_is_cut_off_is_never_read_as_the_whole(value: dict[str, Any], cut: int) -> None:
    data = encode(OUTER, value)[:-cut]
    try:
        read = decode(OUTER, data)
    except ProtobufError:
        return
    assert read != value


def test_errors_name_the_field() -> None:
    with pytest.raises(ProtobufError, match="Outer has no field nonsense"):
        encode(OUTER, {"nonsense": 1})
    with pytest.raises(ProtobufError, match=r"Outer\.data holds a number"):
        decode(OUTER, b"\x18\x01")
    with pytest.raises(ProtobufError, match=r"Outer\.number holds bytes"):
        decode(OUTER, b"\x0a\x01x")
    with pytest.raises(ProtobufError, match="more than 10 bytes"):
        decode(OUTER, b"\xff" * 11)
    with pytest.raises(ProtobufError, match="wire type 7"):
        decode(OUTER, b"\x0f")
    with pytest.raises(ProtobufError, match="cut off inside a field"):
        decode(OUTER, b"\x1a\x05abc")
    assert decode(OUTER, b"\x08" + b"\xff" * 9 + b"\x7f") == {"number": (1 << 64) - 1}


# --- against WAProto

KEY = {"remoteJid": "1@lid", "fromMe": True, "id": "3A0", "participant": "2@lid"}
FILE = {
    "url": "u", "mimetype": "m", "fileSha256": b"s", "fileLength": 5, "mediaKey": b"k", "fileEncSha256": b"e",
    "directPath": "d",
}  # fmt: skip
EXAMPLES: list[tuple[Schema, str, dict[str, Any]]] = [
    (schema.DEVICE_IDENTITY, "ADVDeviceIdentity", {"rawId": 9, "timestamp": 1_700_000_000, "keyIndex": 3}),
    (
        schema.SIGNED_DEVICE_IDENTITY,
        "ADVSignedDeviceIdentity",
        {"details": b"d", "accountSignatureKey": b"k", "accountSignature": b"a", "deviceSignature": b"s"},
    ),
    (schema.SEALED_DEVICE_IDENTITY, "ADVSignedDeviceIdentityHMAC", {"details": b"d", "hmac": b"h"}),
    (
        schema.KEY_INDEX_LIST,
        "ADVKeyIndexList",
        {"rawId": 1, "timestamp": 2, "currentIndex": 300, "validIndexes": b"\x00\x01\xac\x02"},
    ),
    (schema.SIGNED_KEY_INDEX_LIST, "ADVSignedKeyIndexList", {"details": b"d", "accountSignature": b"s"}),
    (schema.MESSAGE, "Message", {"conversation": "grüß dich 👋"}),
    (schema.MESSAGE, "Message", {"extendedTextMessage": {"text": "hi", "contextInfo": {"stanzaId": "3A1"}}}),
    (
        schema.MESSAGE,
        "Message",
        {
            "imageMessage": {
                "url": "https://x/y", "mimetype": "image/png", "caption": "c", "fileSha256": b"1" * 32,
                "fileLength": 70_000, "height": 3, "width": 4, "mediaKey": b"2" * 32, "fileEncSha256": b"3" * 32,
                "directPath": "/v/t", "mediaKeyTimestamp": 1_700_000_000,
            }
        },
    ),
    (schema.MESSAGE, "Message", {"reactionMessage": {"key": KEY, "text": "👍", "senderTimestampMs": 17_000_000_123}}),
    (schema.MESSAGE, "Message", {"protocolMessage": {"key": KEY, "type": 0}}),
    (schema.MESSAGE, "Message", {"videoMessage": FILE | {"seconds": 6, "caption": "c"}}),
    (schema.MESSAGE, "Message", {"audioMessage": FILE | {"seconds": 6, "ptt": True}}),
    (schema.MESSAGE, "Message", {"documentMessage": FILE | {"title": "t", "fileName": "f", "caption": "c"}}),
    (schema.MESSAGE, "Message", {"stickerMessage": FILE}),
    (schema.MESSAGE, "Message", {"contactMessage": {"displayName": "d", "vcard": "v"}}),
    (
        schema.MESSAGE,
        "Message",
        {"locationMessage": {"degreesLatitude": 44.43, "degreesLongitude": -26.1, "name": "n", "address": "a"}},
    ),
    (schema.MESSAGE, "Message", {"pollCreationMessageV3": {"name": "n", "options": [{"optionName": "o"}]}}),
    (schema.MESSAGE, "Message", {"pollCreationMessage": {"name": "n"}, "messageContextInfo": {"messageSecret": b"x"}}),
    *(
        (schema.MESSAGE, "Message", {name: {"message": {"conversation": "inside"}}})
        for name in ("ephemeralMessage", "viewOnceMessageV2", "documentWithCaptionMessage", "editedMessage")
    ),
    (
        schema.MESSAGE,
        "Message",
        {"protocolMessage": {"key": KEY, "type": 14, "editedMessage": {"conversation": "new"}, "timestampMs": 5}},
    ),
    (
        schema.MESSAGE,
        "Message",
        {"deviceSentMessage": {"destinationJid": "1@lid", "message": {"conversation": "copy"}}},
    ),
    (
        schema.MESSAGE,
        "Message",
        {"senderKeyDistributionMessage": {"groupId": "1@g.us", "axolotlSenderKeyDistributionMessage": b"skdm"}},
    ),
    (
        schema.MESSAGE,
        "Message",
        {
            "protocolMessage": {
                "type": 6,
                "appStateSyncKeyShare": {
                    "keys": [
                        {
                            "keyId": {"keyId": b"\0\1"},
                            "keyData": {
                                "keyData": b"k", "fingerprint": {"rawId": 1, "currentIndex": 0}, "timestamp": 2,
                            },
                        }
                    ]
                },
            }
        },
    ),
    (
        schema.MESSAGE,
        "Message",
        {
            "protocolMessage": {
                "type": 5,
                "historySyncNotification": {
                    "syncType": 4, "chunkOrder": 1, "progress": 100, "initialHistBootstrapInlinePayload": b"zlib",
                },
            }
        },
    ),
    (
        schema.HISTORY,
        "HistorySync",
        {
            "syncType": 0, "chunkOrder": 1, "progress": 100,
            "conversations": [{"id": "1@lid", "unreadCount": 2, "conversationTimestamp": 5, "name": "Ana"}],
            "pushnames": [{"id": "1@lid", "pushname": "Ana"}],
        },
    ),
    (schema.SENDER_KEY_MESSAGE, "SenderKeyMessage", {"id": 7, "iteration": 300, "ciphertext": b"c"}),
    (
        schema.SENDER_KEY_DISTRIBUTION,
        "SenderKeyDistributionMessage",
        {"id": 7, "iteration": 300, "chainKey": b"c", "signingKey": b"s"},
    ),
]  # fmt: skip


def _filled(kind: Schema, depth: int) -> dict[str, Any]:
    """A message with something in every field, ``depth`` messages deep."""
    return {name: [one] if many else one for name, found, many in kind.fields.values() if (one := _some(found, depth))}


def _some(kind: Any, depth: int) -> Any:
    if isinstance(kind, Schema):
        return (_filled(kind, depth - 1) or None) if depth else None
    if isinstance(kind, Enum):
        return max(kind.values.values())
    samples = {
        "string": "t",
        "bytes": b"\x00\xff",
        "bool": True,
        "double": 0.5,
        "float": 0.25,
        "int": -7,
        "sfixed32": -5,
    }
    return samples.get(kind, 9)


EXAMPLES.append((schema.MESSAGE, "Message", _filled(schema.MESSAGE, 3)))
EXAMPLES.append((schema.WEB_MESSAGE, "WebMessageInfo", _filled(schema.WEB_MESSAGE, 2)))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_message_becomes_json_and_back(depth: int) -> None:
    value = _filled(schema.MESSAGE, depth)
    assert from_json(schema.MESSAGE, json.loads(json.dumps(to_json(schema.MESSAGE, value)))) == value


_SCRIPT = """
const { proto } = await import(process.argv[1])
const lines = JSON.parse(await new Response(process.stdin).text())
const out = lines.map(([name, data]) => {
  const type = name.split('.').reduce((at, part) => at[part], proto)
  const message = type.decode(Buffer.from(data, 'base64'))
  const facts = type.toObject(message, { longs: String, bytes: String, enums: Number })
  return [facts, Buffer.from(type.encode(message).finish()).toString('base64')]
})
process.stdout.write(JSON.stringify(out))
"""


def _plain(value: Any) -> Any:
    """A value as protobuf.js's ``toObject`` shows it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _loose(value: Any) -> Any:
    """Numbers as text: protobuf.js shows 64-bit ones so."""
    if isinstance(value, dict):
        return {key: _loose(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_loose(item) for item in value]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def test_baileys_reads_and_writes_the_same() -> None:
    node = str(VENV_NODE) if VENV_NODE.exists() else shutil.which("node") or "node"
    module = (HERE.parents[1] / "sidecar/node_modules/baileys/WAProto/index.js").resolve().as_uri()
    written = [encode(kind, value) for kind, _, value in EXAMPLES]
    lines = [[name, base64.b64encode(data).decode()] for (_, name, _), data in zip(EXAMPLES, written, strict=True)]
    done = subprocess.run(
        [node, "--input-type=module", "-e", _SCRIPT, module], input=json.dumps(lines), capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    for (kind, name, value), (facts, again) in zip(EXAMPLES, json.loads(done.stdout), strict=True):
        if name != "ADVKeyIndexList":  # ours keeps the packed numbers as they are
            assert _loose(facts) == _loose(_plain(value)), name
        assert decode(kind, base64.b64decode(again)) == value, name
