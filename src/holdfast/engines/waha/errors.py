"""What asking a WAHA server can come to; all are sentences that name the server and the way out."""

from __future__ import annotations

from typing import Any

from holdfast.domain.errors import HoldfastError


class WahaUnavailable(HoldfastError):
    """The WAHA server does not answer; what is sent meanwhile waits in the outbox."""

    code = "waha_unavailable"
    retryable = True
    http_status = 503

    def __init__(self, sentence: str | None = None, *, asked: bool = False, **facts: Any) -> None:
        super().__init__(sentence, **facts)
        self.asked = asked
        """Whether the request may have been carried out all the same."""


class WahaBusy(HoldfastError):
    """Too many requests wait for the WAHA server already; try again in a moment."""

    code = "waha_busy"
    retryable = True
    http_status = 503


class WahaRefused(HoldfastError):
    """The WAHA server refused the request."""

    code = "waha_refused"
    http_status = 502

    def __init__(self, sentence: str | None = None, *, status: int = 0, body: Any = None, **facts: Any) -> None:
        super().__init__(sentence, **facts)
        self.status = status
        self.body = body

    @property
    def not_working(self) -> bool:
        """Whether WAHA says that the session's status is not as the request needs it."""
        return self.status == 422 and isinstance(self.body, dict) and "expected" in self.body


class WahaUnsuitable(HoldfastError):
    """What answers there is no WAHA that Holdfast can use."""

    code = "waha_unsuitable"
    http_status = 502
