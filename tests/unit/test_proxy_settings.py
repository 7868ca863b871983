"""What a session may say of its proxy, and what is told when one fails."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import load
from holdfast.domain import disconnects
from holdfast.domain.errors import InvalidSettings
from holdfast.domain.proxies import InvalidProxy, Proxy, Routes, explained, parse
from holdfast.domain.receivers import Reach

U = {"username": "u", "password": "p"}


@pytest.mark.parametrize(
    ("said", "proxy"),
    [
        ({"server": "p.test:3128"}, Proxy("http", "p.test", 3128)),
        ({"server": " P.test:3128 "}, Proxy("http", "p.test", 3128)),
        ({"server": "localhost:3128", "username": None, "password": None}, Proxy("http", "localhost", 3128)),
        ({"server": "http://p.test:3128/"}, Proxy("http", "p.test", 3128)),
        ({"server": "https://p.test:443", "username": "u"}, Proxy("https", "p.test", 443, "u")),
        ({"server": "socks5://10.0.0.1:1080", **U, "password": "p:w"}, Proxy("socks5", "10.0.0.1", 1080, "u", "p:w")),
        ({"server": "socks5h://[::1]:1080"}, Proxy("socks5", "::1", 1080)),
        ({"server": "socks5://u%40x:p%3Aw@p.test:1080"}, Proxy("socks5", "p.test", 1080, "u@x", "p:w")),
        ({"server": "direct"}, None),
    ],
)
def test_what_is_understood(said: dict[str, Any], proxy: Proxy | None) -> None:
    assert parse(said) == proxy


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({}, "server"),
        ({"server": ""}, "server"),
        ({"server": None}, "server"),
        ({"server": 5}, "server"),
        ({"server": "p.test"}, "server must name a port"),
        ({"server": "p.test:0"}, "server must name a port"),
        ({"server": "p.test:99999"}, "server"),
        ({"server": "p.test:x"}, "server"),
        ({"server": "p test:80"}, "server"),
        ({"server": "http://:80"}, "server"),
        ({"server": "1.2.3:80"}, "server"),
        ({"server": "http://[::1:80"}, "server"),
        ({"server": "socks4://p.test:1080"}, "server: 'socks4'"),
        ({"server": "ftp://p.test:1080"}, "server: 'ftp'"),
        ({"server": "http://p.test:80/path"}, "server"),
        ({"server": "http://p.test:80?x=1"}, "server"),
        ({"server": "p.test:80", "password": "p"}, "username is missing"),
        ({"server": "p.test:80", **U, "username": "a:b"}, "username"),
        ({"server": "socks5://p.test:80", **U, "username": "u" * 256}, "username"),
        ({"server": "p.test:80", **U, "password": "p\r\nX: y"}, "password"),
        ({"server": "p.test:80", **U, "password": "\ud800"}, "password"),
        ({"server": "p.test:80", **U, "password": "pä"}, "password"),
        ({"server": "http://u:p@p.test:80", "username": "u"}, "username is given twice"),
        ({"server": "p.test:80", "user": "u"}, "knows no 'user'"),
        ({"server": "direct", "username": "u"}, "server"),
    ],
)
def test_what_is_refused_names_the_field(said: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidProxy, match=field) as caught:
        parse(said)
    assert caught.value.http_status == 422
    assert caught.value.sentence.startswith("config.proxy")
    assert caught.value.sentence.endswith(".")


def test_a_sessions_own_proxy_wins_and_direct_opts_out() -> None:
    default = Proxy("socks5", "fleet.test", 1080, trusted=True)
    routes = Routes(default)
    assert routes.of({}) == default
    assert routes.of({"proxy": None}) == default
    assert routes.of({"proxy": {"server": "own.test:1"}}) == Proxy("http", "own.test", 1)
    assert routes.of({"proxy": {"server": "direct"}}) is None
    assert Routes().of({}) is None


def test_a_tenants_proxy_obeys_the_address_policy_and_the_operators_need_not() -> None:
    routes = Routes(Proxy("http", "127.0.0.1", 3128, trusted=True), Reach.parse("no"))
    routes.check({})
    routes.check({"proxy": {"server": "p.test:1"}})  # judged when it is looked up
    for server in ("127.0.0.1:9", "localhost:9", "10.1.1.1:9", "169.254.169.254:80", "[::1]:9", "socks5://[fec0::1]:9"):
        with pytest.raises(InvalidProxy, match="HOLDFAST_PROXY_ALLOW_PRIVATE"):
            routes.check({"proxy": {"server": server}})
    Routes(reach=Reach.parse("yes")).check({"proxy": {"server": "127.0.0.1:9"}})


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("refused", "Nothing answers at the session's proxy p.test:1"),
        ("auth", "p.test:1 refused its user name or password"),
        ("target", "p.test:1 cannot reach WhatsApp"),
        ("private", "HOLDFAST_PROXY_ALLOW_PRIVATE"),
        ("something new", "p.test:1 did not open a connection"),
    ],
)
def test_each_failure_has_its_sentence(why: str, words: str) -> None:
    row = disconnects.of_closed(0, "proxy", {"proxy": "p.test:1", "why": why})
    assert (row.code, row.kind) == ("proxy_failed", disconnects.Kind.RETRY)
    assert words in row.sentence
    assert explained("p.test:1", why).endswith(".")


def test_no_password_is_in_what_is_printed() -> None:
    assert "secret" not in repr(parse({"server": "p.test:1", "username": "u", "password": "secret"}))


def test_the_setting() -> None:
    settings = load(proxy="socks5://u:s3cr3t@127.0.0.1:1080", _env_file=None)
    assert settings.routes().default == Proxy("socks5", "127.0.0.1", 1080, "u", "s3cr3t", trusted=True)
    assert "s3cr3t" not in repr(settings)
    assert settings.facts()["HOLDFAST_PROXY"] == "socks5://127.0.0.1:1080", "other instances compare it"
    assert load(proxy="", _env_file=None).routes().default is None
    for wrong in ("p.test", "socks4://u:s3cr3t@p.test:1", "direct"):
        with pytest.raises(InvalidSettings, match="HOLDFAST_PROXY: server") as caught:
            load(proxy=wrong, _env_file=None)
        assert "s3cr3t" not in caught.value.sentence


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, ""),
        ({"host": "::1"}, ""),
        ({"host": "localhost", "public_url": "http://localhost:3000/"}, ""),
        ({"advertise_url": "http://127.0.0.1:3000", "waha_webhook_url": "none"}, ""),
        ({"host": "0.0.0.0"}, "HOLDFAST_HOST is 0.0.0.0"),
        ({"host": ""}, "HOLDFAST_HOST is empty"),
        ({"host": "::"}, "HOLDFAST_HOST is ::"),
        ({"host": "10.0.0.4"}, "HOLDFAST_HOST is 10.0.0.4"),
        ({"public_url": "https://gateway.example.com"}, "HOLDFAST_PUBLIC_URL is set"),
        ({"advertise_url": "http://10.0.0.4:3000"}, "HOLDFAST_ADVERTISE_URL is set"),
        ({"waha_webhook_url": "http://gateway:3000"}, "HOLDFAST_WAHA_WEBHOOK_URL is set"),
    ],
)
def test_private_addresses_are_open_only_while_nothing_speaks_for_others_reaching_us(
    settings: dict[str, str], why: str
) -> None:
    loaded = load(_env_file=None, **settings)
    assert loaded.exposure.why.startswith(why)
    assert bool(loaded.exposure.why) == bool(why)
    for reach in (loaded.reach(), loaded.media_reach(), loaded.routes().reach):
        assert reach.allows("", "127.0.0.1") is (why == "")
