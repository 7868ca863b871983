"""What every request that sends may say beside WAHA's fields: when, until when, whether it may wait for a person."""

from __future__ import annotations

import msgspec

from holdfast.domain.terms import Terms, instant


class SendOptions(msgspec.Struct, kw_only=True):
    """Times are Unix seconds, or ISO 8601 with an offset.

    `send_at`: not before. `expires_at`, or `expires_in` (seconds from `send_at`, or from now): not after. `queue`:
    accept it even while the session needs a QR code or is stopped, and send it once it works.
    """

    send_at: float | str | None = None
    expires_at: float | str | None = None
    expires_in: float | None = None
    queue: bool | None = None


def terms_of(data: SendOptions) -> Terms:
    """The options, read. Raises `InvalidTime`."""
    return Terms(
        send_at=None if data.send_at is None else instant(data.send_at, "send_at"),
        expires_at=None if data.expires_at is None else instant(data.expires_at, "expires_at"),
        expires_in=data.expires_in,
        queue=data.queue,
    )
