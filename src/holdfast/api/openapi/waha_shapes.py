"""Shapes of the answers that WAHA's clients know: sessions, messages, chats, groups."""

# ruff: noqa: N815 - names of WAHA's fields
from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal[
    "STOPPED", "STARTING", "SCAN_QR_CODE", "PASSKEY_REQUIRED", "PASSKEY_CONFIRMATION_REQUIRED", "WORKING", "FAILED"
]
AckName = Literal["ERROR", "PENDING", "SERVER", "DEVICE", "READ", "PLAYED"]
OutboxState = Literal["queued", "sending", "sent", "delivered", "read", "failed", "expired", "cancelled"]


class Pong(msgspec.Struct):
    """Answer of `/ping`."""

    message: str


class Ready(msgspec.Struct):
    """Whether load balancers may send requests to this instance."""

    ready: bool


class Health(msgspec.Struct):
    """Health of the parts, in the form of Terminus."""

    status: Literal["ok", "error"]
    info: dict[str, Any]
    error: dict[str, Any]
    details: dict[str, Any]


class Worker(msgspec.Struct):
    """The instance that answers."""

    id: str | None


class Version(msgspec.Struct):
    """WAHA's version whose API is spoken, and Holdfast's own."""

    version: str
    engine: str
    tier: str
    browser: str | None
    platform: str
    worker: Worker
    holdfast: str


class Uptime(msgspec.Struct):
    """Since when the instance runs."""

    startTimestamp: int
    uptime: int
    worker: Worker


class Me(msgspec.Struct):
    """The linked account."""

    id: str
    pushName: str


class EngineName(msgspec.Struct):
    """The engine of WAHA's whose shapes are spoken."""

    engine: str


class SessionFacts(msgspec.Struct):
    """What Holdfast knows of a session beyond WAHA's fields."""

    reason: str
    message: str
    since: float | None
    verified_at: float | None
    next_attempt_at: float | None
    attempt: int
    needs_qr: bool
    owner: str | None
    epoch: int
    engine: str
    server: str | None


class SessionDTO(msgspec.Struct):
    """A session, its status and its configuration."""

    name: str
    status: Status
    config: dict[str, Any]


class SessionInfo(SessionDTO):
    """A session in full."""

    me: Me | None
    engine: EngineName
    assignedWorker: str | None
    presence: str | None
    timestamps: dict[str, int | None]
    holdfast: SessionFacts


class SessionStatus(SessionFacts):
    """A session's status in full."""

    name: str
    status: Status


class MovedSession(SessionStatus):
    """A session that moved to another engine or server."""

    note: str


class QrPicture(msgspec.Struct):
    """A QR code as a picture in base64."""

    mimetype: str
    data: str


class QrText(msgspec.Struct):
    """The text of a QR code."""

    value: str


class PairingCode(msgspec.Struct):
    """A code to type on the phone."""

    code: str


class Location(msgspec.Struct):
    """A place in a message."""

    latitude: str
    longitude: str
    live: bool
    name: str | None
    address: str | None


class ReplyTo(msgspec.Struct):
    """The message that a reply quotes."""

    id: str
    participant: str | None
    body: str | None
    hasMedia: bool


class MessageFile(msgspec.Struct):
    """A message's file."""

    url: str | None
    mimetype: str | None
    filename: str | None


class Message(msgspec.Struct):
    """A message."""

    id: str
    timestamp: int
    from_: str = msgspec.field(name="from")
    fromMe: bool
    source: str
    to: str | None
    participant: str | None
    body: str | None
    hasMedia: bool
    media: MessageFile | None
    mediaUrl: str | None
    ack: int
    ackName: AckName
    location: Location | None
    vCards: list[str] | None
    replyTo: ReplyTo | None
    data: dict[str, Any] = msgspec.field(name="_data")


class OutboxFacts(msgspec.Struct):
    """Where a message stands on its way out."""

    id: str
    state: OutboxState
    attempts: int
    in_doubt: bool
    error: int
    message: str
    send_at: float | None
    expires_at: float


class SentMessage(Message):
    """An accepted message, as chats show it, and where it stands."""

    holdfast: OutboxFacts


class WaitsFor(msgspec.Struct):
    """Why a message waits."""

    code: str
    message: str
    until: float | None


class OutgoingMessage(OutboxFacts):
    """A message of the outbox, without its content."""

    seq: int
    session: str
    chat: str
    type: str
    created_at: float
    updated_at: float
    idempotency_key: str | None
    waits_for: WaitsFor | None


class OutboxStep(msgspec.Struct):
    """A state that a message was in."""

    state: OutboxState
    at: float
    attempts: int
    error: int
    message: str


class MessageStory(OutgoingMessage):
    """A message of the outbox, and every state that it was in."""

    story: list[OutboxStep]


class Success(msgspec.Struct):
    """It was done."""

    success: bool


class NumberStatus(msgspec.Struct, omit_defaults=True):
    """Whether a number is on WhatsApp."""

    numberExists: bool
    chatId: str = ""
    pn: str = ""


class Chat(msgspec.Struct):
    """A chat and its last message."""

    id: str
    name: str | None
    picture: str | None
    conversationTimestamp: int
    unreadCount: int
    lastMessage: Message | None
    chat: dict[str, Any] = msgspec.field(name="_chat")


class Contact(msgspec.Struct):
    """A contact."""

    id: str
    number: str
    lid: str | None
    name: str | None
    pushname: str | None


class ExportedContact(msgspec.Struct):
    """A contact of the export."""

    id: str
    phone: str
    lid: str
    name: str
    push_name: str


class Count(msgspec.Struct):
    """How many there are."""

    count: int


class GroupParticipant(msgspec.Struct):
    """A member of a group, and the role."""

    id: str
    role: str


class Group(msgspec.Struct):
    """A group."""

    id: str
    subject: str
    description: str
    membersCanAddNewMember: bool
    membersCanSendMessages: bool
    newMembersApprovalRequired: bool
    owner: str | None
    size: int
    creation: int | None
    participants: list[GroupParticipant] = []


class MemberChange(msgspec.Struct):
    """What WhatsApp says of a member's change: 200, 403, 404, 408 or 409."""

    id: str
    status: int | str


class GroupId(msgspec.Struct):
    """The group that was joined."""

    id: str


class AdminsOnlySetting(msgspec.Struct):
    """Whether only admins may."""

    adminsOnly: bool
