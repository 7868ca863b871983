"""Every option of a session's configuration, and what it does here (pure).

One table says for each option whether it takes effect, or why it does not. The notes of answers and the table of
docs/coming-from-waha.md are made from it; tests hold the types that the API accepts and the documentation equal to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `path`: its place in the configuration, with `[]` for an item of a list. `effect`: what it does, or,
    with `note`, why it does nothing. No note is given while it has the value `neutral`, which holds here anyway.
    """

    path: str
    effect: str
    note: bool = False
    neutral: Any = None


def _stored(what: str) -> str:
    return f"No effect: Holdfast always stores {what}. `ignore` leaves out kinds of chats."


OPTIONS: tuple[Option, ...] = (
    Option("metadata", "In every event of the session, as `metadata`."),
    Option(
        "proxy.server",
        "All connections of the session go through this proxy (docs/proxies.md); `direct`: through none.",
    ),
    Option("proxy.username", "User at the proxy."),
    Option("proxy.password", "Password at the proxy; masked in answers."),
    Option(
        "debug",
        "No effect: the log level is the instance's, HOLDFAST_LOG_LEVEL, and each line names its session.",
        note=True,
        neutral=False,
    ),
    Option("ignore.status", "Status updates (`status@broadcast`) are neither stored nor reported."),
    Option("ignore.groups", "Messages and events of groups are neither stored nor reported."),
    Option("ignore.channels", "Messages of channels are neither stored nor reported."),
    Option("ignore.broadcast", "Messages from broadcast lists are neither stored nor reported; not status updates."),
    Option("client.browserName", "Browser that the phone shows for the linked device, from the next pairing on."),
    Option("client.deviceName", "System that the phone shows for the linked device, from the next pairing on."),
    Option("noweb.markOnline", "Whether the account shows as online while connected, from the next connection on."),
    Option("noweb.store.enabled", _stored("chats, contacts and messages"), note=True, neutral=True),
    Option(
        "noweb.store.fullSync",
        "No effect: of the phone's history Holdfast takes chats and contacts, and no messages of before the pairing.",
        note=True,
        neutral=False,
    ),
    Option("gows.storage.messages", _stored("messages"), note=True, neutral=True),
    Option("gows.storage.groups", _stored("groups"), note=True, neutral=True),
    Option("gows.storage.chats", _stored("chats"), note=True, neutral=True),
    Option("gows.storage.labels", "No effect: Holdfast knows no labels.", note=True, neutral=False),
    Option("gows.storage.contacts", _stored("contacts"), note=True, neutral=True),
    Option(
        "gows.storage.messageSecrets",
        "No effect: Holdfast always keeps what opens votes and other replies to a message.",
        note=True,
        neutral=True,
    ),
    Option("webjs.tagsEventsOn", "No effect: it belongs to an engine that runs a browser.", note=True, neutral=False),
    Option("webhooks[].url", "Where events are sent."),
    Option("webhooks[].events", "Which events are sent: names of the table below, or `*`."),
    Option("webhooks[].hmac.key", "Key that signs deliveries; masked in answers."),
    Option("webhooks[].retries.policy", "How refused events are tried again: see docs/webhooks.md."),
    Option("webhooks[].retries.delaySeconds", "Seconds before a refused event is tried again."),
    Option("webhooks[].retries.attempts", "How often a refused event is tried again."),
    Option("webhooks[].customHeaders[].name", "Name of a header of each delivery."),
    Option("webhooks[].customHeaders[].value", "Its value; masked in answers."),
    Option("holdfast.labels", "Beyond WAHA: the session runs only on instances that offer all of these labels."),
    Option("holdfast.pacing.messages_per_minute", "Beyond WAHA: most messages in a minute."),
    Option("holdfast.pacing.new_chats_per_day", "Beyond WAHA: most people whom the session writes to first in a day."),
    Option("holdfast.pacing.jitter", "Beyond WAHA: pause of up to so many seconds after each message."),
    Option("holdfast.expires_in", "Beyond WAHA: seconds that a message may wait to be sent."),
    Option("holdfast.queue", "Beyond WAHA: accept messages while the session cannot send."),
    Option("holdfast.engine", "Beyond WAHA: where the session lives, `baileys` or `waha`."),
    Option("holdfast.server", "Beyond WAHA: the WAHA server on which it lives."),
)

APPS = "`apps` has no effect: WAHA's apps (Chatwoot, calls, MCP, phone numbers) are not part of Holdfast."
NO_EVENTS = "`{path}` is empty: this webhook gets nothing."
AT_WAHA = (
    "The session lives on a WAHA server, which keeps the configuration that it has: changes of `{names}` take effect "
    "when the session is created there again."
)
_OF_WAHA = ("debug", "client", "noweb", "gows", "webjs")
"""Parts that are handed on to a WAHA server when a session is created there, and do nothing else."""

NOT_REPORTED = "The engine does not report it."
EVENTS: Mapping[str, str] = {
    "session.status": "",
    "message": "",
    "message.any": "",
    "message.reaction": "",
    "message.ack": "",
    "message.ack.group": "",
    "message.waiting": "",
    "message.revoked": "",
    "message.edited": "",
    "poll.vote": "",
    "poll.vote.failed": "",
    "event.response": "",
    "event.response.failed": "",
    "message.pinned": "",
    "message.system": "",
    "group.v2.join": "",
    "group.v2.leave": "",
    "group.v2.update": "",
    "group.v2.participants": "",
    "group.v2.participants.join-request": NOT_REPORTED,
    "group.join": "WAHA deprecated it: subscribe to `group.v2.join`.",
    "group.leave": "WAHA deprecated it: subscribe to `group.v2.leave`.",
    "state.change": "WAHA deprecated it: subscribe to `session.status`.",
    "presence.update": NOT_REPORTED,
    "chat.archive": NOT_REPORTED,
    "call.received": NOT_REPORTED,
    "call.accepted": NOT_REPORTED,
    "call.rejected": NOT_REPORTED,
    "label.upsert": NOT_REPORTED,
    "label.deleted": NOT_REPORTED,
    "label.chat.added": NOT_REPORTED,
    "label.chat.deleted": NOT_REPORTED,
    "engine.event": NOT_REPORTED,
}
"""Every event that can be subscribed to, and for those that never come, why. All of WAHA's are among them."""
BEYOND_WAHA = frozenset({"message.pinned", "message.system"})


def unknown_events(names: object) -> list[str]:
    """Those among the names that are no event."""
    given = names if isinstance(names, list | tuple | set | frozenset) else ()
    return sorted({str(name) for name in given} - {*EVENTS, "*"})


def notes(config: Json, engine: str, before: Json | None = None) -> list[str]:
    """A sentence for each part of a configuration that has no effect.

    Args:
        config: The session's configuration.
        engine: Where the session lives; a WAHA server gets the options of its engines, and they have effect there.
        before: The configuration that this one replaces; None for a new session.
    """
    found: list[str] = []
    if engine == "waha":
        changed = [name for name in _OF_WAHA if before is not None and before.get(name) != config.get(name)]
        found += [AT_WAHA.format(names="`, `".join(changed))] if changed else []
    else:
        found += [
            f"`{option.path}`: {option.effect}"
            for option in OPTIONS
            if option.note and _value(config, option.path) not in (_MISSING, None, option.neutral)
        ]
    for number, hook in enumerate(config.get("webhooks") or ()):
        path = f"webhooks[{number}].events"
        events = hook.get("events") or ()
        found += [] if events else [NO_EVENTS.format(path=path)]
        found += [f"`{path}`: `{name}` is never sent. {EVENTS[name]}" for name in events if EVENTS.get(name)]
    return found


def _value(config: Json, path: str) -> Any:
    at: Any = config
    for part in path.split("."):
        if not isinstance(at, Mapping) or part not in at:
            return _MISSING
        at = at[part]
    return at


def table() -> Iterator[str]:
    """The lines of the documentation: a table of the options, and one of the events."""
    yield "| option | what it does |"
    yield "|---|---|"
    for option in OPTIONS:
        yield f"| `{option.path}` | {option.effect} |"
    yield "| `apps` (beside `config`) | No effect: WAHA's apps are not part of Holdfast. |"
    yield ""
    yield "| event | |"
    yield "|---|---|"
    for name, why in EVENTS.items():
        beyond = "sent; not one of WAHA's" if name in BEYOND_WAHA else "sent"
        yield f"| `{name}` | {f'accepted, never sent. {why}' if why else beyond} |"
