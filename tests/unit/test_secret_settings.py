"""Every secret among the settings: blank is unset, and what clients present to this server cannot be guessed."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from holdfast.config import RemoteServer, Settings, load
from holdfast.domain.errors import InvalidSettings
from holdfast.runtime.webhook import webhooks_of

SECRET_NAMES = re.compile(r"(?:^|_)(?:key|secret|password|token)$")
NOT_SECRET = {"whatsapp_root_key"}
"""The public key of WhatsApp's certificate chain."""
BLANK = ["", " ", "   ", "\t", "\n", "\u00a0"]
PRESENTED = ["api_key", "metrics_key"]


HOLDS_SECRET = {"proxy"}
"""Addresses that may have a password in them."""


def _mentions_secret(kind: Any) -> bool:
    return kind is SecretStr or any(_mentions_secret(part) for part in typing.get_args(kind))


def _secrets(model: type[BaseModel]) -> Iterator[str]:
    for name, hint in typing.get_type_hints(model, include_extras=True).items():
        if name in model.model_fields and _mentions_secret(hint):
            yield name


@pytest.mark.parametrize("model", [Settings, RemoteServer])
def test_what_is_named_like_a_secret_is_typed_as_one(model: type[BaseModel]) -> None:
    named = {name for name in model.model_fields if SECRET_NAMES.search(name)} - NOT_SECRET
    assert named == set(_secrets(model)) - HOLDS_SECRET
    assert named, "nothing was found"


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize("name", list(_secrets(Settings)))
def test_a_blank_secret_is_unset(name: str, blank: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"HOLDFAST_{name.upper()}", blank)
    assert getattr(load(_env_file=None), name) is None
    monkeypatch.delenv(f"HOLDFAST_{name.upper()}")
    (tmp_path / "env").write_text(f"HOLDFAST_{name.upper()}='{blank}'\n")
    assert getattr(load(_env_file=tmp_path / "env"), name) is None
    assert getattr(load(_env_file=None, **{name: SecretStr(blank)}), name) is None


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize("name", list(_secrets(RemoteServer)))
def test_a_blank_secret_of_a_waha_server_is_unset(name: str, blank: str) -> None:
    assert getattr(RemoteServer(url="http://127.0.0.1:3001", **{name: blank}), name) is None


@pytest.mark.parametrize("blank", BLANK)
def test_a_bucket_with_a_blank_secret_is_refused(blank: str) -> None:
    with pytest.raises(InvalidSettings, match="HOLDFAST_MEDIA_S3_SECRET"):
        load(_env_file=None, media_s3_url="https://s3.test/b", media_s3_key_id="id", media_s3_secret=blank)


@pytest.mark.parametrize("blank", BLANK)
def test_a_webhook_of_a_session_with_a_blank_key_is_not_signed(blank: str) -> None:
    [hook] = webhooks_of({"webhooks": [{"url": "https://hooks.test/", "hmac": {"key": blank}}]})
    assert hook.key is None


@pytest.mark.parametrize("name", PRESENTED)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("k", "has 1 characters"),
        ("elevenchars", "at least 12"),
        ("   elevenchars   ", "has 11 characters"),
        ("pässwörter-lang", "printable ASCII"),
        ("twelve\x00characters", "printable ASCII"),
        ("twelve\ncharacters", "printable ASCII"),
    ],
)
def test_a_key_that_is_short_or_cannot_be_sent_is_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load(_env_file=None, **{name: value})
    assert refused.value.sentence.startswith(f"HOLDFAST_{name.upper()}: ")
    assert words in refused.value.sentence
    assert value.strip() not in refused.value.sentence.removeprefix(f"HOLDFAST_{name.upper()}: ") or len(value) == 1


@pytest.mark.parametrize("name", PRESENTED)
def test_blanks_around_a_key_do_not_count(name: str) -> None:
    """A header's value cannot begin or end with a blank: such a key would never fit."""
    loaded = getattr(load(_env_file=None, **{name: " twelve chars\n"}), name)
    assert loaded.get_secret_value() == "twelve chars"


def test_what_signs_webhooks_of_a_waha_server_cannot_be_guessed() -> None:
    url = "http://127.0.0.1:3001"
    for given in ({"webhook_key": "short"}, {"api_key": "admin"}):
        with pytest.raises(ValidationError, match="12"):
            RemoteServer(url=url, **given)
    RemoteServer(url=url, api_key="admin", webhook_key="not-so-short")
