"""What of a session's configuration is shown, and what a shown one means when it comes back (pure).

Secrets are shown as `***`: keys and header values of webhooks, secrets in their URLs, the proxy's password. A client
that changes something reads the configuration, and sends it back: `***` then means what was set before. It is put in
only where it belonged: a key goes to the webhook of the same URL, a password to the same server. Everything else that
comes as `***` is refused, since it would be stored as a secret that it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from holdfast.domain.errors import BadRequest, InvalidWebhook
from holdfast.domain.proxies import InvalidProxy, same
from holdfast.domain.receivers import MASK, masked

Config = Mapping[str, Any]
Hook = Mapping[str, Any]


def masked_config(config: Config) -> dict[str, Any]:
    """A session's configuration as it is shown."""
    shown = dict(config)
    if config.get("webhooks"):
        shown["webhooks"] = [_shown(hook) for hook in config["webhooks"]]
    if config.get("proxy"):
        shown["proxy"] = _shown_proxy(config["proxy"])
    return shown


def _shown(hook: Hook) -> dict[str, Any]:
    shown = {**hook, "url": masked(str(hook.get("url", "")))}
    if (hook.get("hmac") or {}).get("key"):
        shown["hmac"] = {**hook["hmac"], "key": MASK}
    if hook.get("customHeaders"):
        shown["customHeaders"] = [{**header, "value": MASK} for header in hook["customHeaders"]]
    return shown


def _shown_proxy(proxy: Config) -> dict[str, Any]:
    shown = {**proxy, "server": _shown_server(str(proxy.get("server", "")))}
    return {**shown, "password": MASK} if proxy.get("password") else shown


def _shown_server(server: str) -> str:
    if "@" not in server:
        return server
    return masked(server) if "://" in server else masked(f"http://{server}").removeprefix("http://")


def unmasked_config(config: Config, before: Config) -> dict[str, Any]:
    """A configuration that somebody changed after it was shown to them, with what was masked.

    Raises `InvalidWebhook` or `InvalidProxy` for a masked value of which it is not known what it stood for.
    """
    whole = dict(config)
    if config.get("webhooks"):
        whole["webhooks"] = _whole_hooks(config["webhooks"], before.get("webhooks") or ())
    if config.get("proxy"):
        whole["proxy"] = _whole_proxy(config["proxy"], before.get("proxy"))
    return whole


# --- webhooks ---------------------------------------------------------------------------------------------------


def _whole_hooks(hooks: Sequence[Hook], before: Sequence[Hook]) -> list[dict[str, Any]]:
    """Each with the secrets of the webhook that it was before."""
    found: dict[int, Hook] = {}
    left = list(before)
    urls = [str(hook.get("url", "")) for hook in hooks]
    for url in sorted(dict.fromkeys(urls), key=_is_masked):  # those that are in clear leave no choice
        here = [(number, hook) for number, hook in enumerate(hooks) if urls[number] == url]
        known = [old for old in left if url in (old.get("url"), masked(str(old.get("url", ""))))]
        found |= _pairs(here, known)
        left = [old for old in left if not any(old is taken for taken in found.values())]
    return [_whole(number, hook, found.get(number)) for number, hook in enumerate(hooks)]


def _pairs(hooks: list[tuple[int, Hook]], before: list[Hook]) -> dict[int, Hook]:
    """Which webhook each one was, of those that are shown with one URL: the one that is shown alike, if there is one
    alone; else by position, if none is missing. What stays ambiguous is nobody's, unless it makes no difference.
    """
    found: dict[int, Hook] = {}
    for number, hook in hooks:
        alike = [old for old in before if _shown(old) == {**hook, "url": masked(str(hook.get("url", "")))}]
        if len(alike) == 1:
            found[number] = alike[0]
            before = [old for old in before if old is not alike[0]]
    rest = [number for number, _ in hooks if number not in found]
    if len(rest) == len(before):
        found |= dict(zip(rest, before, strict=True))
    elif before and all(_secrets(old) == _secrets(before[0]) for old in before):
        found |= dict.fromkeys(rest, before[0])
    return found


def _secrets(hook: Hook) -> tuple[object, ...]:
    headers = [(header.get("name"), header.get("value")) for header in hook.get("customHeaders") or []]
    return hook.get("url"), (hook.get("hmac") or {}).get("key"), headers


def _whole(number: int, hook: Hook, old: Hook | None) -> dict[str, Any]:
    whole, where = dict(hook), f"config.webhooks[{number}]"
    url = str(hook.get("url", ""))
    if old is not None:
        whole["url"] = old.get("url", "")
    elif _is_masked(url):
        raise _unknown(InvalidWebhook, f"{where}.url")
    key = hook.get("hmac") or {}
    if key.get("key") == MASK:
        known = ((old or {}).get("hmac") or {}).get("key")
        if not known:
            raise _unknown(InvalidWebhook, f"{where}.hmac.key")
        whole["hmac"] = {**key, "key": known}
    if hook.get("customHeaders"):
        values = [dict(header) for header in (old or {}).get("customHeaders") or []]
        whole["customHeaders"] = [
            _whole_header(header, values, f"{where}.customHeaders[{i}].value")
            for i, header in enumerate(hook["customHeaders"])
        ]
    return whole


def _is_masked(url: str) -> bool:
    """Whether a secret of the URL is masked; three stars elsewhere are a part of it like any other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url == MASK
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    in_query = any(pair.partition("=")[2] == MASK for pair in parts.query.split("&"))
    return url == MASK or MASK in (user, password) or in_query


def _whole_header(header: Hook, before: list[dict[str, Any]], where: str) -> dict[str, Any]:
    """With the value that the header of that name had; of several the next one."""
    if header.get("value") != MASK:
        return dict(header)
    name = str(header.get("name", "")).lower()
    for position, old in enumerate(before):
        if str(old.get("name", "")).lower() == name:
            return {**header, "value": before.pop(position).get("value")}
    raise _unknown(InvalidWebhook, where)


# --- the proxy --------------------------------------------------------------------------------------------------


def _whole_proxy(proxy: Config, before: Config | None) -> dict[str, Any]:
    whole = dict(proxy)
    server = str(proxy.get("server", ""))
    if before and server == _shown_server(str(before.get("server", ""))):
        whole["server"] = before.get("server")
    elif "@" in server and _is_masked(server if "://" in server else f"http://{server}"):
        raise _unknown(InvalidProxy, "config.proxy.server")
    if proxy.get("password") == MASK:
        if not before or not before.get("password") or not same({**whole, "password": before["password"]}, before):
            raise _unknown(InvalidProxy, "config.proxy.password")
        whole["password"] = before["password"]
    return whole


def _unknown(error: type[BadRequest], where: str) -> BadRequest:
    return error(f"{where} is masked ({MASK}), and nothing is known that it could stand for: give the value itself.")
