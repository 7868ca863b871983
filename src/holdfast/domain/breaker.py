"""When a remote server that fails is left alone, and when it is asked again (pure).

Closed: requests pass, and failures in a row are counted. Open: none passes for a while. Then half open: one request is
the probe, whose answer closes it or opens it anew. An answer that blames the request (4xx) is no failure: the server
is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class BreakerTimes:
    """`failures` in a row open it; `rest`: how long it stays open, in seconds."""

    failures: int = 5
    rest: float = 60.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """Instants are seconds of the boot clock. `opened_at`: None while closed."""

    failures: int = 0
    opened_at: float | None = None
    probing: bool = False
    """Half open, and the one request that may pass is under way."""

    def is_open(self, now: float, times: BreakerTimes) -> bool:
        """Whether a request would be refused now."""
        return self.opened_at is not None and (self.probing or now - self.opened_at < times.rest)

    def word(self, now: float, times: BreakerTimes) -> str:
        """`closed`, `open` or `half_open`, as users are told."""
        if self.opened_at is None:
            return "closed"
        return "half_open" if self.probing or not self.is_open(now, times) else "open"

    def passing(self) -> Breaker:
        """A request goes out: while not closed it is the probe."""
        return self if self.opened_at is None else replace(self, probing=True)

    def succeeded(self) -> Breaker:
        """The server answered."""
        return Breaker()

    def failed(self, now: float, times: BreakerTimes) -> Breaker:
        """It did not, or with an error of its own. A failed probe opens it for another rest."""
        failures = self.failures + 1
        if self.probing or (self.opened_at is None and failures >= times.failures):
            return Breaker(failures, now)
        return replace(self, failures=failures)

    def given_up(self) -> Breaker:
        """The request was cancelled before it told anything: another one may be the probe."""
        return replace(self, probing=False)
