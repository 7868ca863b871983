"""What Holdfast reads of a protobuf message by itself is what the engine's decoder makes of it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.protobuf import DEEPEST, InvalidProtobuf, decode
from tests.wasim.plain import HERE, VENV_NODE
from tests.wasim.test_protobuf import EXAMPLES
from wasim.wire import schema
from wasim.wire.protobuf import encode

_SCRIPT = """
const { messageRow } = await import(process.argv[1])
const lines = JSON.parse(await new Response(process.stdin).text())
const bodies = lines.map((data) => messageRow({ key: 'k', attrs: {}, last: true }, Buffer.from(data, 'base64')).body)
process.stdout.write(JSON.stringify(bodies))
"""


def _loose(value: Any) -> Any:
    """JavaScript has no numbers of 64 bits, and writes a whole float as an integer."""
    if isinstance(value, dict):
        return {key: _loose(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_loose(item) for item in value]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def test_it_reads_as_the_sidecar_does() -> None:
    node = str(VENV_NODE) if VENV_NODE.exists() else shutil.which("node") or "node"
    module = (HERE.parents[1] / "sidecar/src/stanzas.ts").resolve().as_uri()
    written = [encode(kind, value) for kind, name, value in EXAMPLES if name == "Message"]
    lines = [base64.b64encode(data + b"\x01").decode() for data in written]
    done = subprocess.run(
        [node, "--input-type=module", "-e", _SCRIPT, module], input=json.dumps(lines), capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    for data, body in zip(written, json.loads(done.stdout), strict=True):
        body.pop("resent", None)
        assert _loose(decode("Message", data)) == _loose(body)


@given(data=st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        decode("Message", data)
    except InvalidProtobuf:
        return


def test_messages_may_nest_without_end() -> None:
    value: dict[str, Any] = {"conversation": "deep"}
    for _ in range(2 * DEEPEST):
        value = {"ephemeralMessage": {"message": value}}
    assert "ephemeralMessage" in decode("Message", encode(schema.MESSAGE, value))


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b"\x08", b"\x08\x01", b"\x0f", b"\xff" * 11])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidProtobuf):
        decode("Message", data)
