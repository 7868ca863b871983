"""What the faces of companies, users and phones may ask of an instance, beside `ports.gateway`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from holdfast.ports.gateway import SessionView
from holdfast.ports.store import AccountRow, Json


@dataclass(frozen=True, slots=True)
class Account:
    """A session, and whose it is. A session that nobody added has an account of its name only."""

    row: AccountRow
    view: SessionView
    fresh: bool = False
    """Whether its session was made just now."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery found, what it came to within its time, and a sentence for people."""

    before: SessionView
    after: SessionView
    message: str


class Accounts(Protocol):
    """Unknown accounts raise `AccountNotFound`, unknown sessions `SessionNotFound`."""

    async def add(
        self,
        *,
        phone: str | None = None,
        company: str | None = None,
        user: str | None = None,
        name: str = "",
        aliases: Sequence[str] = (),
    ) -> Account:
        """The account of that phone, company or user; made, with its session, if there is none. Not started.

        The same phone has the same session on every instance and deploy; one that it had under an older scheme's id
        stays its session. Raises `InvalidPhone`, `InvalidName`, `AccountTaken`, `SessionExists` (an alias is taken).
        """
        ...

    async def find(self, *, id: str | None = None, company: str | None = None, user: str | None = None) -> Account:
        """By account id (a session's name, an alias, an id of an older scheme), else by company, else by user."""
        ...

    async def all(self) -> list[Account]:
        """Those that were added, by session."""
        ...

    async def recover(self, name: str) -> Recovered:
        """A person asks to have a session back: what can heal is tried now with the credentials that it has; what
        needs a QR begins to pair, at most once a minute; what works or pairs is left alone.
        """
        ...

    async def restart(self, name: str) -> Recovered:
        """Close and open anew; one that is about to connect is not disturbed. What needs a QR is recovered instead."""
        ...

    async def relink(self, name: str) -> SessionView:
        """A person asks for a QR: the pairing that runs, or a new one. Raises `WrongStatus` for a session that is
        linked, whatever its status: a pairing would throw good credentials away.
        """
        ...

    async def facts(self, name: str) -> Json:
        """`{"recovery": {attempts, lastAt, lastOutcome}, "breaker": {...}, "queue": {...}}` of a session."""
        ...

    async def health(self, engine: str, config: Json | None = None) -> Json:
        """`{"engine", "reachable", "breaker", "queue", "memory": {"instance", "sidecars"}}`; memory in bytes. Of the
        server that a session of that configuration lives on; without an engine, of where new sessions live.
        """
        ...
