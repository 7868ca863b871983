"""Every kind of content that a WhatsApp message can have, and what each is to a user (pure).

One table holds all fields of `proto.Message`, another all of `ProtocolMessage.Type`; a test compares them with the
protobuf of the engine, so that a new release cannot bring a kind that nobody has thought about.

Source: WAProto of Baileys 7.0.0-rc14.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Treatment(Enum):
    """What a field of a message is to a user."""

    MESSAGE = "message"
    """A message that a person wrote: it is stored, and emitted as `message`."""
    UPDATE = "update"
    """Changes or adds to another message: an edit, a deletion, a reaction, a vote, a pin."""
    SYSTEM = "system"
    """Nothing that one answers, but the chat shows it: emitted as `message.system`."""
    PLACEHOLDER = "placeholder"
    """A message that only the phone shows: it is stored, and emitted as `message.waiting`."""
    WRAPPER = "wrapper"
    """Holds another message, which is what counts."""
    IGNORED = "ignored"
    """Between devices, or a part of another message."""


_M, _U, _S, _P, _W, _I = (
    Treatment.MESSAGE, Treatment.UPDATE, Treatment.SYSTEM, Treatment.PLACEHOLDER, Treatment.WRAPPER, Treatment.IGNORED,
)  # fmt: skip

MESSAGE_TYPES: Mapping[str, Treatment] = {
    "conversation": _M,
    "senderKeyDistributionMessage": _I,
    "imageMessage": _M,
    "contactMessage": _M,
    "locationMessage": _M,
    "extendedTextMessage": _M,
    "documentMessage": _M,
    "audioMessage": _M,
    "videoMessage": _M,
    "call": _I,
    "chat": _I,
    "protocolMessage": _U,  # by its type: `PROTOCOL_TYPES`
    "contactsArrayMessage": _M,
    "highlyStructuredMessage": _M,
    "fastRatchetKeySenderKeyDistributionMessage": _I,
    "sendPaymentMessage": _M,
    "liveLocationMessage": _M,
    "requestPaymentMessage": _M,
    "declinePaymentRequestMessage": _S,
    "cancelPaymentRequestMessage": _S,
    "templateMessage": _M,
    "stickerMessage": _M,
    "groupInviteMessage": _M,
    "templateButtonReplyMessage": _M,
    "productMessage": _M,
    "deviceSentMessage": _W,
    "messageContextInfo": _I,
    "listMessage": _M,
    "viewOnceMessage": _W,
    "orderMessage": _M,
    "listResponseMessage": _M,
    "ephemeralMessage": _W,
    "invoiceMessage": _M,
    "buttonsMessage": _M,
    "buttonsResponseMessage": _M,
    "paymentInviteMessage": _S,
    "interactiveMessage": _M,
    "reactionMessage": _U,
    "stickerSyncRmrMessage": _I,
    "interactiveResponseMessage": _M,
    "pollCreationMessage": _M,
    "pollUpdateMessage": _U,
    "keepInChatMessage": _S,
    "documentWithCaptionMessage": _W,
    "requestPhoneNumberMessage": _S,
    "viewOnceMessageV2": _W,
    "encReactionMessage": _U,
    "editedMessage": _W,
    "viewOnceMessageV2Extension": _W,
    "pollCreationMessageV2": _M,
    "scheduledCallCreationMessage": _M,
    "groupMentionedMessage": _W,
    "pinInChatMessage": _U,
    "pollCreationMessageV3": _M,
    "scheduledCallEditMessage": _S,
    "ptvMessage": _M,
    "botInvokeMessage": _W,
    "callLogMesssage": _S,
    "messageHistoryBundle": _I,  # past messages for a new member of a group: they come as history
    "encCommentMessage": _U,
    "bcallMessage": _S,
    "lottieStickerMessage": _W,
    "eventMessage": _M,
    "encEventResponseMessage": _U,
    "commentMessage": _M,
    "newsletterAdminInviteMessage": _M,
    "placeholderMessage": _P,
    "secretEncryptedMessage": _U,
    "albumMessage": _I,  # announces how many pictures follow; each of them names it
    "eventCoverImage": _I,  # the picture of an event that is a message of its own
    "stickerPackMessage": _M,
    "statusMentionMessage": _W,
    "pollResultSnapshotMessage": _M,
    "pollCreationOptionImageMessage": _I,  # the picture of an option of a poll that is a message of its own
    "associatedChildMessage": _W,
    "groupStatusMentionMessage": _W,
    "pollCreationMessageV4": _W,
    "statusAddYours": _W,
    "groupStatusMessage": _W,
    "richResponseMessage": _M,
    "statusNotificationMessage": _S,
    "limitSharingMessage": _W,
    "botTaskMessage": _W,
    "questionMessage": _W,
    "messageHistoryNotice": _S,
    "groupStatusMessageV2": _W,
    "botForwardedMessage": _W,
    "statusQuestionAnswerMessage": _M,
    "questionReplyMessage": _W,
    "questionResponseMessage": _M,
    "statusQuotedMessage": _M,
    "statusStickerInteractionMessage": _S,
    "pollCreationMessageV5": _M,
    "newsletterFollowerInviteMessageV2": _M,
    "pollResultSnapshotMessageV3": _M,
}

PROTOCOL_TYPES: Mapping[str, Treatment] = {
    "REVOKE": _U,
    "EPHEMERAL_SETTING": _S,
    "EPHEMERAL_SYNC_RESPONSE": _I,
    "HISTORY_SYNC_NOTIFICATION": _I,
    "APP_STATE_SYNC_KEY_SHARE": _I,
    "APP_STATE_SYNC_KEY_REQUEST": _I,
    "MSG_FANOUT_BACKFILL_REQUEST": _I,
    "INITIAL_SECURITY_NOTIFICATION_SETTING_SYNC": _I,
    "APP_STATE_FATAL_EXCEPTION_NOTIFICATION": _I,
    "SHARE_PHONE_NUMBER": _S,
    "MESSAGE_EDIT": _U,
    "PEER_DATA_OPERATION_REQUEST_MESSAGE": _I,
    "PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE": _I,
    "REQUEST_WELCOME_MESSAGE": _I,
    "BOT_FEEDBACK_MESSAGE": _I,
    "MEDIA_NOTIFY_MESSAGE": _I,
    "CLOUD_API_THREAD_CONTROL_NOTIFICATION": _S,
    "LID_MIGRATION_MAPPING_SYNC": _I,
    "REMINDER_MESSAGE": _I,
    "BOT_MEMU_ONBOARDING_MESSAGE": _I,
    "STATUS_MENTION_MESSAGE": _S,
    "STOP_GENERATION_MESSAGE": _I,
    "LIMIT_SHARING": _S,
    "AI_PSI_METADATA": _I,
    "AI_QUERY_FANOUT": _I,
    "GROUP_MEMBER_LABEL_CHANGE": _S,
}

PARTS_OF_ANOTHER = frozenset(
    {
        "EVENT_COVER_IMAGE", "HD_VIDEO_DUAL_UPLOAD", "HD_IMAGE_DUAL_UPLOAD", "HEVC_VIDEO_DUAL_UPLOAD", "MEDIA_POLL",
        "MOTION_PHOTO", "STICKER_ANNOTATION",
    }
)  # fmt: skip
"""Values of `MessageAssociation.AssociationType` whose message the chat shows inside its parent, not by itself."""
ALBUM = "MEDIA_ALBUM"
"""A picture or video of an album: a message of its own, shown together with the others."""

WRAPPERS = tuple(name for name, treatment in MESSAGE_TYPES.items() if treatment is _W and name != "deviceSentMessage")


def system_name(field: str) -> str:
    """The name under which `message.system` tells of a field or a protocol type: `payment_invite`, `limit_sharing`."""
    if field.isupper():
        return field.lower()
    plain = field.removesuffix("Message").removesuffix("Messsage")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in plain)
