"""When an event that a receiver refused is tried again, whom it holds up meanwhile, and when it is given up (pure).

Events of one chat reach a receiver in order. One that is refused holds the next ones of its chat, for `Rules.hold` at
most. Then the next one is tried behind it; if that is taken, the receiver is well and only the event is not: it is
*parked*, tried on in the background, and the event that overtook it says so in a gap marker. A receiver that takes
nothing at all is overtaken by nothing: order is kept through its outage. What is refused for `Rules.give_up` is *dead*:
kept, and delivered again only when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from holdfast.domain.rows import Undelivered

GONE = 410
AWAY = frozenset({0, 502, 503, 504, 521, 522, 523, 530})
"""Statuses that say that nobody answers for the receiver: 0 is no answer at all, the others come from proxies."""
JITTER = 0.2
DAY = 86_400.0
IN_VAIN = 5
"""Events of one chat that are tried though each was refused for too long: a receiver that was down takes the first of
them, so that none is overtaken; one that is still down is not asked for all of them.
"""
SOON = 0.001
"""Seconds that are not waited for: they may be less than a clock shows."""
POLICIES = ("constant", "linear", "exponential")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after how many seconds, what was refused is tried again: WAHA's `retries` of a webhook.

    `attempts` counts the tries after the first; None: until `Rules.give_up`. It is about an event that a receiver
    refuses: one that is away is probed (`Rules.probe`), and gives nothing up, for `Rules.probing`.
    """

    policy: str = "exponential"
    delay: float = 1.0
    attempts: int | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any] | None) -> Retries | None:
        """From a webhook's configuration; None if it names none. Missing fields are WAHA's defaults: 15 attempts, one
        every 2 s. Raises `ValueError` with what is wrong.
        """
        if not config:
            return None
        policy, delay, attempts = (config.get(name) for name in ("policy", "delaySeconds", "attempts"))
        policy = "constant" if policy is None else policy
        delay, attempts = (2 if delay is None else delay), (15 if attempts is None else attempts)
        if policy not in POLICIES:
            raise ValueError(f"retries.policy must be one of {', '.join(POLICIES)}")
        if not _is_number(delay) or not 0 <= delay <= DAY:
            raise ValueError("retries.delaySeconds must be a number of seconds, at most a day")
        if not _is_number(attempts) or attempts != int(attempts) or not 0 <= attempts <= 1_000_000:
            raise ValueError("retries.attempts must be a whole number, not negative")
        return cls(policy, float(delay), int(attempts))

    def wait(self, attempt: int, rand: float, cap: float) -> float:
        """Seconds after refusal number `attempt` (from 1). `rand` in [0, 1) makes them up to 20 % longer or shorter;
        where a configuration names the delay, only longer.
        """
        grown = {"constant": 1.0, "linear": float(attempt)}.get(self.policy, float(2 ** min(attempt - 1, 30)))
        if self.attempts is None:
            return min(self.delay * grown, cap) * (1 - JITTER + 2 * JITTER * rand)
        return min(self.delay * grown, DAY) * (1 + JITTER * rand)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Rules:
    """Seconds. `hold`: how long a refused event holds its chat. `give_up`: for how long it is tried. `cap`: the longest
    delay of our own. `pause`: the longest that a receiver may ask for by `Retry-After`.
    """

    hold: float = 900.0
    give_up: float = 3 * DAY
    cap: float = 300.0
    pause: float = 3600.0
    probe: float = 30.0
    """A receiver that is down is asked at least so often ..."""
    probing: float = 3600.0
    """... for so long."""
    retries: Retries = field(default_factory=Retries)
    """Our own, or those that the webhook names."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an attempt failed: a sentence without secrets, the HTTP status (0: none came), `Retry-After` in seconds."""

    problem: str
    status: int = 0
    retry_after: float | None = None


def is_away(refusal: Refusal) -> bool:
    """Whether the receiver is down, as far as one answer tells, and not only unwilling to take that event."""
    return refusal.status in AWAY


def probe_in(down_for: float, since_last: float, rules: Rules) -> float | None:
    """Seconds until a receiver is to be asked again that has been down for so long and was asked `since_last` seconds
    ago, whatever its retries say; None: only they count.
    """
    if down_for >= rules.probing:
        return None
    left = rules.probe - since_last
    return left if left > SOON else 0.0


def pause(refusal: Refusal, rules: Rules) -> float:
    """For how many seconds the receiver wants to be left alone altogether."""
    return min(max(refusal.retry_after or 0.0, 0.0), rules.pause)


def is_dead(row: Undelivered, rules: Rules, refusal: Refusal | None = None) -> bool:
    """Whether an event that was refused once more is given up."""
    if refusal is not None and is_away(refusal) and row.failing_for < rules.probing:
        return False
    if rules.retries.attempts is not None:
        return row.attempts > rules.retries.attempts
    return row.failing_for >= rules.give_up


def wait(row: Undelivered, refusal: Refusal, rand: float, rules: Rules) -> float:
    """Seconds until an event that was just refused is tried again: never later than its hold ends."""
    delay = rules.retries.wait(row.attempts, rand, rules.cap)
    if refusal.status == GONE:  # it says that it will not come back, but a mistake in a proxy says so as well
        delay = max(delay, rules.cap)
    delay = max(delay, pause(refusal, rules))
    left = rules.hold - row.failing_for
    return min(delay, left) if left > 0 else delay


def parked_again(
    row: Undelivered, refusal: Refusal, part: int, rand: float, rules: Rules
) -> tuple[Undelivered, float | None]:
    """A parked event after one more refusal, and the seconds until it is tried again; None: it is dead."""
    row = _refused(row, "parked", refusal, part)
    if is_dead(row, rules, refusal):
        return replace(row, state="dead"), None
    return row, wait(row, refusal, rand, replace(rules, hold=0.0))


def _refused(row: Undelivered, state: Literal["retrying", "parked"], refusal: Refusal, part: int) -> Undelivered:
    return replace(
        row, state=state, attempts=row.attempts + 1, part=part, problem=refusal.problem, status=refusal.status
    )


# --- one chat ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """What an answer changes. `rows` are stored as they are here, each with the seconds until it is tried by itself
    (None: it is tried after another of its chat); `done` is delivered; the gaps of `told` were told.
    """

    rows: Sequence[tuple[Undelivered, float | None]] = ()
    done: Undelivered | None = None
    told: Sequence[Undelivered] = ()


class Round:
    """One pass over what one chat still has for one receiver, the oldest first.

    Ask `next` which event to try, with `gap` in its marker; tell `taken` or `refused`; store the `Step` that comes
    back; until `next` has none. `lane`: what is retrying or waiting, in order. `untold`: earlier ones of the chat that
    are dead without anybody knowing.
    """

    def __init__(self, lane: Sequence[Undelivered], untold: Sequence[Undelivered], rules: Rules) -> None:
        self._ahead = deque(lane)
        self._untold = list(untold)
        self._passed: list[Undelivered] = []
        """Those that refused for too long to hold the chat; the first of them leads the next round."""
        self._lead_waits = 0.0
        self.holds = False
        """Whether something that was refused holds the chat now: it has a time of its own, so the pass is over."""
        self._rules = rules

    def next(self) -> Undelivered | None:
        """The event to try now. Behind a few that were refused for too long, others like them are not tried too."""
        while len(self._passed) >= IN_VAIN and self._ahead and self._overdue(self._ahead[0]):
            self._passed.append(self._ahead.popleft())
        return self._ahead[0] if self._ahead else None

    @property
    def gap(self) -> list[str]:
        """Ids of the chat's events that the receiver has not got, and that `next` would overtake."""
        missing = sorted([*self._untold, *self._passed], key=lambda row: row.event.seq)
        return [row.event.id for row in missing]

    def taken(self, rand: float) -> Step:
        """The receiver took it: it is well, so what it refused for too long is parked."""
        done, told = self._ahead.popleft(), self._untold
        parked = [(replace(row, state="parked"), self._parked_for(row, rand)) for row in self._passed]
        self._untold, self._passed, self.holds = [], [], False
        return Step(parked, done, told)

    def refused(self, refusal: Refusal, part: int, rand: float) -> Step:
        """The receiver did not take it. `part`: how many of its envelopes it took before."""
        tried = self._ahead.popleft()
        row = _refused(tried, "retrying", refusal, part)
        if is_dead(row, self._rules, refusal):
            row = replace(row, state="dead", told=False)
            self._untold.append(row)
            return Step([(row, None)])
        waits = wait(row, refusal, rand, self._rules)
        if not self._passed:
            self._lead_waits = waits
            rows: list[tuple[Undelivered, float | None]] = [(row, waits)]
        else:  # it is tried whenever the first of the chat is; so that one must not sleep beyond this one's hold
            self._lead_waits = min(self._lead_waits, waits)
            rows = [(self._passed[0], self._lead_waits), (row, None)]
        self.holds = True
        if self._overdue(row):
            self._passed.append(row)
        else:
            self._ahead.clear()
        return Step(rows)

    def _overdue(self, row: Undelivered) -> bool:
        return row.state == "retrying" and row.failing_for >= self._rules.hold

    def _parked_for(self, row: Undelivered, rand: float) -> float:
        return self._rules.retries.wait(row.attempts, rand, self._rules.cap)
