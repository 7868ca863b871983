"""One tree of errors. The class docstring is the sentence that users see unless a better one is given.

`code` is for programs, the sentence for people, `retryable` says whether the same request may succeed later,
`http_status` is what the API answers.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HoldfastError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    http_status: ClassVar[int] = 500

    def __init__(self, sentence: str | None = None, **facts: Any) -> None:
        self.sentence = sentence or (type(self).__doc__ or "").strip().splitlines()[0]
        self.facts = facts
        super().__init__(self.sentence)

    @property
    def in_full(self) -> str:
        """The sentence for who runs this machine, in logs and on the terminal: a file that it names, with its `path`.
        Users of the API are told its name alone.
        """
        path = str(self.facts.get("path", ""))
        return self.sentence.replace(path.rpartition("/")[2], path, 1) if path else self.sentence


# --- asked wrongly ------------------------------------------------------------------------------------------------


class BadRequest(HoldfastError):
    """The request is not valid."""

    code = "bad_request"
    http_status = 400


class InvalidName(BadRequest):
    """A session name may hold letters, digits, '-', '_' and '.', and is 1 to 54 characters long."""

    code = "invalid_name"
    http_status = 422


class InvalidPhone(BadRequest):
    """That is no phone number in international format: digits with the country code, for example +40712345678."""

    code = "invalid_phone"
    http_status = 422


class InvalidChatId(BadRequest):
    """That is no chat id: use a phone number with '@c.us', a group with '@g.us', or '@lid'."""

    code = "invalid_chat_id"
    http_status = 422


class InvalidMessage(BadRequest):
    """The message is not valid."""

    code = "invalid_message"
    http_status = 422


class InvalidTime(BadRequest):
    """That is no time at which a message could be sent, or end."""

    code = "invalid_time"
    http_status = 422


class InvalidMedia(BadRequest):
    """The file is not what it is said to be."""

    code = "invalid_media"
    http_status = 422


class MediaTooLarge(HoldfastError):
    """The file is larger than HOLDFAST_MEDIA_LIMIT allows."""

    code = "media_too_large"
    http_status = 413


class MediaNotFetched(BadRequest):
    """The file could not be fetched from its URL."""

    code = "media_not_fetched"
    http_status = 422


class MediaGone(HoldfastError):
    """The file is not to be had any more."""

    code = "media_gone"
    http_status = 410


class MediaNotFound(HoldfastError):
    """There is no such file."""

    code = "media_not_found"
    http_status = 404


class MediaUnavailable(HoldfastError):
    """The file is not here now; try again a little later."""

    code = "media_unavailable"
    retryable = True
    http_status = 503


class InvalidWebhook(BadRequest):
    """The webhook is not valid."""

    code = "invalid_webhook"
    http_status = 422


class Unauthorized(HoldfastError):
    """The API key is missing or wrong. Send it in the header X-Api-Key."""

    code = "unauthorized"
    http_status = 401


class TooManyWrongKeys(HoldfastError):
    """Too many wrong keys came from this address."""

    code = "too_many_wrong_keys"
    retryable = True
    http_status = 429


class OtherOrigin(HoldfastError):
    """Another origin's page made this request. Send the API key; behind a proxy set HOLDFAST_PUBLIC_URL."""

    code = "other_origin"
    http_status = 403


class KeyNeeded(HoldfastError):
    """The dashboard's cookie does not open this, as any page could link to it. Send the API key in X-Api-Key."""

    code = "key_needed"
    http_status = 403


class SessionNotFound(HoldfastError):
    """There is no such session."""

    code = "session_not_found"
    http_status = 404


class MessageNotFound(HoldfastError):
    """There is no such message."""

    code = "message_not_found"
    http_status = 404


class GroupNotFound(HoldfastError):
    """WhatsApp knows no such group."""

    code = "group_not_found"
    http_status = 404


class NotAllowed(HoldfastError):
    """WhatsApp does not let this account do that."""

    code = "not_allowed"
    http_status = 403


class DeliveryNotFound(HoldfastError):
    """There is no such delivery: the event was delivered, or its webhook is gone."""

    code = "delivery_not_found"
    http_status = 404


class AccountNotFound(HoldfastError):
    """There is no such account. Add it with POST /api/whatsapp/add-account."""

    code = "account_not_found"
    http_status = 404


class AccountTaken(HoldfastError):
    """The account belongs to another company, user or phone number."""

    code = "account_taken"
    http_status = 409


class SessionExists(HoldfastError):
    """A session of that name exists already. Use PUT to update it."""

    code = "session_exists"
    http_status = 422


class IdempotencyConflict(HoldfastError):
    """That Idempotency-Key was used for another request. Use a new key for a new message."""

    code = "idempotency_conflict"
    http_status = 409


class DuplicateMessageId(HoldfastError):
    """A message with that id was accepted before."""

    code = "duplicate_message_id"
    http_status = 409


class TooLate(HoldfastError):
    """Too late to cancel: the message is being sent, or was."""

    code = "too_late"
    http_status = 409


class NotOnWhatsApp(BadRequest):
    """This phone number is not on WhatsApp."""

    code = "not_on_whatsapp"
    http_status = 422


class Refused(HoldfastError):
    """WhatsApp refused it, and would again."""

    code = "refused"
    http_status = 422


class WrongNumber(HoldfastError):
    """This session belongs to another number. Link the same number, or confirm that it is to change."""

    code = "another_number"
    http_status = 409


class SessionRunning(HoldfastError):
    """The session is running. Stop it first."""

    code = "session_running"
    http_status = 409


class WrongStatus(HoldfastError):
    """Session status is not as expected. Try again later or restart the session"""

    code = "wrong_status"
    retryable = True
    http_status = 422


# --- not now --------------------------------------------------------------------------------------------------


class NotConnected(HoldfastError):
    """The session has no connection to WhatsApp now; nothing was sent."""

    code = "not_connected"
    retryable = True
    http_status = 503


class RefusedForNow(NotConnected):
    """WhatsApp cannot do it now; nothing was sent. It may be granted a little later."""

    code = "refused_for_now"


class OtherAddress(NotConnected):
    """WhatsApp spells the address of that chat otherwise; nothing was sent. `address` is in the facts."""

    code = "other_address"


class SendInDoubt(HoldfastError):
    """The connection ended before WhatsApp acknowledged the message; it is tried again under the same id."""

    code = "send_in_doubt"
    retryable = True
    http_status = 503


class PairingRefused(HoldfastError):
    """WhatsApp refused the pairing code request."""

    code = "pairing_refused"
    http_status = 422


class CallFailed(HoldfastError):
    """WhatsApp did not do what was asked."""

    code = "call_failed"
    http_status = 502


class HeldElsewhere(HoldfastError):
    """PASSIVE mode: another instance holds lock; retry shortly"""

    code = "passive"
    retryable = True
    http_status = 503


# --- our own house --------------------------------------------------------------------------------------------


class EngineUnavailable(HoldfastError):
    """The engine could not be started."""

    code = "engine_unavailable"
    retryable = True
    http_status = 503


class StaleEpoch(HoldfastError):
    """Another holder has taken this session over; nothing was written."""

    code = "stale_epoch"
    http_status = 503


class StoreUnavailable(HoldfastError):
    """The database cannot be reached; whether the last write happened is unknown."""

    code = "store_unavailable"
    retryable = True
    http_status = 503


class StoreFull(StoreUnavailable):
    """The disk under the database is full; nothing is stored until there is room again."""

    code = "store_full"
    http_status = 507


class StoreReadOnly(StoreUnavailable):
    """The database takes no writes now."""

    code = "store_read_only"


class StoreDamaged(StoreUnavailable):
    """The database file is damaged. Restore it from a backup, or move it away to start afresh."""

    code = "store_damaged"
    retryable = False
    http_status = 500


class StoreNewer(HoldfastError):
    """The database was written by a newer Holdfast. Start that version, or restore an older backup."""

    code = "store_newer"


class DataDirNotWritable(StoreReadOnly):
    """The data folder cannot be written. Set HOLDFAST_DATA_DIR to a folder of this user."""

    code = "data_dir_not_writable"


class InvalidSettings(HoldfastError):
    """A setting is not valid."""

    code = "invalid_settings"


class WrongWhatsApp(InvalidSettings):
    """The stored credentials belong to a different WhatsApp than the configured root key."""

    code = "wrong_whatsapp"
    http_status = 409


def from_code(code: str, sentence: str, facts: dict[str, Any]) -> HoldfastError:
    """The error that another instance told by its code; for a code that this version knows not, `HoldfastError`."""
    found = _by_code(HoldfastError).get(code, HoldfastError)
    return found(sentence or None, **facts)


def _by_code(kind: type[HoldfastError]) -> dict[str, type[HoldfastError]]:
    known = {kind.code: kind}
    for child in kind.__subclasses__():
        known = _by_code(child) | known if child.code == kind.code else known | _by_code(child)
    return known
