"""How a consumer's receiver is, as its answers tell: whether it is down, when to probe it, and when it is back."""

from __future__ import annotations

from holdfast.domain.delivery import Refusal, Rules, is_away, probe_in
from holdfast.ports.clock import Clock

DOWN = 3
"""Refusals in a row after which a receiver is taken for down, whatever they say."""


class ReceiverHealth:
    """What the answers in a row say. `failing`: what an earlier owner left undelivered may wait for its return."""

    def __init__(self, clock: Clock, rules: Rules, *, failing: bool) -> None:
        self._clock = clock
        self._rules = rules
        self._asked_at = self._down_since = clock.boot()
        self._released_at = float("-inf")
        self._away = False
        self.refusals = DOWN if failing else 0
        """In a row."""
        self.failing_since: float | None = None
        """Since when it has taken nothing of what it was given, on the boot clock."""

    @property
    def is_down(self) -> bool:
        """Whether it refuses whatever comes, or nobody answers for it."""
        return self._away or self.refusals >= DOWN

    @property
    def refuses_all(self) -> bool:
        """Whether it refused several events in a row."""
        return self.refusals >= DOWN

    def refused(self, refusal: Refusal, failing_for: float = 0.0) -> None:
        """It did not take an event, which has been refused for so many seconds. One that is refused for long says
        nothing of the receiver.
        """
        now = self._clock.boot()
        if not self.is_down:
            self._down_since = now - failing_for
        if self.failing_since is None:
            self.failing_since = now
        self.refusals += 1
        self._away = self._away or (is_away(refusal) and failing_for < self._rules.probing)
        self._asked_at = now

    def took(self) -> bool:
        """It took an event. Whether it is back, so that what waits for it is released: an event on which a receiver
        that is well breaks off each time does that once in a while only.
        """
        now, refused_all, away = self._clock.boot(), self.refuses_all, self._away
        self.refusals, self.failing_since, self._away, self._asked_at = 0, None, False, now
        back = refused_all or (away and now - self._released_at >= self._rules.probe)
        if back:
            self._released_at = now
        return back

    def probe_in(self) -> float | None:
        """Seconds until it is to be asked again though nothing is due; None: it need not be."""
        if not self.is_down:
            return None
        now = self._clock.boot()
        return probe_in(now - self._down_since, now - self._asked_at, self._rules)

    def probed(self) -> None:
        """It is being asked."""
        self._asked_at = self._clock.boot()
