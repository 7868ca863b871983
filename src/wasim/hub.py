"""The middle of the simulator: who is online, what waits for whom, and how a stanza reaches a device.

Handlers (``stanzas/``) get the hub, the device that speaks and its stanza. Whatever they send goes through
``Hub.send`` (now or never) or ``Hub.post`` (kept until the device acknowledges it). Both are synchronous: a socket's
link only appends to the connection's outgoing buffer, a phone's link to the phone's inbox.
"""

from __future__ import annotations

import random
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from wasim import jid as jids
from wasim.accounts import Accounts, Device
from wasim.faults import Fault, Faults
from wasim.groups import Groups
from wasim.log import Journal
from wasim.state import State
from wasim.wire.nodes import Node


class Link(Protocol):
    """A way to one online device."""

    live: bool
    """Whether kept stanzas were handed over; until then new ones only join the queue."""
    deaf: bool
    """Whether it was struck by the fault ``deaf``: nothing is delivered on it any more, queries are still answered."""

    def send(self, node: Node) -> None:
        """Send a stanza, without waiting."""
        ...

    def end(self, node: Node | None, reason: str) -> None:
        """Send a last stanza, then close; ``reason`` goes into the log."""
        ...

    def abort(self, reason: str) -> None:
        """Cut the connection without a word."""
        ...


class PhonePort(Protocol):
    """What handlers ask of a phone; the pairing handler uses more of it (``stanzas/pairing.py``)."""

    def key_index_list(self) -> bytes | None:
        """Give the signed list of the linked devices' key indexes, or None."""
        ...

    def welcome(self, device: int) -> None:
        """A companion is logged in and its keys are there: send it what a new companion gets, if it is new."""
        ...


class Hub:
    """Everything that handlers share."""

    def __init__(self, state: State, now: Callable[[], float], rng: random.Random, journal_capacity: int) -> None:
        self.state = state
        self.now = now
        self.rng = rng
        self.journal = Journal(now, journal_capacity)
        self.faults = Faults(now)
        self.accounts = Accounts(state, rng)
        self.groups = Groups(state)
        self.links: dict[str, Link] = {}
        self.phones: dict[str, PhonePort] = {}
        self.watchers: dict[str, set[str]] = {}
        """Account phone -> addresses of the devices that watch its presence."""
        self.media_host = ""
        self.media_tls: ssl.SSLContext | None = None
        self.attempts: dict[str, Counter[str]] = {}
        """How often each device came to log in: address -> ``login`` and ``login-refused``."""
        self._ids = 0

    # -- ids

    def stanza_id(self) -> str:
        """Make an id for a stanza of the server's own."""
        self._ids += 1
        return f"{self.rng.randrange(10**9)}-{self._ids}"

    # -- reaching devices

    def link(self, device: Device) -> Link | None:
        """Give the way to ``device`` if it is online."""
        return self.links.get(str(device.pn))

    def send(self, device: Device, node: Node) -> bool:
        """Send now if ``device`` is online and caught up; tell whether it was."""
        link = self.link(device)
        if link is None or not link.live or link.deaf:
            return False
        link.send(node)
        return True

    def post(self, device: Device, key: str, node: Node) -> None:
        """Send, and keep until ``device`` acknowledges it by ``key`` (made by ``message_key`` or ``stanza_key``)."""
        fallen = self.accounts.enqueue(device, key, node)
        if fallen is not None:
            self.journal.note("queue-overflow", jid=str(device.pn), lost=fallen)
        if self.send(device, node):
            self._note_delivery(device, node)
            if self.faults.take("duplicate", device.names):
                self.send(device, node)
                self._note_delivery(device, node, duplicate=True)

    def hand_over(self, device: Device, link: Link) -> int:
        """Send all kept stanzas, marked ``offline``, then let new ones through; give how many there were."""
        for place, node in enumerate(list(device.queue.values())):
            marked = Node(node.tag, node.attrs | {"offline": str(place)}, node.content)
            link.send(marked)
            self._note_delivery(device, marked)
        link.live = True
        return len(device.queue)

    def _note_delivery(self, device: Device, node: Node, duplicate: bool | None = None) -> None:
        self.journal.note(
            "deliver",
            jid=str(device.pn),
            tag=node.tag,
            id=node.attrs.get("id"),
            **{"from": node.attrs.get("from"), "type": node.attrs.get("type")},
            offline=True if "offline" in node.attrs else None,
            duplicate=duplicate,
        )

    def notify(self, device: Device, kind: str, content: list[Node], sender: str = jids.SERVER, **attrs: str) -> None:
        """Post a ``<notification>`` of type ``kind``."""
        stanza_id = self.stanza_id()
        head = {"from": sender, "type": kind, "id": stanza_id, "t": str(int(self.now()))} | attrs
        self.post(device, stanza_key("notification", stanza_id, sender), Node("notification", head, content))

    # -- answering

    def result(self, device: Device, iq: Node, content: list[Node] | None = None) -> None:
        """Answer an iq."""
        self.answer(device, Node("iq", _reply_attrs(iq, "result"), content))

    def refuse(self, device: Device, iq: Node, code: int, text: str, reason: str | None = None) -> None:
        """Answer an iq with an error, and note why."""
        self.note_refusal(device, iq, reason or text, code)
        error = Node("error", {"code": str(code), "text": text})
        self.answer(device, Node("iq", _reply_attrs(iq, "error"), [error]))

    def answer(self, device: Device, node: Node) -> None:
        """Send what belongs to a request of the device itself; it does not wait for the offline queue."""
        self.state.commit()
        link = self.link(device)
        if link is not None:
            link.send(node)

    def note_refusal(self, device: Device, node: Node, reason: str, code: int | None = None) -> None:
        """Record that a stanza was refused, and why."""
        self.journal.note(
            "refused", jid=str(device.pn), tag=node.tag, id=node.attrs.get("id"), code=code, reason=reason,
            xmlns=node.attrs.get("xmlns"),
        )  # fmt: skip

    # -- faults that strike one device

    def fault(self, kind: str, device: Device) -> Fault | None:
        """Use up and give a fault of ``kind`` that is meant for ``device``."""
        return self.faults.take(kind, device.names)


def _reply_attrs(iq: Node, kind: str) -> dict[str, str]:
    return {"from": iq.attrs.get("to", jids.SERVER), "type": kind, "id": iq.attrs.get("id", "")}


def message_key(message_id: str, chat: str) -> str:
    """Name a kept message: its id and the person or group that it came from, without servers and devices."""
    return f"message|{message_id}|{chat}"


def stanza_key(tag: str, stanza_id: str, sender: str, kind: str = "") -> str:
    """Name a kept receipt, notification or call as its ``ack`` will name it."""
    return f"{tag}|{stanza_id}|{sender}|{kind}"
