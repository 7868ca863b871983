"""Which requests with the dashboard's cookie come from its own pages."""

from __future__ import annotations

import pytest

from holdfast.domain.request_origin import RequestSource, is_same_origin

PUBLIC = "https://wa.example.com/holdfast"


def judged(
    site: str = "",
    origin: str = "",
    host: str = "nas:3000",
    *,
    secure: bool = False,
    public: str = "",
    say: bool = False,
) -> bool:
    return is_same_origin(RequestSource(site, origin, host, secure), public, must_say=say)


@pytest.mark.parametrize(
    ("site", "own"),
    [("same-origin", True), ("none", True), ("same-site", False), ("cross-site", False), ("odd", False)],
)
def test_what_the_browser_says_of_the_site_decides(site: str, own: bool) -> None:
    assert judged(site) is own
    assert judged(site, origin="http://nas:3000") is own
    assert judged(site, say=True) is (site == "same-origin")


def test_a_proxy_that_changes_the_host_does_not_matter_where_the_browser_says_the_site() -> None:
    assert judged("same-origin", origin="https://wa.example.com", host="127.0.0.1:3000")


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://nas:3000", "nas:3000", True),
        ("http://NAS:3000", "nas:3000", True),
        ("http://nas", "nas", True),
        ("http://nas:80", "nas", True),
        ("https://nas", "nas", True),
        ("https://nas:443", "nas", True),
        ("http://[::1]:3000", "[::1]:3000", True),
        ("http://nas:3001", "nas:3000", False),
        ("http://nas", "nas:3000", False),
        ("http://evil.nas:3000", "nas:3000", False),
        ("http://nas:3000.evil.com", "nas:3000", False),
        ("http://nas:3000@evil.com", "nas:3000", False),
        ("null", "nas:3000", False),
        ("file://", "nas:3000", False),
        ("http://", "nas:3000", False),
        ("http://nas:99999", "nas:3000", False),
        ("http://[", "nas:3000", False),
        ("http://nas:3000", "", False),
        ("http://nas:3000", "nas:x", False),
        ("\u00e4", "nas:3000", False),
    ],
)
def test_an_origin_must_be_ours(origin: str, host: str, own: bool) -> None:
    assert judged(origin=origin, host=host) is own
    assert judged(origin=origin, host=host, say=True) is own


def test_a_plain_page_is_another_origin_than_one_over_tls() -> None:
    assert not judged(origin="http://wa.example.com", host="wa.example.com", secure=True)
    assert judged(origin="https://wa.example.com", host="wa.example.com", secure=True)


def test_the_public_url_counts_where_a_proxy_changes_the_host() -> None:
    assert judged(origin="https://wa.example.com", host="127.0.0.1:3000", public=PUBLIC)
    assert not judged(origin="http://wa.example.com", host="127.0.0.1:3000", public=PUBLIC)
    assert not judged(origin="https://wa.example.com:8443", host="127.0.0.1:3000", public=PUBLIC)
    assert not judged(origin="null", host="127.0.0.1:3000", public="")


def test_who_says_nothing_may_only_read() -> None:
    assert judged()
    assert not judged(say=True)
