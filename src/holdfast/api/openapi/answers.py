"""Which operation answers with which shape, for the API's description.

The handlers build these answers as dicts; the test suite compares real answers with the shapes.
"""

from __future__ import annotations

from typing import Any

from holdfast.api.openapi.own_shapes import (
    AccountQr,
    Accounts,
    AccountStatus,
    AddedAccount,
    Alert,
    ConnectedAccount,
    Delivery,
    EngineHealthAnswer,
    FoundMessage,
    Instance,
    QrDataUrlAnswer,
    RecoveredAnswer,
    RecoveryStatusAnswer,
    Replayed,
    SentByAccount,
    TimelineEntry,
)
from holdfast.api.openapi.waha_shapes import (
    AdminsOnlySetting,
    Chat,
    Contact,
    Count,
    ExportedContact,
    Group,
    GroupId,
    GroupParticipant,
    Health,
    Me,
    MemberChange,
    Message,
    MessageStory,
    MovedSession,
    NumberStatus,
    OutgoingMessage,
    PairingCode,
    Pong,
    QrPicture,
    QrText,
    Ready,
    SentMessage,
    SessionDTO,
    SessionInfo,
    SessionStatus,
    Success,
    Uptime,
    Version,
)

SENT = {201: SentMessage, 202: SentMessage}
_G = "/api/{session}/groups"
_S = "/api/sessions/{session}"
_H = "/api/holdfast"

JSON_ANSWERS: dict[str, dict[int, Any]] = {
    "GET /ping": {200: Pong},
    "GET /api/status": {200: Ready, 503: Ready},
    "GET /health": {200: Health, 503: Health},
    "GET /api/version": {200: Version},
    "GET /api/server/version": {200: Version},
    "GET /api/server/status": {200: Uptime},
    "GET /api/sessions": {200: list[SessionInfo]},
    "POST /api/sessions": {201: SessionDTO},
    f"GET {_S}": {200: SessionInfo},
    f"PUT {_S}": {200: SessionDTO},
    f"DELETE {_S}": {200: None},
    f"GET {_S}/me": {200: Me | None},
    **{f"POST {_S}/{verb}": {201: SessionDTO} for verb in ("start", "stop", "restart", "logout")},
    "POST /api/sessions/start": {201: SessionDTO},
    "POST /api/sessions/stop": {201: None},
    "POST /api/sessions/logout": {201: None},
    "GET /api/{session}/auth/qr": {200: (QrPicture, QrText)},
    "POST /api/{session}/auth/request-code": {201: PairingCode},
    **{f"POST /api/{verb}": SENT for verb in ("sendText", "sendImage", "sendFile", "sendVoice", "sendVideo")},
    "GET /api/sendText": {200: SentMessage, **SENT},
    **{f"POST /api/{verb}": {201: Success} for verb in ("sendSeen", "startTyping", "stopTyping")},
    "GET /api/contacts/check-exists": {200: NumberStatus},
    "GET /api/contacts/all": {200: list[Contact]},
    "GET /api/{session}/chats": {200: list[Chat]},
    "GET /api/{session}/chats/overview": {200: list[Chat]},
    "GET /api/{session}/chats/{chat_id}/messages": {200: list[Message]},
    "GET /api/{session}/chats/{chat_id}/messages/{message_id}": {200: Message},
    f"GET {_G}": {200: list[Group]},
    f"POST {_G}": {201: Group},
    f"GET {_G}/count": {200: Count},
    f"POST {_G}/refresh": {200: Success},
    f"POST {_G}/join": {200: GroupId},
    f"GET {_G}/{{id}}": {200: Group},
    f"GET {_G}/{{id}}/participants": {200: list[GroupParticipant]},
    f"GET {_G}/{{id}}/participants/v2": {200: list[GroupParticipant]},
    **{
        f"POST {_G}/{{id}}/{verb}": {200: list[MemberChange]}
        for verb in ("participants/add", "participants/remove", "admin/promote", "admin/demote")
    },
    **{f"PUT {_G}/{{id}}/{what}": {200: Success} for what in ("subject", "description")},
    f"POST {_G}/{{id}}/leave": {200: Success},
    **{
        f"{method} {_G}/{{id}}/settings/security/{what}-admin-only": {200: shape}
        for what in ("messages", "info")
        for method, shape in (("GET", AdminsOnlySetting), ("PUT", Success))
    },
    f"GET {_H}/instances": {200: list[Instance]},
    f"GET {_H}/alerts": {200: list[Alert]},
    f"GET {_H}/sessions": {200: list[SessionInfo]},
    f"GET {_H}/sessions/{{session}}": {200: SessionStatus},
    f"GET {_H}/sessions/{{session}}/timeline": {200: list[TimelineEntry]},
    f"POST {_H}/sessions/{{session}}/pair": {200: SessionStatus},
    f"POST {_H}/sessions/{{session}}/clear-auth": {200: SessionStatus},
    f"POST {_H}/sessions/{{session}}/engine": {200: MovedSession},
    f"GET {_H}/sessions/{{session}}/contacts": {200: list[ExportedContact]},
    f"GET {_H}/search": {200: list[FoundMessage]},
    f"GET {_H}/sessions/{{session}}/search": {200: list[FoundMessage]},
    f"GET {_H}/sessions/{{session}}/outbox": {200: list[OutgoingMessage]},
    f"GET {_H}/messages/{{message_id}}": {200: MessageStory},
    f"DELETE {_H}/messages/{{message_id}}": {200: OutgoingMessage},
    f"GET {_H}/deliveries": {200: list[Delivery]},
    f"POST {_H}/deliveries/{{delivery_id}}/replay": {200: Delivery},
    f"POST {_H}/deliveries/replay": {200: Replayed},
    f"POST {_H}/waha/{{server}}/events": {200: Success},
    "GET /api/whatsapp/status": {200: AccountStatus},
    "POST /api/whatsapp/connect": {200: ConnectedAccount},
    "POST /api/whatsapp/add-account": {200: AddedAccount, 201: AddedAccount},
    "GET /api/whatsapp/accounts": {200: Accounts},
    "POST /api/whatsapp/regenerate-qr": {200: AccountQr},
    "POST /api/whatsapp/send-message": {200: SentByAccount, 202: SentByAccount},
    "GET /api/v1/waha/status": {200: RecoveryStatusAnswer},
    "POST /api/v1/waha/auto-recover": {200: RecoveredAnswer},
    "POST /api/v1/waha/restart": {200: RecoveredAnswer},
    "GET /api/v1/waha/health": {200: EngineHealthAnswer},
    "GET /api/v1/waha/qr": {200: QrDataUrlAnswer},
}
"""What each operation answers as JSON, by status. A tuple: one of these; None: an empty body."""

OTHER_ANSWERS: dict[str, dict[str, str]] = {
    "GET /api/{session}/auth/qr": {"image/png": "The QR code as a picture."},
    "GET /api/files/{session}/{name}": {"*/*": "The file, under its own media type."},
    f"GET {_G}/{{id}}/invite-code": {"text/plain": "The invitation's link."},
    f"POST {_G}/{{id}}/invite-code/revoke": {"text/plain": "The new invitation's link."},
    f"GET {_H}/sessions/{{session}}/export": {
        "application/x-ndjson": "A line of JSON for each contact, chat and message."
    },
    f"GET {_H}/sessions/{{session}}/contacts": {"text/csv": "With a head line.", "text/vcard": "vCard 3.0."},
    f"GET {_H}/events": {"text/event-stream": "An event for each line of the event log; `id` is where to go on."},
    "GET /metrics": {"text/plain": "Prometheus' text format."},
}
"""What operations answer in other media types than JSON, with a sentence for each."""
