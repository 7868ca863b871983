"""Where webhooks may go, and what of their URLs is shown."""

from __future__ import annotations

import pytest

from holdfast.domain.errors import InvalidWebhook
from holdfast.domain.receivers import Exposure, Reach, check_url, masked, passed_on, receiver

OUT, HOME = Reach.parse("no"), Reach.parse("yes")

PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:93.184.216.34", "2002:5db8:d822::1"]
PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "::1",
    "::ffff:127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.9",
    "fd00::1",
    "fc00::1",
    "::ffff:10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.0.170",
    "192.0.2.1",
    "198.51.100.7",
    "203.0.113.7",
    "198.18.0.1",
    "198.19.255.255",
    "192.88.99.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.175.48.1",
    "2001:db8::1",
    "3fff::1",
    "2001:10::1",
    "2001:2::1",
    "2001:20::1",
    "2001:1ff::1",
    "64:ff9b:1::1",
    "100::1",
    "100:0:0:1::1",
    "5f00::1",
    "2620:4f:8000::1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
    "2002:7f00:1::1",
    "::10.0.0.1",
    "::127.0.0.1",
    "::ffff:0:10.0.0.1",
    "2606:2800::5efe:10.0.0.1",
    "2606:2800::200:5efe:192.168.1.1",
    "2001:0:5db8:d822::f5ff:fffe",
]
"""Special purposes by IANA's registries; IPv6 addresses that lead to a private IPv4 one (NAT64, 6to4, IPv4-compatible,
IPv4-translated, ISATAP, Teredo)."""
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "239.255.255.255",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::a9fe:a9fe",
    "fec0::1",
    "feff::1",
    "168.63.129.16",
    "192.0.0.192",
    "100.100.100.200",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fd00:42::42",
    "::ffff:168.63.129.16",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "2606:2800::5efe:169.254.169.254",
    "2002:a83f:8110::1",
    "64:ff9b::c000:c0",
    "64:ff9b::6464:64c8",
    "::ffff:0:169.254.169.254",
    "4000::1",
    "8000::1",
    "1::1",
    "200::1",
    "400::1",
    "800::1",
    "fe00::1",
]
"""Nobody's receivers; the clouds' metadata, however it is written; and what was given to nobody."""


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_called(address: str) -> None:
    assert OUT.allows("", address)
    assert HOME.allows("", address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_only_where_that_is_allowed(address: str) -> None:
    assert not OUT.allows("", address)
    assert HOME.allows("", address)


@pytest.mark.parametrize("address", [*NEVER, "not an address", ""])
def test_some_addresses_never_by_themselves(address: str) -> None:
    assert not OUT.allows("", address)
    assert not HOME.allows("", address)


def test_named_hosts_and_networks_are_allowed() -> None:
    reach = Reach.parse("n8n, 10.0.0.0/8,169.254.0.0/16,hooks.internal , ::1")
    assert reach.allows("", "10.9.8.7")
    assert reach.allows("", "169.254.169.254")
    assert reach.allows("", "::1")
    assert reach.allows("n8n", "172.18.0.3")
    assert reach.allows("N8N.", "172.18.0.3")
    assert not reach.allows("other", "172.18.0.3")
    assert not reach.allows("", "127.0.0.1")


def test_auto_follows_who_reaches_the_api() -> None:
    exposure = Exposure()
    reach = Reach.parse("auto", exposure)
    assert reach.allows("", "127.0.0.1")
    assert not reach.allows("", "169.254.169.254")
    exposure.why = "somebody came by a proxy"
    assert not reach.allows("", "127.0.0.1")
    assert reach.allows("", "93.184.216.34")
    assert not Reach.parse("auto").allows("", "127.0.0.1"), "not known is not alone"


@pytest.mark.parametrize("setting", ["http://n8n", "10.0.0.0/99", "a b"])
def test_what_is_neither_a_host_nor_a_network_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Reach.parse(setting)


LOCAL = {"host": "localhost:3000", "user-agent": "curl/8"}
MARKS = ("x-forwarded-for", "x-forwarded-host", "forwarded", "via", "x-real-ip", "cf-connecting-ip")


@pytest.mark.parametrize(
    ("headers", "version", "told"),
    [
        (LOCAL, "1.1", ""),
        ({"host": "127.0.0.1:3000"}, "1.1", ""),
        ({"host": "127.8.9.1"}, "1.1", ""),
        ({"host": "[::1]:3000"}, "1.1", ""),
        ({"host": "holdfast.localhost"}, "1.1", ""),
        ({"host": "LOCALHOST."}, "1.1", ""),
        ({"user-agent": "curl/8"}, "1.1", ""),
        (LOCAL, "1.0", "HTTP/1.0"),
        ({"host": "gateway.example.com"}, "1.1", "asked for a host"),
        ({"host": "192.168.1.5:3000"}, "1.1", "asked for a host"),
        ({"host": "localhost.example.com"}, "1.1", "asked for a host"),
        ({"host": "[::1"}, "1.1", "asked for a host"),
        *(({**LOCAL, name: "x"}, "1.1", f"header {name}") for name in MARKS),
    ],
)
def test_what_a_reverse_proxy_passes_on_is_known_by_its_marks(headers: dict[str, str], version: str, told: str) -> None:
    said = passed_on([(name.encode(), value.encode()) for name, value in headers.items()], version)
    assert told in said
    assert bool(told) == bool(said)


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
        ("http://localhost./", "private network"),
        ("http://127.0.0.1./", "private network"),
        ("http://127.1/", "private network"),
        ("http://0x7f.0.0.1/", "private network"),
        ("http://0177.0.0.1/", "private network"),
        ("http://2130706433/", "private network"),
        ("http://0xa9fea9fe/", "private network"),
        ("http://169.16689662/", "private network"),
        ("http://0/", "private network"),
        ("http://\uff11\uff12\uff17.0.0.1/", "private network"),
        ("http://[::ffff:127.0.0.1]/", "private network"),
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
    "url",
    [
        "http://256.1.1.1.1/",
        "http://1.2.3.4.5/",
        "http://0x.test/",
        "http://08.1.1.1/",
        "http://134744072/",
        "https://hooks.test/in?x=1#f",
        "http://user:pass@hooks.test:8080",
        "http://n8n:5678/webhook/x",
    ],
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


def test_a_receiver_is_called_by_its_host() -> None:
    assert receiver("https://me:pw@hooks.test:8443/secret?token=1") == "hooks.test:8443"
