"""Where webhooks may go, and what of their URLs is shown."""

from __future__ import annotations

import pytest

from holdfast.domain.errors import InvalidWebhook
from holdfast.domain.receivers import Reach, check_url, masked, masked_config, receiver, unmasked_config

OUT, HOME = Reach.parse("no", at_home=True), Reach.parse("yes", at_home=False)

PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"]
PRIVATE = ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.16.0.1", "::1", "fd00::1", "::ffff:10.0.0.1", "100.64.0.1"]
EMBEDDED = ["64:ff9b::a00:1", "2002:a00:1::1", "::ffff:127.0.0.1"]
NEVER = [
    "169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "::ffff:169.254.169.254",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_called(address: str) -> None:
    assert OUT.allows("", address)
    assert HOME.allows("", address)


@pytest.mark.parametrize("address", [*PRIVATE, *EMBEDDED])
def test_private_addresses_only_where_that_is_allowed(address: str) -> None:
    assert not OUT.allows("", address)
    assert HOME.allows("", address)


@pytest.mark.parametrize("address", [*NEVER, "not an address", ""])
def test_some_addresses_never_by_themselves(address: str) -> None:
    assert not OUT.allows("", address)
    assert not HOME.allows("", address)


def test_named_hosts_and_networks_are_allowed() -> None:
    reach = Reach.parse("n8n, 10.0.0.0/8,169.254.0.0/16,hooks.internal , ::1", at_home=True)
    assert reach.allows("", "10.9.8.7")
    assert reach.allows("", "169.254.169.254")
    assert reach.allows("", "::1")
    assert reach.allows("n8n", "172.18.0.3")
    assert reach.allows("N8N.", "172.18.0.3")
    assert not reach.allows("other", "172.18.0.3")
    assert not reach.allows("", "127.0.0.1")


def test_auto_follows_who_can_set_webhooks() -> None:
    assert Reach.parse("auto", at_home=True).allows("", "127.0.0.1")
    assert not Reach.parse("auto", at_home=False).allows("", "127.0.0.1")
    for setting in ("http://n8n", "10.0.0.0/99", "a b"):
        with pytest.raises(ValueError, match=r"."):
            Reach.parse(setting, at_home=True)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://hooks.test/", "http:// or https://"),
        ("hooks.test/in", "http:// or https://"),
        ("", "http:// or https://"),
        ("https://", "names no host"),
        ("https:///path", "names no host"),
        ("https://hooks.test:0/", "port 0"),
        ("https://hooks.test:99999/", "port"),
        ("https://hooks.test:x/", "port"),
        ("https://[::1/", "host cannot be read"),
        ("https://hooks.test/a b", "spaces"),
        ("https://hooks.test/\r\nX: y", "control"),
        ("https://hooks.test/" + "a" * 2048, "2048"),
        ("http://127.0.0.1:5678/", "private network"),
        ("http://localhost/", "private network"),
        ("http://n8n.localhost/", "private network"),
        ("http://[::1]/", "private network"),
        ("http://169.254.169.254/latest/meta-data", "private network"),
    ],
)
def test_urls_that_can_never_be_called_are_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(InvalidWebhook, match=reason) as caught:
        check_url(url, OUT)
    assert caught.value.http_status == 422
    assert caught.value.sentence.endswith(".")


@pytest.mark.parametrize(
    "url", ["https://hooks.test/in?x=1#f", "http://user:pass@hooks.test:8080", "http://n8n:5678/webhook/x"]
)
def test_good_urls_pass(url: str) -> None:
    check_url(url, OUT)
    check_url("http://127.0.0.1:5678/", HOME)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.test/in", "https://hooks.test/in"),
        ("https://hooks.test/in?tenant=5&n=", "https://hooks.test/in?tenant=5&n="),
        ("https://me:pw@hooks.test:81/in", "https://me:***@hooks.test:81/in"),
        ("https://tok@hooks.test/in", "https://***@hooks.test/in"),
        ("https://hooks.test/in?api_key=abc&x=1", "https://hooks.test/in?api_key=***&x=1"),
        ("https://hooks.test/?x=0123456789012345678901", "https://hooks.test/?x=***"),
        ("https://[broken", "***"),
    ],
)
def test_secrets_in_urls_are_not_shown(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_a_configuration_that_was_shown_comes_back_whole() -> None:
    before = {"webhooks": [{"url": "https://me:pw@hooks.test/", "events": ["*"]}, {"url": "https://b.test/?token=x"}]}
    shown = masked_config(before)
    assert "pw" not in str(shown)
    shown["webhooks"][0]["events"] = ["message"]
    shown["webhooks"].append({"url": "https://c.test/"})
    kept = unmasked_config(shown, before)
    assert [hook["url"] for hook in kept["webhooks"]] == [
        "https://me:pw@hooks.test/",
        "https://b.test/?token=x",
        "https://c.test/",
    ]
    assert unmasked_config({}, before) == {}
    assert masked_config({"metadata": {"a": "b"}}) == {"metadata": {"a": "b"}}


def test_a_receiver_is_called_by_its_host() -> None:
    assert receiver("https://me:pw@hooks.test:8443/secret?token=1") == "hooks.test:8443"
