"""Who waits for what inside one instance: sessions that change, messages that settle, events that are appended.

Only a hint: whoever is woken reads the facts again, so a lost or a needless wake-up harms nobody.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ANY = ""


class Hub:
    """Wake-ups by topic (`session:NAME`, `message:NAME:ID`, `events`)."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[asyncio.Event, None]] = defaultdict(dict)
        self._hooks: list[Callable[[str], None]] = []
        self.stopping = False
        """Once set, nobody is to wait any longer."""

    def stop(self) -> None:
        """Wake everybody, for the last time."""
        self.stopping = True
        for topic in list(self._waiting):
            self._wake(topic)

    def on_events(self, hook: Callable[[str], None]) -> None:
        """Call `hook(session)` whenever events of a session were appended."""
        self._hooks.append(hook)

    def session_changed(self, name: str) -> None:
        """The state, the QR or the order of a session is another."""
        self._wake(f"session:{name}")
        self._wake(f"session:{_ANY}")

    def message_settled(self, name: str, message_id: str) -> None:
        """An outgoing message changed its state."""
        self._wake(f"message:{name}:{message_id}")

    def file_settled(self, name: str) -> None:
        """A received file was fetched, or will not be."""
        self._wake(f"file:{name}")

    def events_appended(self, session: str) -> None:
        """The event log grew."""
        self._wake("events")
        for hook in self._hooks:
            hook(session)

    def appended_elsewhere(self) -> None:
        """Another instance's sessions made the event log grow; its webhooks are that instance's."""
        self._wake("events")

    def _wake(self, topic: str) -> None:
        for event in self._waiting.get(topic, ()):
            event.set()

    @contextmanager
    def listening(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set by every wake-up of the topic while in the block; the caller clears it."""
        event = asyncio.Event()
        self._waiting[topic][event] = None
        try:
            yield event
        finally:
            del self._waiting[topic][event]
            if not self._waiting[topic]:
                del self._waiting[topic]
