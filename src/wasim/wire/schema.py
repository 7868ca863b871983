"""The protobuf messages that phones read and write; field numbers as in Baileys 7.0.0-rc14's ``WAProto``.

Only what the simulator uses stands here; the codec skips the rest.
"""

from __future__ import annotations

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
MESSAGE_KEY = _schema(
    "MessageKey", remoteJid=(1, "string"), fromMe=(2, "bool"), id=(3, "string"), participant=(4, "string")
)
CONTEXT_FIELDS: dict[int, tuple[str, Kind, bool]] = {
    1: ("stanzaId", "string", False),
    2: ("participant", "string", False),
    15: ("mentionedJid", "string", True),
    22: ("isForwarded", "bool", False),
    25: ("expiration", "uint", False),
}
CONTEXT = Schema("ContextInfo", CONTEXT_FIELDS)
TEXT = _schema("ExtendedTextMessage", text=(1, "string"), contextInfo=(17, CONTEXT))
IMAGE = _schema(
    "ImageMessage",
    url=(1, "string"), mimetype=(2, "string"), caption=(3, "string"), fileSha256=(4, "bytes"), fileLength=(5, "uint"),
    height=(6, "uint"), width=(7, "uint"), mediaKey=(8, "bytes"), fileEncSha256=(9, "bytes"), directPath=(11, "string"),
    mediaKeyTimestamp=(12, "uint"), contextInfo=(17, CONTEXT),
)  # fmt: skip
VIDEO = _schema(
    "VideoMessage",
    url=(1, "string"), mimetype=(2, "string"), fileSha256=(3, "bytes"), fileLength=(4, "uint"), seconds=(5, "uint"),
    mediaKey=(6, "bytes"), caption=(7, "string"), fileEncSha256=(11, "bytes"), directPath=(13, "string"),
)  # fmt: skip
AUDIO = _schema(
    "AudioMessage",
    url=(1, "string"), mimetype=(2, "string"), fileSha256=(3, "bytes"), fileLength=(4, "uint"), seconds=(5, "uint"),
    ptt=(6, "bool"), mediaKey=(7, "bytes"), fileEncSha256=(8, "bytes"), directPath=(9, "string"),
)  # fmt: skip
DOCUMENT = _schema(
    "DocumentMessage",
    url=(1, "string"), mimetype=(2, "string"), title=(3, "string"), fileSha256=(4, "bytes"), fileLength=(5, "uint"),
    mediaKey=(7, "bytes"), fileName=(8, "string"), fileEncSha256=(9, "bytes"), directPath=(10, "string"),
    caption=(20, "string"),
)  # fmt: skip
STICKER = _schema(
    "StickerMessage",
    url=(1, "string"), fileSha256=(2, "bytes"), fileEncSha256=(3, "bytes"), mediaKey=(4, "bytes"),
    mimetype=(5, "string"), directPath=(8, "string"), fileLength=(9, "uint"),
)  # fmt: skip
CONTACT = _schema("ContactMessage", displayName=(1, "string"), vcard=(16, "string"))
LOCATION = _schema(
    "LocationMessage",
    degreesLatitude=(1, "double"), degreesLongitude=(2, "double"), name=(3, "string"), address=(4, "string"),
)  # fmt: skip
POLL_OPTION = _schema("PollCreationMessage.Option", optionName=(1, "string"))
POLL = _schema(
    "PollCreationMessage", name=(2, "string"), options=(3, POLL_OPTION, True), selectableOptionsCount=(4, "uint")
)
SEALED_VOTE = _schema("PollEncValue", encPayload=(1, "bytes"), encIv=(2, "bytes"))
POLL_UPDATE = _schema(
    "PollUpdateMessage", pollCreationMessageKey=(1, MESSAGE_KEY), vote=(2, SEALED_VOTE), senderTimestampMs=(4, "uint")
)
POLL_VOTE = _schema("PollVoteMessage", selectedOptions=(1, "bytes", True))
CONTEXT_INFO = _schema("MessageContextInfo", messageSecret=(3, "bytes"))
REACTION = _schema("ReactionMessage", key=(1, MESSAGE_KEY), text=(2, "string"), senderTimestampMs=(4, "uint"))
SHARED_SENDER_KEY = _schema(
    "SenderKeyDistribution", groupId=(1, "string"), axolotlSenderKeyDistributionMessage=(2, "bytes")
)
HISTORY_NOTIFICATION = _schema(
    "HistorySyncNotification",
    syncType=(6, "uint"), chunkOrder=(7, "uint"), progress=(9, "uint"), initialHistBootstrapInlinePayload=(11, "bytes"),
)  # fmt: skip
KEY_ID = _schema("AppStateSyncKeyId", keyId=(1, "bytes"))
KEY_FINGERPRINT = _schema("AppStateSyncKeyFingerprint", rawId=(1, "uint"), currentIndex=(2, "uint"))
KEY_DATA = _schema("AppStateSyncKeyData", keyData=(1, "bytes"), fingerprint=(2, KEY_FINGERPRINT), timestamp=(3, "uint"))
APP_STATE_KEY = _schema("AppStateSyncKey", keyId=(1, KEY_ID), keyData=(2, KEY_DATA))
KEY_SHARE = _schema("AppStateSyncKeyShare", keys=(1, APP_STATE_KEY, True))
KEY_REQUEST = _schema("AppStateSyncKeyRequest", keyIds=(1, KEY_ID, True))
RESEND_REQUEST = _schema("PlaceholderMessageResendRequest", messageKey=(1, MESSAGE_KEY))
PHONE_REQUEST = _schema(
    "PeerDataOperationRequestMessage",
    peerDataOperationRequestType=(1, "uint"), placeholderMessageResendRequest=(5, RESEND_REQUEST, True),
)  # fmt: skip
RESENT = _schema("PlaceholderMessageResendResponse", webMessageInfoBytes=(1, "bytes"))
PHONE_RESULT = _schema("PeerDataOperationResult", placeholderMessageResendResponse=(4, RESENT))
PHONE_RESPONSE = _schema(
    "PeerDataOperationRequestResponseMessage",
    peerDataOperationRequestType=(1, "uint"), stanzaId=(2, "string"),
    peerDataOperationResult=(3, PHONE_RESULT, True),
)  # fmt: skip
PROTOCOL_FIELDS: dict[int, tuple[str, Kind, bool]] = {
    1: ("key", MESSAGE_KEY, False),
    2: ("type", "uint", False),
    6: ("historySyncNotification", HISTORY_NOTIFICATION, False),
    7: ("appStateSyncKeyShare", KEY_SHARE, False),
    8: ("appStateSyncKeyRequest", KEY_REQUEST, False),
    15: ("timestampMs", "uint", False),
    16: ("peerDataOperationRequestMessage", PHONE_REQUEST, False),
    17: ("peerDataOperationRequestResponseMessage", PHONE_RESPONSE, False),
}
PROTOCOL = Schema("ProtocolMessage", PROTOCOL_FIELDS)
DEVICE_SENT_FIELDS: dict[int, tuple[str, Kind, bool]] = {1: ("destinationJid", "string", False)}
DEVICE_SENT = Schema("DeviceSentMessage", DEVICE_SENT_FIELDS)
FUTURE_PROOF_FIELDS: dict[int, tuple[str, Kind, bool]] = {}
FUTURE_PROOF = Schema("FutureProofMessage", FUTURE_PROOF_FIELDS)
MESSAGE = _schema(
    "Message",
    conversation=(1, "string"), senderKeyDistributionMessage=(2, SHARED_SENDER_KEY), imageMessage=(3, IMAGE),
    contactMessage=(4, CONTACT), locationMessage=(5, LOCATION), extendedTextMessage=(6, TEXT),
    documentMessage=(7, DOCUMENT), audioMessage=(8, AUDIO), videoMessage=(9, VIDEO), protocolMessage=(12, PROTOCOL),
    stickerMessage=(26, STICKER), deviceSentMessage=(31, DEVICE_SENT), messageContextInfo=(35, CONTEXT_INFO),
    ephemeralMessage=(40, FUTURE_PROOF), reactionMessage=(46, REACTION), pollCreationMessage=(49, POLL),
    pollUpdateMessage=(50, POLL_UPDATE),
    documentWithCaptionMessage=(53, FUTURE_PROOF), viewOnceMessageV2=(55, FUTURE_PROOF),
    editedMessage=(58, FUTURE_PROOF), pollCreationMessageV3=(64, POLL),
)  # fmt: skip
PROTOCOL_FIELDS[14] = ("editedMessage", MESSAGE, False)  # messages nest in each other
CONTEXT_FIELDS[3] = ("quotedMessage", MESSAGE, False)
DEVICE_SENT_FIELDS[2] = ("message", MESSAGE, False)
FUTURE_PROOF_FIELDS[1] = ("message", MESSAGE, False)

REVOKE, APP_STATE_KEY_SHARE, MESSAGE_EDIT, HISTORY_SYNC_NOTIFICATION = 0, 6, 14, 5
PEER_DATA_OPERATION_REQUEST, PEER_DATA_OPERATION_RESPONSE = 16, 17
"""``ProtocolMessage.type``."""
PLACEHOLDER_MESSAGE_RESEND = 4
"""``PeerDataOperationRequestType``."""
WEB_MESSAGE = _schema(
    "WebMessageInfo",
    key=(1, MESSAGE_KEY), message=(2, MESSAGE), messageTimestamp=(3, "uint"), participant=(5, "string"),
    pushName=(19, "string"),
)  # fmt: skip

# --- files that are asked for again
SERVER_ERROR_RECEIPT = _schema("ServerErrorReceipt", stanzaId=(1, "string"))
MEDIA_RETRY = _schema("MediaRetryNotification", stanzaId=(1, "string"), directPath=(2, "string"), result=(3, "uint"))
MEDIA_RETRY_SUCCESS, MEDIA_RETRY_NOT_FOUND = 1, 2
"""``MediaRetryNotification.result``."""

# --- history
PUSH_NAME = _schema("Pushname", id=(1, "string"), pushname=(2, "string"))
CONVERSATION = _schema(
    "Conversation", id=(1, "string"), unreadCount=(6, "uint"), conversationTimestamp=(12, "uint"), name=(13, "string")
)
HISTORY = _schema(
    "HistorySync",
    syncType=(1, "uint"), conversations=(2, CONVERSATION, True), chunkOrder=(5, "uint"), progress=(6, "uint"),
    pushnames=(7, PUSH_NAME, True),
)  # fmt: skip
