"""What of a configuration is shown, and what a shown one means when it comes back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.errors import InvalidWebhook
from holdfast.domain.masking import masked_config, unmasked_config
from holdfast.domain.proxies import InvalidProxy

SECRETS = ("pw-of-a", "tok-of-b", "key-a", "key-b", "bearer-a", "bearer-b", "proxy-pw")


def hook(url: str, key: str, *headers: str, events: tuple[str, ...] = ("*",)) -> dict[str, Any]:
    sent = [{"name": "Authorization", "value": value} for value in headers]
    return {"url": url, "events": list(events), "hmac": {"key": key}, "customHeaders": sent}


A = hook("https://me:pw-of-a@a.test/in", "key-a", "bearer-a", events=("message",))
B = hook("https://b.test/in?token=tok-of-b", "key-b", "bearer-b")
PROXY = {"server": "socks5://p.test:1080", "username": "u", "password": "proxy-pw"}
BEFORE: dict[str, Any] = {"metadata": {"a": "b"}, "webhooks": [A, B], "proxy": PROXY}


def shown() -> dict[str, Any]:
    return copy.deepcopy(masked_config(BEFORE))


def test_no_secret_is_shown_and_the_rest_is() -> None:
    assert not [secret for secret in SECRETS if secret in str(shown())]
    assert shown()["webhooks"][0] == {
        "url": "https://me:***@a.test/in",
        "events": ["message"],
        "hmac": {"key": "***"},
        "customHeaders": [{"name": "Authorization", "value": "***"}],
    }
    assert shown()["proxy"] == {"server": "socks5://p.test:1080", "username": "u", "password": "***"}
    without = {"metadata": {"a": "b"}, "webhooks": [{"url": "https://c.test/"}]}
    assert masked_config(without) == without


@pytest.mark.parametrize("scheme", ["http://", "", "socks5://"])
def test_a_password_in_the_proxys_url_is_not_shown(scheme: str) -> None:
    before = {"proxy": {"server": f"{scheme}u:proxy-pw@p.test:8080"}}
    assert masked_config(before) == {"proxy": {"server": f"{scheme}u:***@p.test:8080"}}
    assert unmasked_config(masked_config(before), before) == before


def test_what_was_shown_comes_back_whole() -> None:
    assert unmasked_config(shown(), BEFORE) == BEFORE
    assert unmasked_config({}, BEFORE) == {}


def test_webhooks_that_were_moved_removed_or_changed_keep_their_own_secrets() -> None:
    config = shown()
    config["webhooks"].reverse()
    assert unmasked_config(config, BEFORE)["webhooks"] == [B, A]
    del config["webhooks"][1]
    assert unmasked_config(config, BEFORE)["webhooks"] == [B]
    config["webhooks"][0]["events"] = ["message.ack"]
    config["webhooks"].insert(0, {"url": "https://c.test/", "events": ["*"]})
    new = {"url": "https://c.test/", "events": ["*"]}
    assert unmasked_config(config, BEFORE)["webhooks"] == [new, {**B, "events": ["message.ack"]}]
    config["webhooks"][1]["hmac"] = {"key": "new"}
    config["webhooks"][1]["customHeaders"].append({"name": "X-More", "value": "1"})
    whole = unmasked_config(config, BEFORE)["webhooks"][1]
    assert (whole["hmac"], [h["value"] for h in whole["customHeaders"]]) == ({"key": "new"}, ["bearer-b", "1"])


LIKE_B = hook("https://b.test/in?token=another", "key-of-another", "bearer-of-another", events=("message.ack",))


def test_of_webhooks_that_are_shown_with_one_url_each_keeps_its_own() -> None:
    before = {"webhooks": [B, LIKE_B]}
    config = masked_config(before)
    assert unmasked_config(config, before) == before
    swapped = {"webhooks": [config["webhooks"][1], config["webhooks"][0]]}
    assert unmasked_config(swapped, before)["webhooks"] == [LIKE_B, B]
    for one, kept in zip(config["webhooks"], (B, LIKE_B), strict=True):
        assert unmasked_config({"webhooks": [one]}, before)["webhooks"] == [kept]
    unclear = {"webhooks": [{**config["webhooks"][0], "events": ["message.any"]}]}
    with pytest.raises(InvalidWebhook, match=r"config\.webhooks\[0\]\.url is masked"):
        unmasked_config(unclear, before)
    in_clear = {"webhooks": [{**unclear["webhooks"][0], "url": LIKE_B["url"]}]}
    assert unmasked_config(in_clear, before)["webhooks"] == [{**LIKE_B, "events": ["message.any"]}]


def with_header(url: str, name: str) -> dict[str, Any]:
    return {"url": url, "customHeaders": [{"name": name, "value": "***"}]}


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        ({"url": "https://evil.test/", "hmac": {"key": "***"}}, "hmac.key"),
        ({"url": "https://me:***@evil.test/"}, "url"),
        ({"url": "https://evil.test/?token=***"}, "url"),
        ({"url": "***"}, "url"),
        (with_header("https://evil.test/", "Authorization"), "customHeaders[0].value"),
        (with_header("https://me:pw-of-a@a.test/in", "X-Unknown"), "customHeaders[0].value"),
    ],
)
def test_nobody_gets_the_secret_of_another_receiver(webhook: dict[str, Any], field: str) -> None:
    for before in (BEFORE, {}):
        with pytest.raises(InvalidWebhook) as caught:
            unmasked_config({"webhooks": [webhook]}, before)
        assert caught.value.http_status == 422
        assert caught.value.sentence.startswith(f"config.webhooks[0].{field} is masked")


@pytest.mark.parametrize(
    ("proxy", "ok"),
    [
        ({"server": "socks5://p.test:1080", "username": "u", "password": "***"}, True),
        ({"server": "socks5h://P.test:1080", "username": "u", "password": "***"}, True),
        ({"server": "socks5://evil.test:1080", "username": "u", "password": "***"}, False),
        ({"server": "http://p.test:1080", "username": "u", "password": "***"}, False),
        ({"server": "socks5://p.test:1081", "username": "u", "password": "***"}, False),
        ({"server": "socks5://p.test:1080", "username": "another", "password": "***"}, False),
        ({"server": "http://u:***@p.test:1080"}, False),
    ],
)
def test_a_masked_password_goes_to_the_same_server_only(proxy: dict[str, Any], ok: bool) -> None:
    if ok:
        assert unmasked_config({"proxy": proxy}, BEFORE)["proxy"]["password"] == "proxy-pw"
        return
    with pytest.raises(InvalidProxy, match=r"config\.proxy\.(password|server) is masked"):
        unmasked_config({"proxy": proxy}, BEFORE)


URLS = st.sampled_from(["https://a.test/x", "https://b.test/x?token=S{n}", "https://me:S{n}@c.test/"])


@st.composite
def hooks(draw: st.DrawFn) -> dict[str, Any]:
    n, key, value = (draw(st.integers(0, 3)) for _ in range(3))
    event = draw(st.sampled_from(["*", "message"]))
    return hook(draw(URLS).format(n=n), f"K{n}{key}", f"V{n}{value}", events=(event,))


def secrets_of(webhook: dict[str, Any]) -> tuple[str, str, str]:
    return webhook["url"], webhook["hmac"]["key"], webhook["customHeaders"][0]["value"]


@given(st.lists(hooks(), max_size=5), st.randoms(use_true_random=False))
def test_however_webhooks_are_moved_a_key_stays_with_its_url(before: list[dict[str, Any]], random: Any) -> None:
    kept = [one for one in masked_config({"webhooks": before}).get("webhooks", []) if random.random() < 0.8]
    random.shuffle(kept)
    known = [secrets_of(one) for one in before]
    try:
        whole = unmasked_config({"webhooks": kept}, {"webhooks": before}).get("webhooks", [])
    except InvalidWebhook:
        return
    assert all(secrets_of(one) in known for one in whole)
