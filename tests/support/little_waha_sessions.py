"""The sessions of a little WAHA: what start, stop, restart, logout and delete do, and what a phone does to them."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.little_waha_hooks import Hook, Hooks

Json = dict[str, Any]

ACKS = {-1: "ERROR", 0: "PENDING", 1: "SERVER", 2: "DEVICE", 3: "READ", 4: "PLAYED"}
NAME = re.compile(r"[a-zA-Z0-9_-]+")
MISMATCH = "Session status is not as expected. Try again later or restart the session"


class Refused(Exception):
    """WAHA answers with an error."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body
        super().__init__(f"{status}: {body}")

    @classmethod
    def plain(cls, status: int, message: Any, error: str) -> Refused:
        """An error in the framework's form."""
        return cls(status, {"message": message, "error": error, "statusCode": status})


@dataclass(eq=False)
class Session:
    """One session as WAHA has it. `me` is None until a phone linked it; `linked` outlives a stop."""

    name: str
    config: Json
    status: str = "STOPPED"
    phone: str = ""
    qr: str = ""
    since: float = field(default_factory=time.time)
    history: list[tuple[str, float]] = field(default_factory=list)
    messages: dict[str, Json] = field(default_factory=dict)
    """By WhatsApp's own id, oldest first."""

    def me(self) -> Json | None:
        """The linked account."""
        return {"id": f"{self.phone}@c.us", "pushName": f"Phone {self.phone[-4:]}"} if self.phone else None

    def dto(self) -> Json:
        """WAHA's SessionDTO."""
        return {"name": self.name, "status": self.status, "config": self.config}

    def info(self, worker: str) -> Json:
        """WAHA's SessionInfo."""
        return {
            **self.dto(),
            "me": self.me(),
            "assignedWorker": worker,
            "presence": None,
            "timestamps": {"activity": int(self.since * 1000)},
        }


class Sessions:
    """All sessions of one WAHA. `stuck` names those that never leave STARTING, `broken` those whose every start ends in
    FAILED until they are deleted and made anew, `only_default` makes it an old Core.
    """

    def __init__(self, hooks: Hooks, environment: Json, pace: float) -> None:
        self.all: dict[str, Session] = {}
        self.stuck: set[str] = set()
        self.broken: set[str] = set()
        self.only_default = False
        self.qr_lives: tuple[float, ...] = (60.0, 20.0, 20.0, 20.0, 20.0, 20.0)
        """How long each QR is on show, in seconds; after the last the session is FAILED."""
        self.pace = pace
        """Seconds from STARTING to what comes of it."""
        self._hooks, self._environment = hooks, environment
        self._timers: dict[str, asyncio.TimerHandle] = {}

    # --- what clients order -------------------------------------------------------------------------------------
    def get(self, name: str) -> Session:
        """Raises WAHA's 404."""
        if name not in self.all:
            raise Refused.plain(404, "Session not found", "Not Found")
        return self.all[name]

    def working(self, name: str, *expected: str) -> Session:
        """For what needs a status. Raises WAHA's 422."""
        if name not in self.all:
            raise Refused(422, {"error": f'Session "{name}" does not exist', "session": name})
        session = self.all[name]
        if session.status not in expected:
            body = {"error": MISMATCH, "session": name, "status": session.status, "expected": list(expected)}
            raise Refused(422, body)
        return session

    def create(self, name: str | None, config: Json, start: bool) -> Session:
        """Refuses what WAHA refuses: bad names, a name that is there, and beside `default` all in an old Core."""
        name = name or f"session_{secrets.token_hex(12)}"
        wrong = []
        if not NAME.fullmatch(name):
            wrong.append("name must match /^[a-zA-Z0-9_-]*$/ regular expression")
        if len(name) > 54:
            wrong.append("name must be shorter than or equal to 54 characters")
        if wrong:
            raise Refused.plain(400, wrong, "Bad Request")
        if self.only_default and name != "default":
            message = f"WAHA Core support only 'default' session. You tried to access '{name}' session."
            raise Refused.plain(422, message, "Unprocessable Entity")
        if name in self.all:
            message = f"Session '{name}' already exists. Use PUT to update it."
            raise Refused.plain(422, message, "Unprocessable Entity")
        session = self.all[name] = Session(name, config)
        if start:
            self.start(session)
        return session

    def start(self, session: Session) -> None:
        """Idempotent."""
        if session.status in ("STOPPED", "FAILED"):
            self._enter(session, "STARTING")
            self._later(session, self.pace, lambda: self._come_up(session))

    def stop(self, session: Session) -> None:
        """It stays linked."""
        self._later(session, None)
        session.qr = ""
        if session.status != "STOPPED":
            self._enter(session, "STOPPED")

    def restart(self, session: Session) -> None:
        """Stop and start."""
        self.stop(session)
        self.start(session)

    def logout(self, session: Session) -> None:
        """Unlinked, and started anew if it ran."""
        ran = session.status != "STOPPED"
        self.stop(session)
        session.phone = ""
        if ran:
            self.start(session)

    def delete(self, name: str) -> None:
        """Idempotent; all that was of it is gone."""
        self.broken.discard(name)
        if session := self.all.pop(name, None):
            self.stop(session)

    # --- what happens to them -----------------------------------------------------------------------------------
    def forget(self, name: str) -> None:
        """Deleted behind our back: nobody is told."""
        session = self.all.pop(name)
        self._later(session, None)

    def scan(self, name: str, phone: str) -> None:
        """A phone scans the QR, or types the code."""
        session = self.all[name]
        assert session.status == "SCAN_QR_CODE", session.status
        session.phone, session.qr = phone, ""
        self._enter(session, "STARTING")
        self._later(session, self.pace, lambda: self._come_up(session))

    def have(self, name: str, phone: str, status: str = "WORKING") -> Session:
        """A session that was there before anybody looked."""
        session = self.all[name] = Session(name, {}, phone=phone)
        self._enter(session, status)
        return session

    def become(self, name: str, status: str) -> None:
        """It falls into a status by itself."""
        self._later(self.all[name], None)
        self._enter(self.all[name], status)

    def unlink(self, name: str) -> None:
        """The phone removed the device: FAILED, as the engines of WAHA have it, and a restart shows a QR."""
        self.all[name].phone = ""
        self.become(name, "FAILED")

    def _come_up(self, session: Session) -> None:
        if session.name in self.stuck:
            return
        if session.name in self.broken:
            self._enter(session, "FAILED")
        elif session.phone:
            self._enter(session, "WORKING")
        else:
            self._show(session, 0)

    def _show(self, session: Session, number: int) -> None:
        if number == len(self.qr_lives):
            session.qr = ""
            self._enter(session, "FAILED")
            return
        session.qr = f"2@{secrets.token_urlsafe(32)},{secrets.token_urlsafe(24)},{secrets.token_urlsafe(24)}"
        self._enter(session, "SCAN_QR_CODE")
        self._later(session, self.qr_lives[number], lambda: self._show(session, number + 1))

    def _enter(self, session: Session, status: str) -> None:
        session.status, session.since = status, time.time()
        session.history.append((status, session.since))
        points = [{"status": word, "timestamp": int(at * 1000)} for word, at in session.history[-3:]]
        self.tell("session.status", session, {"name": session.name, "status": status, "statuses": points})

    def _later(self, session: Session, seconds: float | None, what: Callable[[], None] = lambda: None) -> None:
        """What comes next by itself; None: nothing."""
        if old := self._timers.pop(session.name, None):
            old.cancel()
        if seconds is not None:
            self._timers[session.name] = asyncio.get_running_loop().call_later(seconds, what)

    def stop_timers(self) -> None:
        """The server stops."""
        for timer in self._timers.values():
            timer.cancel()

    # --- messages -------------------------------------------------------------------------------------------------
    def message(self, session: Session, id: str, chat: str, text: str, *, mine: bool, at: float | None = None) -> Json:
        """Keep a message and tell of it."""
        own = f"{session.phone}@c.us"
        message = {
            "id": f"{'true' if mine else 'false'}_{chat}_{id}",
            "timestamp": int(time.time() if at is None else at),
            "from": own if mine else chat,
            "fromMe": mine,
            "source": "api" if mine else "app",
            "to": chat if mine else own,
            "participant": None,
            "body": text,
            "hasMedia": False,
            "media": None,
            "mediaUrl": None,
            "ack": 0 if mine else 2,
            "ackName": ACKS[0 if mine else 2],
            "location": None,
            "vCards": None,
            "replyTo": None,
            "_data": {"key": {"remoteJid": chat.replace("@c.us", "@s.whatsapp.net"), "fromMe": mine, "id": id}},
        }
        session.messages[id] = message
        if not mine:
            self.tell("message", session, message)
        self.tell("message.any", session, message)
        return message

    def ack(self, session: Session, id: str, level: int) -> None:
        """WhatsApp, or the other side, acknowledged a message of ours."""
        message = session.messages[id]
        message.update(ack=level, ackName=ACKS[level])
        keys = ("id", "from", "to", "fromMe", "ack", "ackName")
        self.tell("message.ack", session, {**{key: message[key] for key in keys}, "participant": None})

    def tell(self, event: str, session: Session, payload: Json) -> None:
        """To the global hooks and to the session's own: both fire."""
        facts = {
            "metadata": session.config.get("metadata") or {},
            "me": session.me(),
            "engine": self._environment["engine"],
            "environment": self._environment,
        }
        self._hooks.tell(event, session.name, dict(payload), list(Hook.of(session.config)), facts)
