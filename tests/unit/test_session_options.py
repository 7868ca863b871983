"""Every option of a session's configuration is typed, documented, and takes effect or says why not."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.api.waha.session_config import SessionConfig, config_of
from holdfast.api.waha.sessions import CreateSession, StartSession, UpdateSession
from holdfast.config import load
from holdfast.domain.errors import BadRequest, InvalidSettings
from holdfast.domain.session_options import BEYOND_WAHA, EVENTS, OPTIONS, notes, table

DOCS = Path(__file__).parents[2] / "docs" / "coming-from-waha.md"
OF_WAHA = (
    "session.status", "message", "message.reaction", "message.any", "message.ack", "message.ack.group",
    "message.waiting", "message.revoked", "message.edited", "state.change", "group.join", "group.leave",
    "group.v2.join", "group.v2.leave", "group.v2.update", "group.v2.participants",
    "group.v2.participants.join-request", "presence.update", "poll.vote", "poll.vote.failed", "chat.archive",
    "call.received", "call.accepted", "call.rejected", "label.upsert", "label.deleted", "label.chat.added",
    "label.chat.deleted", "event.response", "event.response.failed", "engine.event",
)  # fmt: skip
"""The names of WAHA's OpenAPI description 2026.9.2."""


def _struct(kind: Any) -> tuple[type[msgspec.Struct] | None, str]:
    """The struct in an annotation, and `[]` if it is a list of them."""
    for one in typing.get_args(kind) or (kind,):
        if typing.get_origin(kind) in (types.UnionType, typing.Union) and one is not type(None):
            return _struct(one)
    if typing.get_origin(kind) is list:
        return _struct(typing.get_args(kind)[0])[0], "[]"
    return (kind, "") if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else (None, "")


def paths(struct: type[msgspec.Struct], before: str = "") -> Iterator[str]:
    """The paths of all fields that are no structs themselves."""
    for name, kind in typing.get_type_hints(struct).items():
        inner, many = _struct(kind)
        if inner is None:
            yield before + name
        else:
            yield from paths(inner, f"{before}{name}{many}.")


def test_the_table_has_exactly_what_the_api_accepts() -> None:
    assert sorted(option.path for option in OPTIONS) == sorted(paths(SessionConfig))


def test_the_documentation_is_the_table() -> None:
    lines = DOCS.read_text().splitlines()
    begin = lines.index("| option | what it does |")
    assert lines[begin : begin + len(list(table()))] == list(table())


def test_all_of_wahas_events_are_known() -> None:
    assert (len(OF_WAHA), len(set(OF_WAHA))) == (31, 31)
    assert set(OF_WAHA) == EVENTS.keys() - BEYOND_WAHA


def at(path: str, value: Any) -> dict[str, Any]:
    """A configuration with that value at that path."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return typing.cast("dict[str, Any]", value)


@pytest.mark.parametrize("option", [one for one in OPTIONS if one.note], ids=lambda one: one.path)
def test_what_has_no_effect_is_named_unless_it_holds_anyway(option: Any) -> None:
    config = at(option.path, not option.neutral)
    stored = config_of(msgspec.convert(config, SessionConfig))
    assert notes(stored, "baileys") == [f"`{option.path}`: {option.effect}"]
    assert option.effect.startswith("No effect: ")
    assert notes(at(option.path, option.neutral), "baileys") == []
    assert notes(at(option.path, None), "baileys") == []


def test_what_takes_effect_needs_no_note() -> None:
    config = {
        "metadata": {"a": "b"},
        "ignore": {"status": True, "groups": None},
        "client": {"browserName": "Firefox", "deviceName": "Mac OS"},
        "noweb": {"markOnline": False, "store": {"enabled": True, "fullSync": False}},
        "webhooks": [{"url": "http://x/", "events": ["*", "message"], "retries": {"attempts": 3}}],
        "holdfast": {"queue": True},
    }
    assert notes(config_of(msgspec.convert(config, SessionConfig)), "baileys") == []


def test_webhooks_name_events_that_never_come() -> None:
    hooks = [{"url": "http://x/", "events": ["message", "call.received"]}, {"url": "http://y/", "events": []}]
    first, second = notes({"webhooks": hooks}, "baileys")
    assert first == "`webhooks[0].events`: `call.received` is never sent. The engine does not report it."
    assert second == "`webhooks[1].events` is empty: this webhook gets nothing."


def test_a_session_at_waha_hands_its_options_on_when_it_is_created_there() -> None:
    before, after = {"noweb": {"markOnline": True}}, {"noweb": {"markOnline": False}, "debug": True}
    assert notes(after, "waha") == []
    (note,) = notes(after, "waha", before)
    assert "`debug`, `noweb`" in note
    assert notes(after, "waha", after) == []


def levels(struct: type[msgspec.Struct], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each struct in a configuration."""
    yield before
    for name, kind in typing.get_type_hints(struct).items():
        inner, many = _struct(kind)
        if inner is not None:
            yield from levels(inner, (*before, f"{name}{many}"))


@pytest.mark.parametrize("body", [CreateSession, UpdateSession, StartSession])
@pytest.mark.parametrize("level", list(levels(SessionConfig)), ids=".".join)
def test_unknown_fields_are_refused_at_every_level_with_their_path(body: Any, level: tuple[str, ...]) -> None:
    value: Any = {"unheardOf": 1}
    required = {"webhooks[]": {"url": "http://x/", "events": ["*"]}, "customHeaders[]": {"name": "a", "value": "b"},
                "proxy": {"server": "x:1"}}  # fmt: skip
    for part in reversed(level):
        value = {**required.get(part, {}), **value}
        name = part.removesuffix("[]")
        value = {name: [value]} if part.endswith("[]") else {name: value}
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({"name": "shop", "config": value}, body)
    said = str(refused.value)
    assert "unknown field `unheardOf`" in said
    assert "$.config" + "".join(f".{part}".replace("[]", "[0]") for part in level) in said
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "shop", "unheardOf": 1}, body)


def test_unknown_events_are_refused_everywhere() -> None:
    hook = {"url": "http://x/", "events": ["message", "mesage.any"]}
    with pytest.raises(BadRequest) as refused:
        config_of(msgspec.convert({"webhooks": [{"url": "http://y/", "events": list(OF_WAHA)}, hook]}, SessionConfig))
    assert refused.value.sentence.startswith("config.webhooks[1].events: there is no event mesage.any.")
    with pytest.raises(InvalidSettings, match=r"HOLDFAST_WEBHOOK_EVENTS: there is no event mesage"):
        load(webhook_events="message, mesage")
    assert load(webhook_events="message, *").webhook_events
    with pytest.raises(InvalidSettings, match="HOLDFAST_IGNORE: 'group' is not one of"):
        load(ignore="group")
