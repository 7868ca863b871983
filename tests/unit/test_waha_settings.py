"""HOLDFAST_WAHA_SERVERS: what is taken, and what is refused in a sentence before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.config import Settings, load
from holdfast.domain.errors import InvalidSettings
from holdfast.remotes import waha_options


def loaded(servers: Any, **more: Any) -> Settings:
    given = servers if isinstance(servers, str) else json.dumps(servers)
    return load(_env_file=None, data_dir=Path("unused"), waha_servers=given, **more)


@pytest.mark.parametrize(
    ("url", "asked_at"),
    [
        ("http://127.0.0.1:3001", "http://127.0.0.1:3001"),
        ("http://localhost:3001/", "http://localhost:3001"),
        ("https://waha.example.com", "https://waha.example.com"),
        ("https://example.com/behind/a/proxy/", "https://example.com/behind/a/proxy"),
    ],
)
def test_addresses_that_are_taken(url: str, asked_at: str) -> None:
    servers = waha_options(loaded({"main": {"url": url, "api_key": "a-key-of-waha"}}), "http://here:3000").servers
    assert servers["main"].url == asked_at


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ("{no json", "must be JSON"),
        ({"main": {"url": "http://waha.example.com"}}, "https://"),
        ({"main": {"url": "http://10.0.0.7:3000"}}, "https://"),
        ({"main": {"url": "waha.example.com"}}, "http"),
        ({"main": {"url": "ftp://waha.example.com"}}, "http"),
        ({"main": {"url": "https://waha.example.com/?x-api-key=abc"}}, "main"),
        ({"main": {"url": "https://waha.example.com/#there"}}, "main"),
        ({"main": {"api_key": "a-key-of-waha"}}, "url"),
        ({"main": {"url": "https://waha.example.com", "key": "k"}}, "key"),
        ({"a name": {"url": "https://waha.example.com"}}, "letters"),
        ({"main": "https://waha.example.com"}, "main"),
    ],
)
def test_mistakes_are_said(servers: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        loaded(servers)
    assert "HOLDFAST_WAHA_SERVERS" in refused.value.sentence
    assert words in refused.value.sentence, refused.value.sentence


def test_http_beyond_this_machine_is_taken_where_it_is_meant() -> None:
    settings = loaded({"main": {"url": "http://waha.internal:3000"}}, waha_allow_http=True)
    assert settings.waha_servers["main"].url == "http://waha.internal:3000"


def test_keys_are_never_shown() -> None:
    settings = loaded(
        {"main": {"url": "https://waha.example.com", "api_key": "secret-of-main-a", "webhook_key": "secret-of-main-b"}}
    )
    assert "secret-" not in f"{settings!r} {settings.waha_servers}"
    with pytest.raises(InvalidSettings) as refused:
        loaded({"main": {"url": "nonsense", "api_key": "secret-of-main-a", "webhook_key": "secret-of-main-b"}})
    assert "secret-" not in refused.value.sentence
