"""Random walks through `decide` in a toy world: whatever happens, the promises hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain import state as s
from holdfast.domain.phases import public_status
from holdfast.domain.session import decide
from holdfast.domain.status import status_now

TIMES = s.Times(quiet=600.0)
"""Ten minutes without a delivery are quiet enough to be met in a walk."""
START = 1_800_000_000.0
CODES = st.sampled_from([0, 401, 402, 403, 405, 408, 428, 440, 500, 503, 515])
TAGS = st.sampled_from(["", "device_removed", "credentials", "liveness", "engine", "upgrade", "grant"])
PHONES = st.sampled_from(["40712345678", "40712345678", "40712345679"])


class Walk(RuleBasedStateMachine):
    """One session, its timers, its credentials and its connection, on a clock that only moves forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.state = s.State()
        self.timers: dict[s.TimerKind, tuple[float, int]] = {}
        self.credentials = False
        self.running = False
        self.open: int | None = None
        self.opened_while_terminal = False
        self.seq = 0
        self.ordered: s.Ordered | None = None
        self.deadline: float | None = None
        self.looked_at = START
        """When it last logged in only because nothing was delivered."""
        self.apart = 0
        """How often the conversations of a number before were put apart."""

    def feed(self, event: s.Event, rand: float = 0.5) -> None:
        before = self.state
        decision = decide(before, event, self.now, rand, TIMES)
        self.state = decision.state
        if isinstance(event, s.Closed) and event.connection == self.open:
            self.open = None
        for command in decision.commands:
            self.carry_out(command, before, event)
        self.timers = {k: t for k, t in self.timers.items() if t[1] == self.state.generation}
        if isinstance(event, s.Paired) and self.state.phase is s.Phase.AUTHENTICATED:
            self.credentials = True
        self.watch_pairing(before)

    def watch_pairing(self, before: s.State) -> None:
        if self.state.code == "pairing_expired" != before.code:
            assert self.deadline is None or self.now >= self.deadline - 1e-3, "a pairing was cut short"
        until = self.state.pairing_until
        ordered = self.state.command_seq != before.command_seq
        if until is None or ordered:
            self.deadline = None
        if until is not None and self.deadline is None:
            self.deadline = until
            assert until == pytest.approx(self.now + TIMES.pairing)

    def carry_out(self, command: s.Command, before: s.State, event: s.Event) -> None:
        if isinstance(command, s.Open):
            if before.phase is s.Phase.TERMINAL and not isinstance(event, s.Ordered | s.Adopted):
                self.opened_while_terminal = True
            assert self.open is None, "a second connection was wanted while one is open"
            self.open = command.connection
            self.timers[s.TimerKind.CONNECT] = (self.now + TIMES.connect, command.generation)
            if self.state.code == "quiet" != before.code:
                assert self.now - self.looked_at > TIMES.quiet * min(2**before.quiet_looks, 12)
                self.looked_at = self.now
        elif isinstance(command, s.Close):
            self.open = None
        elif isinstance(command, s.SetTimer):
            self.timers[command.kind] = (self.now + command.after, command.generation)
        elif isinstance(command, s.ClearCredentials):
            self.credentials = False
        elif isinstance(command, s.PutApart):
            self.apart += 1

    # --- what may happen ---
    @initialize(linked=st.booleans())
    def begin(self, linked: bool) -> None:
        self.order("start")
        if linked:
            self.progress("qr")
            self.progress("paired")
            self.closed(515, "", "", 0.5)
            self.progress("opened")
            assert self.state.phase is s.Phase.WORKING

    @rule(kind=st.sampled_from(["start", "stop", "restart", "logout", "pair"]), new_number=st.booleans())
    def order(self, kind: str, new_number: bool = False) -> None:
        self.seq += 1
        self.running = self.running if kind == "logout" else kind != "stop"
        self.ordered = s.Ordered(
            self.seq,
            kind,
            self.credentials,
            new_number=new_number and kind in ("pair", "logout"),
            relink=kind == "logout" and self.running,
        )
        self.feed(self.ordered)
        if kind == "logout":
            assert (self.state.phase, self.credentials, self.open) == (s.Phase.STOPPED, False, None)
            assert self.state.relink == self.running

    @rule()
    @precondition(lambda self: self.ordered is not None)
    def order_told_again(self) -> None:
        """A hint and a poll may both bring the same order: it is carried out once."""
        assert self.ordered is not None
        before = self.state
        assert decide(before, self.ordered, self.now, 0.5, TIMES) == s.Decision(before)

    @rule(code=CODES, tag=TAGS, expire=st.sampled_from(["60", "9999", ""]), rand=st.floats(0, 0.999))
    @precondition(lambda self: self.open is not None)
    def closed(self, code: int, tag: str, expire: str, rand: float) -> None:
        assert self.open is not None
        self.feed(s.Closed(self.open, code, tag, {"expire": expire}), rand)

    @rule(kind=st.sampled_from(["qr", "paired", "opened", "proved", "delivered"]))
    @precondition(lambda self: self.open is not None)
    def progress(self, kind: str) -> None:
        assert self.open is not None
        makers: dict[str, Any] = {
            "qr": s.QrShown,
            "paired": lambda c: s.Paired(c, "40712345678"),
            "opened": lambda c: s.Opened(c, "40712345678"),
            "proved": lambda c: s.Proved(c, self.now),
            "delivered": lambda c: s.Proved(c, self.now, delivered_at=self.now),
        }
        self.feed(makers[kind](self.open))

    @rule(phone=PHONES)
    @precondition(lambda self: self.state.phase is s.Phase.PAIRING)
    def scanned(self, phone: str) -> None:
        """By the number that it was linked to, or by another: that is refused, or starts clean if confirmed."""
        assert self.open is not None
        before, apart = self.state, self.apart
        self.feed(s.Paired(self.open, phone))
        if before.phone in ("", phone) or before.new_number:
            assert (self.state.phase, self.state.phone) == (s.Phase.AUTHENTICATED, phone)
            another = before.phone not in ("", phone)
            assert self.apart - apart == another, "histories mixed, or put apart in vain"
            assert not (another and self.state.restricted_until), "the restriction was the other number's"
        else:
            assert (self.state.code, self.state.phone) == ("another_number", before.phone)
            assert (self.credentials, self.open, self.apart) == (False, None, apart)

    @rule(rand=st.floats(0, 0.999))
    @precondition(lambda self: self.open is not None)
    def unlisted(self, rand: float) -> None:
        """Only a suspicion: WhatsApp is asked at the door, and nothing is thrown away before it answered."""
        assert self.open is not None
        before, kept = self.state, self.credentials
        self.feed(s.Unlisted(self.open), rand)
        assert self.credentials == kept
        if before.phase is s.Phase.WORKING:
            assert (self.state.phase, self.open) == (s.Phase.WAITING, None)
        else:
            assert self.state is before

    @rule(seconds=st.none() | st.integers(-60, 3_000))
    @precondition(lambda self: self.open is not None)
    def restricted(self, seconds: int | None) -> None:
        """A restriction, or its end, never costs the connection."""
        assert self.open is not None
        before = self.state
        self.feed(s.Restricted(self.open, None if seconds is None else self.now + seconds))
        assert (self.state.phase, self.state.connection) == (before.phase, before.connection)
        lasts = seconds is not None and seconds > 0
        assert (self.state.restricted_until is not None) == lasts
        if self.state.phase is s.Phase.WORKING:
            assert self.state.code == ("restricted" if lasts else "working")

    @rule(seconds=st.floats(0.1, 2_000), silent=st.booleans())
    def time_passes(self, seconds: float, silent: bool) -> None:
        end = self.now + seconds
        while self.timers and min(t[0] for t in self.timers.values()) <= end:
            kind, (at, generation) = min(self.timers.items(), key=lambda item: item[1][0])
            del self.timers[kind]
            self.now = max(self.now, at)
            if self.open is not None and self.state.phase is s.Phase.WORKING and not silent:
                self.feed(s.Proved(self.open, self.now))
            self.feed(s.TimerFired(kind, generation))
        self.now = end

    @rule()
    def nudged(self) -> None:
        self.feed(s.Nudged())

    @rule()
    def rerouted(self) -> None:
        self.feed(s.Rerouted())

    @rule(kind=st.sampled_from(s.TimerKind), code=CODES)
    def something_stale_comes(self, kind: s.TimerKind, code: int) -> None:
        """Timers of earlier phases, and what earlier connections still had to say."""
        earlier = self.state.connection - 1
        stale = [s.TimerFired(kind, self.state.generation - 1), s.Closed(earlier, code), s.Opened(earlier, "1")]
        stale += [s.Paired(earlier, "1"), s.QrShown(earlier), s.Proved(earlier, self.now)]
        for event in (*stale, s.Unlisted(earlier), s.Restricted(earlier, self.now + 60)):
            assert decide(self.state, event, self.now, 0.5, TIMES) == s.Decision(self.state)

    @rule(
        kind=st.sampled_from(["", "", "", "start", "stop", "restart", "logout", "pair"]),
        away=st.sampled_from([0.0, 0.5, 30.0, 900.0]),
    )
    def handed_over(self, kind: str, away: float) -> None:
        """The holder dies; after a while another adopts what is stored, and what a user asked meanwhile."""
        self.open = None
        self.timers.clear()
        self.now += away
        self.state = stored = s.State.from_json(json.loads(json.dumps(self.state.to_json())))
        order = self.ordered
        if kind:
            self.seq += 1
            self.running = self.running if kind == "logout" else kind != "stop"
            relink = kind == "logout" and self.running
            order = self.ordered = s.Ordered(self.seq, kind, self.credentials, relink=relink)
        self.feed(s.Adopted(self.credentials, self.running, order))
        assert self.state.command_seq == self.seq
        if stored.relink and not kind:
            assert self.state.phase is s.Phase.CONNECTING, "a new holder forgot that a QR code was asked for"
        if stored.phase is s.Phase.TERMINAL and kind in ("", "stop", "logout"):
            assert (self.state.phase in (s.Phase.TERMINAL, s.Phase.STOPPED), self.open) == (True, None)
        if stored.phase is s.Phase.TERMINAL and not kind:
            assert self.state.code == stored.code, "a new holder forgot why"
        held_off = stored.phase is s.Phase.WAITING and (stored.next_attempt_at or 0.0) > self.now
        if held_off and not kind and self.running and self.credentials and stored.pairing_until is None:
            assert (self.state.phase, self.open) == (s.Phase.WAITING, None), "a stored hold-off binds a new holder"
            assert self.state.next_attempt_at == stored.next_attempt_at

    # --- what always holds ---
    @invariant()
    def terminal_never_connects(self) -> None:
        assert not self.opened_while_terminal
        if self.state.phase in (s.Phase.TERMINAL, s.Phase.STOPPED):
            assert self.open is None

    @invariant()
    def what_is_wanted_is_what_is_open(self) -> None:
        assert (self.open is not None) == self.state.live
        if self.open is not None:
            assert self.open == self.state.connection

    @invariant()
    def there_is_always_a_way_on(self) -> None:
        if self.state.phase is s.Phase.WAITING:
            assert self.state.next_attempt_at is not None
            assert abs(self.timers[s.TimerKind.RETRY][0] - self.state.next_attempt_at) < 1e-3
        elif self.state.phase in (s.Phase.CONNECTING, s.Phase.AUTHENTICATED):
            assert s.TimerKind.CONNECT in self.timers
        elif self.state.phase is s.Phase.PAIRING:
            assert s.TimerKind.PAIRING in self.timers
        elif self.state.phase is s.Phase.WORKING:
            assert s.TimerKind.HEALTH in self.timers
        elif self.state.relink:
            assert self.state.phase is s.Phase.STOPPED
            assert s.TimerKind.RETRY in self.timers
        if self.state.phase is not s.Phase.WAITING:
            assert self.state.next_attempt_at is None

    @invariant()
    def a_pairing_has_one_deadline(self) -> None:
        """Ten minutes from its first QR or first lost connection: nothing moves it, nothing outlives it."""
        if self.deadline is not None:
            assert self.state.pairing_until == self.deadline
            slack = TIMES.connect if self.state.phase is s.Phase.CONNECTING else 0.0
            assert self.now <= self.deadline + slack + 1e-3

    @invariant()
    def timers_never_pile_up(self) -> None:
        assert len(self.timers) <= 2
        assert all(generation == self.state.generation for _, generation in self.timers.values())

    @invariant()
    def a_restriction_ends_with_the_next_look(self) -> None:
        if self.state.phase is s.Phase.WORKING and self.state.code == "restricted":
            assert (self.state.restricted_until or 0.0) > self.now - TIMES.health

    @invariant()
    def working_is_said_only_with_a_fresh_proof(self) -> None:
        said = status_now(
            self.state, desired_running=True, has_credentials=True, held=True, now=self.now, deadline=TIMES.liveness
        )
        if said.status == "WORKING":
            assert said.verified_at is not None
            assert self.now - said.verified_at <= TIMES.liveness
        shown_unasked = self.state.phase is s.Phase.PAIRING and self.state.code == "waha_unlinked"
        assert said.needs_qr == (self.state.phase is s.Phase.TERMINAL or shown_unasked)
        assert public_status(self.state) in {"STOPPED", "STARTING", "SCAN_QR_CODE", "WORKING", "FAILED"}


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
