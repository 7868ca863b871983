"""The protobuf messages that phones read and write: those of Signal by hand, WhatsApp's from ``wire.messages``."""

from __future__ import annotations

from wasim.wire.messages import schema
from wasim.wire.protobuf import Kind, Schema


def _schema(name: str, /, **fields: tuple[int, Kind] | tuple[int, Kind, bool]) -> Schema:
    rows = {entry[0]: (field, entry[1], len(entry) == 3) for field, entry in fields.items()}
    return Schema(name, rows)


# --- linking
DEVICE_IDENTITY = _schema(
    "ADVDeviceIdentity",
    rawId=(1, "uint"), timestamp=(2, "uint"), keyIndex=(3, "uint"), accountType=(4, "uint"), deviceType=(5, "uint"),
)  # fmt: skip
SIGNED_DEVICE_IDENTITY = _schema(
    "ADVSignedDeviceIdentity",
    details=(1, "bytes"), accountSignatureKey=(2, "bytes"), accountSignature=(3, "bytes"), deviceSignature=(4, "bytes"),
)  # fmt: skip
SEALED_DEVICE_IDENTITY = _schema(
    "ADVSignedDeviceIdentityHMAC", details=(1, "bytes"), hmac=(2, "bytes"), accountType=(3, "uint")
)
KEY_INDEX_LIST = _schema(
    "ADVKeyIndexList",
    rawId=(1, "uint"), timestamp=(2, "uint"), currentIndex=(3, "uint"), validIndexes=(4, "bytes"),
)  # fmt: skip
"""``validIndexes`` is a packed list of varints."""
SIGNED_KEY_INDEX_LIST = _schema(
    "ADVSignedKeyIndexList", details=(1, "bytes"), accountSignature=(2, "bytes"), accountSignatureKey=(3, "bytes")
)

# --- Signal
SIGNAL_MESSAGE = _schema(
    "SignalMessage", ratchetKey=(1, "bytes"), counter=(2, "uint"), previousCounter=(3, "uint"), ciphertext=(4, "bytes")
)
PRE_KEY_MESSAGE = _schema(
    "PreKeySignalMessage",
    preKeyId=(1, "uint"), baseKey=(2, "bytes"), identityKey=(3, "bytes"), message=(4, "bytes"),
    registrationId=(5, "uint"), signedPreKeyId=(6, "uint"),
)  # fmt: skip
SENDER_KEY_MESSAGE = _schema("SenderKeyMessage", id=(1, "uint"), iteration=(2, "uint"), ciphertext=(3, "bytes"))
SENDER_KEY_DISTRIBUTION = _schema(
    "SenderKeyDistributionMessage",
    id=(1, "uint"),
    iteration=(2, "uint"),
    chainKey=(3, "bytes"),
    signingKey=(4, "bytes"),
)

# --- messages
MESSAGE = schema("Message")
POLL_VOTE = schema("Message.PollVoteMessage")
WEB_MESSAGE = schema("WebMessageInfo")

REVOKE, APP_STATE_KEY_SHARE, MESSAGE_EDIT, HISTORY_SYNC_NOTIFICATION = 0, 6, 14, 5
PEER_DATA_OPERATION_REQUEST, PEER_DATA_OPERATION_RESPONSE = 16, 17
"""``ProtocolMessage.type``."""
PLACEHOLDER_MESSAGE_RESEND = 4
"""``PeerDataOperationRequestType``."""

# --- files that are asked for again
SERVER_ERROR_RECEIPT = schema("ServerErrorReceipt")
MEDIA_RETRY = schema("MediaRetryNotification")
MEDIA_RETRY_SUCCESS, MEDIA_RETRY_NOT_FOUND = 1, 2
"""``MediaRetryNotification.result``."""

# --- history
HISTORY = schema("HistorySync")
