"""Shapes of Holdfast's own answers, and of those of the field reports' programs."""

# ruff: noqa: N815 - names of WAHA's fields
from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.api.openapi.waha_shapes import Message, OutboxState, Status


class Instance(msgspec.Struct):
    """An instance, and what it holds."""

    id: str
    url: str
    version: str
    labels: str
    facts: dict[str, Any]
    started_at: float
    heartbeat_at: float
    sessions: list[str]
    expires_in: float | None
    seen_ago: float
    this: bool
    reachable: bool | None
    differs: list[str]


class TimelineEntry(msgspec.Struct):
    """A status change, explained."""

    seq: int
    session: str
    at: float
    status: Status
    code: str
    message: str
    attempt: int
    instance: str
    epoch: int
    detail: dict[str, Any]


class FoundChat(msgspec.Struct):
    """The chat of a message that was found."""

    id: str
    name: str | None


class FoundMessage(msgspec.Struct):
    """A message that was found."""

    session: str
    chat: FoundChat
    message: Message


class Delivery(msgspec.Struct):
    """An event that a webhook did not get in order."""

    id: int
    consumer: str
    receiver: str
    session: str
    event: str
    kind: str
    chat: str | None
    at: float
    state: Literal["waiting", "retrying", "parked", "dead"]
    attempts: int
    since: float | None
    next_at: float | None
    status: int
    problem: str


class Replayed(msgspec.Struct):
    """How many deliveries are tried again."""

    replayed: int


class Alert(msgspec.Struct):
    """Something that an operator should know now."""

    id: str
    kind: str
    session: str | None
    severity: str
    code: str
    message: str
    since: float
    instance: str


class AccountStatus(msgspec.Struct, omit_defaults=True):
    """Status of an account."""

    is_connected: bool
    status: str
    message: str
    needs_qr: bool
    requiresQR: bool
    session: str | None
    phone: str | None
    qr: str | None = None


class ConnectedAccount(AccountStatus, kw_only=True):
    """An account that was asked to connect."""

    success: bool
    accountId: str


class AddedAccount(msgspec.Struct):
    """An account, and its id."""

    success: bool
    accountId: str
    status: str


class Account(AccountStatus, kw_only=True):
    """An account of a company, a user or a phone."""

    accountId: str
    company_id: str | None
    user_id: str | None
    name: str


class Accounts(msgspec.Struct):
    """All accounts."""

    success: bool
    accounts: list[Account]


class AccountQr(AddedAccount):
    """A QR code to link an account."""

    qr: str


class SentByAccount(msgspec.Struct):
    """A message that was accepted."""

    success: bool
    messageId: str
    status: OutboxState


class RecoveryStatus(msgspec.Struct):
    """A session's status, with what its recovery took."""

    status: Status
    name: str
    needsQR: bool
    message: str
    verifiedAt: float | None
    recovery: dict[str, Any]
    breaker: dict[str, Any] | None
    queue: dict[str, Any] | None


class RecoveryStatusAnswer(msgspec.Struct):
    """Answer of the recovery's status."""

    success: bool
    data: RecoveryStatus


class Recovered(msgspec.Struct):
    """What a recovery did."""

    message: str
    previousStatus: Status
    currentStatus: Status
    needsQR: bool


class RecoveredAnswer(msgspec.Struct):
    """Answer of a recovery."""

    success: bool
    data: Recovered


class EngineHealthAnswer(msgspec.Struct):
    """Health of a session's engine."""

    success: bool
    data: dict[str, Any]


class QrDataUrl(msgspec.Struct):
    """A QR code as a data URL."""

    qr: str


class QrDataUrlAnswer(msgspec.Struct):
    """Answer with a QR code."""

    success: bool
    data: QrDataUrl
