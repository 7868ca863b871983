"""What must hold at every step. Triggers tell of every row that is written, whoever writes it and however.

The watch keeps its own books of who holds which epoch, what was accepted and what WhatsApp saw, so that it does not
believe the code that it watches. A write that is rolled back took no effect, and is no offence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_EPOCH = "(SELECT epoch FROM session_epoch WHERE session_name = {row}.session_name)"
_FENCED = ("credential", "inbox", "message", "chat", "contact", "lid_map", "timeline")
_RANK = {"queued": 0, "sending": 1, "sent": 2, "delivered": 3, "read": 4}


@dataclass(frozen=True)
class Triggers:
    """`functions`: name and number of arguments of the watch's methods that SQL calls."""

    functions: dict[str, int]
    statements: list[str]


def _trigger(name: str, when: str, table: str, call: str) -> str:
    return f"CREATE TRIGGER watch_{name} AFTER {when} ON {table} BEGIN SELECT {call}; END"


def _fences() -> list[str]:
    return [
        _trigger(
            f"{table}_{when.lower()}",
            when,
            table,
            f"on_write('{table}', {row}.session_name, {_EPOCH.format(row=row)})",
        )
        for table in _FENCED
        for when, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
    ]


_OF_SESSION = "(SELECT epoch FROM session_epoch WHERE session_name = NEW.name)"
_MOVED = f"on_outbox(NEW.session_name, NEW.id, OLD.state, NEW.state, {_EPOCH.format(row='NEW')})"
_ACCEPTED = f"on_accepted(NEW.session_name, NEW.id, NEW.content, NEW.state, {_EPOCH.format(row='NEW')})"
_LOCKED = "on_lock(NEW.session_name, OLD.instance_id, NEW.instance_id, OLD.expires_at > holdfast_now())"

TRIGGERS = Triggers(
    functions={"on_write": 3, "on_epoch": 3, "on_lock": 4, "on_state": 4, "on_accepted": 5, "on_outbox": 5},
    statements=[
        *_fences(),
        _trigger("epoch", "UPDATE OF epoch", "session_epoch", "on_epoch(NEW.session_name, OLD.epoch, NEW.epoch)"),
        _trigger("epoch_gone", "DELETE", "session_epoch", "on_epoch(OLD.session_name, OLD.epoch, -1)"),
        _trigger("lock", "UPDATE OF instance_id", "session_lock", _LOCKED),
        _trigger("state", "UPDATE OF state", "session", f"on_state(NEW.name, OLD.state, NEW.state, {_OF_SESSION})"),
        _trigger("proof", "UPDATE OF verified_at", "session", f"on_write('verified_at', NEW.name, {_OF_SESSION})"),
        _trigger("accepted", "INSERT", "outbox", _ACCEPTED),
        _trigger("outbox", "UPDATE OF state", "outbox", _MOVED),
        _trigger("outbox_gone", "DELETE", "outbox", "on_outbox(OLD.session_name, OLD.id, OLD.state, 'gone', 0)"),
    ],
)


class Watch:
    """See the module. `broken` holds what did not hold, in order; `on_broken` is called at the first."""

    def __init__(self, log: Callable[..., None], boot: Callable[[], float]) -> None:
        self.broken: list[str] = []
        self.on_broken: Callable[[], None] = lambda: None
        self.wall: dict[str, Callable[[], float]] = {}
        """The wall clock of each instance."""
        self.due: dict[str, float] = {}
        """When each waiting session is to try again, on the boot clock."""
        self.log = log
        self._boot = boot
        self._who = self._method = ""
        self._args: tuple[Any, ...] = ()
        self._offences: list[str] = []
        self._owners: dict[tuple[str, int], str] = {}
        self._ids: dict[tuple[str, str], str] = {}
        self._acked: set[tuple[str, str]] = set()

    def broke(self, what: str) -> None:
        """An invariant does not hold."""
        self.log("BROKEN", what)
        self.broken.append(what)
        if len(self.broken) == 1:
            self.on_broken()

    # --- one call of the store ------------------------------------------------------------------------------------
    def begin(self, who: str, method: str, args: tuple[Any, ...]) -> None:
        """What is written from now on, `who` writes by `method`."""
        self._who, self._method, self._args = who, method, args

    def commit(self) -> None:
        """It was written."""
        for offence in self._offences:
            self.broke(offence)
        self._offences.clear()

    def rollback(self) -> None:
        """It was not."""
        self._offences.clear()

    def _offence(self, what: str) -> None:
        self._offences.append(f"{self._who}, {self._method}: {what}")

    # --- what the triggers tell -----------------------------------------------------------------------------------
    def on_epoch(self, name: str, before: int, after: int) -> None:
        """A fencing number changed: upwards only. A claim makes whoever claimed its owner."""
        self.log("epoch", name, after, self._who, self._method)
        if after <= before:
            self._offence(f"the epoch of {name} went from {before} to {after}")
        if self._method == "claim":
            self._owners[name, after] = self._who

    def on_lock(self, name: str, before: str, after: str, valid: int) -> None:
        """A lock passed from one instance to another: only once it had expired."""
        if before != after and valid:
            self._offence(f"took the lock of {name} from {before}, whose lease had not expired")

    def on_write(self, table: str, name: str, epoch: int) -> None:
        """A fenced row was written: by who owns the current epoch, and under that epoch (G2)."""
        owner, claimed = self._owners.get((name, epoch)), self._claimed(name)
        if owner != self._who or claimed != epoch:
            self._offence(f"wrote {table} of {name} under epoch {claimed}; {epoch} is current, and {owner}'s")

    def _claimed(self, name: str) -> object:
        if self._method == "note_verified":
            return self._args[0][name][0]
        return self._args[1] if len(self._args) > 1 else None

    def on_state(self, name: str, before: str, after: str, epoch: int) -> None:
        """The holder decided something."""
        was, now = json.loads(before), json.loads(after)
        self.on_write("state", name, epoch)
        self.log("state", name, now["phase"], now["code"], f"attempt {now['attempt']}", self._who, f"epoch {epoch}")
        if now["epoch"] != epoch:
            self._offence(f"state of {name} names epoch {now['epoch']}, and {epoch} is current")
        if was.get("phase") == "terminal" != now["phase"] and now["command_seq"] <= was["command_seq"]:
            self._offence(f"{name} left its terminal state, and nobody had ordered it")
        if now["command_seq"] < was.get("command_seq", 0) or now["connection"] < was.get("connection", 0):
            self._offence(f"{name} went back to an earlier order or connection")
        self.due.pop(name, None)
        if now["phase"] == "waiting":
            self.due[name] = self._boot() + now["next_attempt_at"] - self.wall[self._who]()

    def on_accepted(self, name: str, id_: str, content: str, state: str, epoch: int) -> None:
        """A message was accepted for sending."""
        text = json.loads(content)["text"]
        self.log("accepted", name, text, id_, state)
        if self._ids.setdefault((name, text), id_) != id_:
            self._offence(f"{text} was accepted under two ids, {self._ids[name, text]} and {id_}")
        if state == "sending" and self._owners.get((name, epoch)) != self._who:
            self._offence(f"began to send {text} of {name}, which {self._owners.get((name, epoch))} holds")

    def on_outbox(self, name: str, id_: str, before: str, after: str, epoch: int) -> None:
        """A message moved: forward only, and only by the session's holder (G4). Whoever is there ends what waits."""
        self.log("outbox", name, id_, before, after)
        if after not in ("expired", "cancelled"):
            self.on_write("outbox", name, epoch)
        back = (before, after) == ("sending", "queued")
        ends = before in ("queued", "sending") and after in ("failed", "expired", "cancelled")
        if not (back or ends or _RANK.get(after, -1) >= _RANK.get(before, 9)):
            self._offence(f"message {id_} went from {before} to {after}")
        if after == "sent" and (name, id_) not in self._acked:
            self._offence(f"message {id_} is called sent, and WhatsApp never acknowledged it")

    # --- what WhatsApp tells --------------------------------------------------------------------------------------
    def sent(self, name: str, id_: str, text: str) -> None:
        """A message reached WhatsApp: under the id that was accepted, and no other (G4)."""
        if self._ids.get((name, text)) != id_:
            self.broke(f"{text} of {name} went out under {id_}, and was accepted under {self._ids.get((name, text))}")

    def acknowledged(self, name: str, id_: str) -> None:
        """WhatsApp took it."""
        self._acked.add((name, id_))
