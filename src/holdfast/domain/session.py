"""The core: `decide` takes what is and what happened, and answers what is now and what to do.

It is a pure function of state, event, time and randomness. The actor (runtime) feeds it and carries out its commands.
Each phase has one way in (`domain.phases`), and each event one handler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from holdfast.domain import disconnects
from holdfast.domain.account_limits import on_capped, on_restricted, working
from holdfast.domain.disconnects import Disconnect, Kind, ban_seconds, of_closed
from holdfast.domain.jids import mask
from holdfast.domain.liveness import QUIET, is_quiet, is_short, look_again, proved
from holdfast.domain.pacing import backoff, conflict_holdoff
from holdfast.domain.phases import Step, connect, drop, enter, halt, pair, public_status, terminal, wait
from holdfast.domain.state import (
    Adopted,
    Capped,
    ClearCredentials,
    Closed,
    ConnectionEvent,
    Decision,
    Event,
    Nudged,
    Opened,
    Ordered,
    Paired,
    Phase,
    Probe,
    Proved,
    PutApart,
    QrShown,
    RefreshVersion,
    Rerouted,
    Restricted,
    SetTimer,
    State,
    TimerFired,
    TimerKind,
    Times,
    Unlisted,
)

RESTORING = "Restoring connection from saved session..."
RECENT = 3
"""Public statuses that are remembered, as WAHA reports them."""
_IDLE = (Phase.STOPPED, Phase.TERMINAL)
_FLAPPING_FROM = 3


def decide(state: State, event: Event, now: float, rand: float, times: Times) -> Decision:
    """What `event`, at Unix time `now`, makes of `state`. `rand` in [0, 1) jitters delays. Never raises."""
    if isinstance(event, ConnectionEvent):
        if not state.live or event.connection != state.connection:
            return Decision(state)
        after, commands = _on_connection(state, event, now, rand, times)
    elif isinstance(event, TimerFired):
        if event.generation != state.generation:
            return Decision(state)
        after, commands = _on_timer(state, event, now, rand, times)
    elif isinstance(event, Ordered):
        after, commands = _on_order(state, event, now)
    elif isinstance(event, Adopted):
        after, commands = _on_adopted(state, event, now, times)
    elif isinstance(event, Nudged):
        after, commands = _on_nudge(state, now)
    elif isinstance(event, Rerouted):
        after, commands = _on_rerouted(state, now)
    else:
        after, commands = state, ()
    status = public_status(after)
    if status != public_status(state):
        after = replace(after, recent=(*after.recent, (status, now))[-RECENT:])
    return Decision(after, commands, _visible(state) != _visible(after))


def _visible(state: State) -> tuple[object, ...]:
    return (public_status(state), state.code, state.message, state.attempt)


# --- handlers ---------------------------------------------------------------------------------------------------


def _on_adopted(state: State, event: Adopted, now: float, times: Times) -> Step:
    """A new holder goes on where the stored state stands; hold-offs and terminal ends bind it."""
    state = replace(state, live=False)
    if event.order is not None and event.order.kind == "configure":
        state = replace(state, command_seq=max(event.order.seq, state.command_seq))
    if event.order is not None and event.order.seq > state.command_seq:
        if event.order.kind in ("stop", "logout"):
            return _on_order(state, event.order, now)
        return _begin(replace(state, command_seq=event.order.seq), event.order, now)
    if not event.desired_running:
        if state.phase is Phase.STOPPED or state.phase is Phase.TERMINAL:
            return state, ()
        return enter(state, Phase.STOPPED, "stopped", "Stopped by the user.", now, working_since=None), ()
    return _resumed(state, event, now)


def _resumed(state: State, event: Adopted, now: float) -> Step:
    """A session that should run goes on where its last holder left it."""
    if state.relink:
        return pair(state, now, None)
    if state.phase is Phase.TERMINAL:
        return state, ()
    pairing = state.pairing_until is not None or state.phase is Phase.PAIRING
    if pairing and not event.has_credentials:
        until = state.pairing_until or now
        if until <= now:
            return _expired(state, now)
        return pair(state, now, state.pair_phone, until=until)
    if not event.has_credentials:
        return enter(state, Phase.TERMINAL, "needs_pairing", _NEEDS_PAIRING, now), ()
    if state.phase is Phase.WAITING and state.next_attempt_at is not None and state.next_attempt_at > now:
        left = state.next_attempt_at - now
        if state.holdoff is not None:
            left = min(left, state.holdoff)
        held = replace(state, generation=state.generation + 1, next_attempt_at=now + left)
        return held, (SetTimer(TimerKind.RETRY, left, held.generation),)
    return connect(
        replace(state, attempt=0, failed=False, pairing_until=None), now, message=RESTORING, code="restoring"
    )


_NEEDS_PAIRING = "Not linked to a WhatsApp account. Connect to get a QR code."


def _on_order(state: State, event: Ordered, now: float) -> Step:
    if event.seq <= state.command_seq:
        return state, ()
    state = replace(state, command_seq=event.seq)
    if event.kind == "configure":
        return state, ()
    if event.kind == "stop":
        if state.phase is Phase.STOPPED and not state.relink:
            return state, ()
        entered = enter(
            state,
            Phase.STOPPED,
            "stopped",
            "Stopped by the user.",
            now,
            live=False,
            working_since=None,
            failed=False,
            pairing_until=None,
        )
        return entered, drop(state, stop=True)
    if event.kind == "logout":
        return _logged_out(state, event, now)
    if event.kind == "start" and state.phase not in _IDLE and not _may_hurry(state):
        return state, ()
    return _begin(state, event, now)


def _logged_out(state: State, event: Ordered, now: float) -> Step:
    """A person unlinks the device. With `relink` the session then asks for a QR code by itself, as WAHA does; the
    timer comes when the connection has been closed, and a new holder goes on from the stored state.
    """
    entered = enter(
        state,
        Phase.STOPPED,
        disconnects.LOGGED_OUT.code,
        disconnects.ON_PURPOSE,
        now,
        live=False,
        failed=False,
        working_since=None,
        pairing_until=None,
        pair_phone=None,
        attempt=0,
        flaps=0,
        relink=event.relink,
        new_number=event.new_number or state.new_number,
        anew=state.anew or not state.live,
    )
    again = (SetTimer(TimerKind.RETRY, 0.0, entered.generation),) if event.relink else ()
    return entered, (*drop(state, logout=True), ClearCredentials(), *again)


def _may_hurry(state: State) -> bool:
    """Whether `start` shortens the wait: not a ban's, which a login would only make worse (`restart` does)."""
    return state.phase is Phase.WAITING and state.code != disconnects.TEMPORARILY_BANNED.code


def _begin(state: State, event: Ordered, now: float) -> Step:
    """A person wants a connection: `start`, `restart` or `pair`. A terminal or unlinked session begins to pair."""
    dropped = drop(state, stop=event.kind != "pair")
    state = replace(state, live=False, anew=state.anew or event.kind == "pair")
    if event.kind == "pair" or state.phase is Phase.TERMINAL or not event.has_credentials:
        confirmed = event.new_number or state.new_number
        entered, commands = pair(replace(state, new_number=confirmed), now, event.pair_phone)
    else:
        fresh = replace(state, attempt=0, failed=False, flaps=0, conflicts=0, outdated=0)
        entered, commands = connect(fresh, now, message="Connecting to WhatsApp.", hasty=True)
    return entered, (*dropped, *commands)


def _on_nudge(state: State, now: float) -> Step:
    if state.phase is not Phase.WAITING or state.code not in disconnects.NETWORK:
        return state, ()
    return connect(state, now, message="WhatsApp is reachable again; connecting.", code=state.code)


def _on_rerouted(state: State, now: float) -> Step:
    """Close what goes the old way and open the new one; a wait for the old proxy ends, other hold-offs stand."""
    waiting = state.phase is Phase.WAITING and state.code == disconnects.PROXY_FAILED.code
    if not (state.live or waiting):
        return state, ()
    dropped, state = drop(state), replace(state, live=False)
    if _is_pairing(state) or state.phase is Phase.PAIRING:
        entered, commands = pair(state, now, state.pair_phone, until=state.pairing_until)
    else:
        fresh = replace(state, attempt=0, failed=False)
        entered, commands = connect(fresh, now, message="The session's proxy changed; reconnecting.", hasty=True)
    return entered, (*dropped, *commands)


def _on_connection(state: State, event: ConnectionEvent, now: float, rand: float, times: Times) -> Step:
    if isinstance(event, Closed):
        return _on_closed(state, event, now, rand, times)
    if isinstance(event, QrShown):
        return _on_qr(state, now, times)
    if isinstance(event, Paired):
        return _on_paired(state, event, now, times)
    if isinstance(event, Opened):
        return _on_opened(state, event, now, times)
    if isinstance(event, Proved):
        return proved(state, event, now, times), ()
    if isinstance(event, Unlisted):
        return _on_unlisted(state, now, rand, times)
    if isinstance(event, Restricted):
        return on_restricted(state, event, now), ()
    if isinstance(event, Capped):
        return on_capped(state, event), ()
    return state, ()


def _on_unlisted(state: State, now: float, rand: float, times: Times) -> Step:
    """No verdict of ours: WhatsApp answers the next login, with 401 if the device is really gone."""
    if state.phase is not Phase.WORKING:
        return state, ()
    entered, commands = _retry(replace(state, live=False), disconnects.UNLISTED, now, rand, times)
    return entered, (*drop(state), *commands)


def _on_qr(state: State, now: float, times: Times) -> Step:
    """The first QR ends the connect timeout and starts the pairing timeout; later ones change nothing."""
    if state.phase is not Phase.CONNECTING:
        return state, ()
    until = state.pairing_until or now + times.pairing
    how = "Enter the code on the phone" if state.pair_phone else "Scan the QR code with the phone"
    message = f"{how}: WhatsApp, Settings, Linked devices, Link a device."
    entered = enter(state, Phase.PAIRING, "pairing", message, now, pairing_until=until, anew=False)
    timer = SetTimer(TimerKind.PAIRING, max(until - now, 0.0), entered.generation)
    if _is_pairing(state):
        return entered, (timer,)
    row = disconnects.WAHA_UNLINKED  # nobody ordered it: the engine's server asks for it by itself
    unlinked = replace(entered, code=row.code, message=f"{row.message} {message}", failed=False, attempt=0)
    return unlinked, (ClearCredentials(), timer)


def _on_paired(state: State, event: Paired, now: float, times: Times) -> Step:
    change = bool(state.phone) and event.phone != state.phone
    if change and not state.new_number:
        return _another_number(state, event.phone, now)
    message = "Linked; WhatsApp asks for a new connection."
    entered = enter(
        state,
        Phase.AUTHENTICATED,
        "authenticated",
        message,
        now,
        phone=event.phone,
        pairing_until=None,
        pair_phone=None,
        new_number=False,
        **(_NEW_ACCOUNT if change else {}),
    )
    timer = SetTimer(TimerKind.CONNECT, times.connect, entered.generation)
    return entered, (PutApart(), timer) if change else (timer,)


_NEW_ACCOUNT: Mapping[str, object] = {"restricted_until": None, "enforcement": "", "quota": None}
"""What WhatsApp limited was the account of the number before."""


def _another_number(state: State, phone: str, now: float) -> Step:
    """Never mixed with what is here (G6): refused with both numbers, until a person confirms the change."""
    row = disconnects.ANOTHER_NUMBER
    message = f"This session belongs to {mask(state.phone)}, and {mask(phone)} scanned its QR code. {row.advice}"
    entered, commands = terminal(state, now, row.code, message)
    return entered, (*drop(state, logout=True), *commands)


def _on_opened(state: State, event: Opened, now: float, times: Times) -> Step:
    code, message = working(state, now)
    entered = enter(
        state,
        Phase.WORKING,
        code,
        message,
        now,
        attempt=0,
        failed=False,
        outdated=0,
        working_since=now,
        verified_at=now,
        listed_at=now,
        pairing_until=None,
        phone=event.phone or state.phone,
        anew=False,
    )
    return entered, (
        look_again(entered, times),
        SetTimer(TimerKind.STABLE, times.stable, entered.generation),
    )


def _on_closed(state: State, event: Closed, now: float, rand: float, times: Times) -> Step:
    why = of_closed(event.status, event.tag, event.attrs)
    state = replace(state, live=False)
    linking = state.phase is Phase.PAIRING or (state.phase is Phase.CONNECTING and _is_pairing(state))
    if why is disconnects.ANOTHER_NUMBER:
        return _another_number(state, event.attrs.get("phone", ""), now)
    if linking:
        return _pairing_lost(state, why, now, rand, times)
    if why.kind is Kind.NOW or (state.phase is Phase.AUTHENTICATED and why.kind is Kind.RETRY):
        return _restart(state, why, now, rand, times)
    if why.kind is Kind.TERMINAL:
        return terminal(state, now, why.code, why.message)
    if why.kind is Kind.HALT:
        return halt(state, now, why.code, why.message)
    if why.kind is Kind.BROKEN:
        return _broken(state, why, now, times)
    if why.kind is Kind.BAN:
        return wait(state, now, ban_seconds(event.attrs), why.code, why.message, failed=True)
    if why.kind is Kind.CONFLICT:
        return _conflict(state, why, now, rand, times)
    if why.kind is Kind.OUTDATED:
        return _outdated(state, why, now, rand, times)
    return _retry(state, why, now, rand, times)


def _restart(state: State, why: Disconnect, now: float, rand: float, times: Times) -> Step:
    """At once and without a penalty, as WhatsApp asked, but not for ever: what only ever restarts backs off."""
    restarts = state.flaps + 1 if state.phase is Phase.CONNECTING or is_short(state, now, times) else state.flaps
    if restarts > _FLAPPING_FROM:
        return _retry(state, why, now, rand, times)
    again = replace(state, flaps=restarts)
    return connect(again, now, message=disconnects.RESTART_REQUIRED.message, code="authenticated", hasty=True)


def _is_pairing(state: State) -> bool:
    by_proxy = state.code == disconnects.PROXY_FAILED.code and state.pairing_until is not None
    return state.code == "pairing" or by_proxy


def _pairing_lost(state: State, why: Disconnect, now: float, rand: float, times: Times) -> Step:
    """While pairing nothing is lost yet: open again until the deadline, without counting attempts for FAILED."""
    if why in (disconnects.PAIRING_REFUSED, disconnects.PAIRING_EXPIRED):
        return terminal(state, now, why.code, why.message)
    if state.code == disconnects.WAHA_UNLINKED.code:  # a pairing that nobody ordered is not begun again
        message = f"{disconnects.WAHA_UNLINKED.message} {disconnects.PAIRING_EXPIRED.advice}"
        return terminal(state, now, state.code, message)
    if why.kind is Kind.HALT:
        return halt(state, now, why.code, why.message)
    if why.kind is Kind.NOW:
        return connect(state, now, message=why.message, code="authenticated", hasty=True)
    until = state.pairing_until or now + times.pairing
    if now >= until:
        return _expired(state, now)
    attempt = state.attempt + 1
    delay = min(backoff(attempt, rand) * times.factor, max(until - now, 0.0))
    if why.code == disconnects.PROXY_FAILED.code:
        code, message = why.code, why.message
    else:
        code, message = "pairing", f"{why.sentence} The pairing goes on."
    entered, commands = wait(state, now, delay, code, message, attempt=attempt, pairing_until=until)
    return entered, (RefreshVersion(), *commands) if why.kind is Kind.OUTDATED else commands


def _expired(state: State, now: float) -> Step:
    row = disconnects.PAIRING_EXPIRED
    code, message = row.code, row.message
    if state.code == disconnects.PROXY_FAILED.code:  # that nobody scanned is not the reason: there was nothing to scan
        code, message = state.code, f"{state.message} Connect to try again."
    entered, commands = terminal(state, now, code, message)
    return entered, (*drop(state, stop=True), *commands)


def _broken(state: State, why: Disconnect, now: float, times: Times) -> Step:
    again = state.broken_at is not None and now - state.broken_at < times.broken_window
    if again:
        return terminal(state, now, why.code, f"{why.sentence} Link it again with a new QR code.")
    return wait(state, now, 0.0, why.code, "Reconnecting once with a clean connection.", broken_at=now)


def _conflict(state: State, why: Disconnect, now: float, rand: float, times: Times) -> Step:
    conflicts = state.conflicts + 1
    final = conflicts >= times.failed_after
    code = "conflict" if final else why.code
    delay = conflict_holdoff(conflicts, rand) * times.factor
    return wait(state, now, delay, code, why.message, conflicts=conflicts, failed=final, attempt=conflicts)


def _outdated(state: State, why: Disconnect, now: float, rand: float, times: Times) -> Step:
    outdated = state.outdated + 1
    delay = backoff(1, rand) * times.factor if outdated == 1 else times.outdated_retry
    entered, commands = wait(state, now, delay, why.code, why.message, outdated=outdated, failed=outdated > 1)
    return entered, (RefreshVersion(), *commands)


def _retry(state: State, why: Disconnect, now: float, rand: float, times: Times) -> Step:
    """Back off; a connection that opens and closes again and again escalates through `flaps`."""
    short = is_short(state, now, times)
    flaps = state.flaps + 1 if short else state.flaps
    attempt = state.attempt + 1
    failed = attempt > times.failed_after
    flapping = flaps >= _FLAPPING_FROM and short
    code = "flapping" if flapping else why.code
    message = (
        f"{why.sentence} It opens and closes again and again; waiting longer each time." if flapping else why.message
    )
    delay = backoff(max(attempt, flaps), rand) * times.factor
    if why in disconnects.CRASHES and attempt == 1 and not flapping:
        delay = 0.0  # WhatsApp had no part in it
    return wait(state, now, delay, code, message, attempt=attempt, flaps=flaps, failed=failed)


def _on_timer(state: State, event: TimerFired, now: float, rand: float, times: Times) -> Step:
    if event.kind is TimerKind.RETRY and state.relink:
        return pair(state, now, None)
    if event.kind is TimerKind.RETRY and state.phase is Phase.WAITING:
        if _is_pairing(state) and state.pairing_until is not None and state.pairing_until <= now:
            return _expired(state, now)
        if _is_pairing(state):
            entered, commands = pair(state, now, state.pair_phone, until=state.pairing_until, attempt=state.attempt)
            return replace(entered, code=state.code, message=state.message), commands
        return connect(state, now, message=state.message, code=state.code)
    if event.kind is TimerKind.PAIRING and state.phase is Phase.PAIRING:
        return _expired(state, now)
    if event.kind is TimerKind.CONNECT and state.phase in (Phase.CONNECTING, Phase.AUTHENTICATED) and state.live:
        closed = replace(state, live=False)
        if _is_pairing(state):
            entered, commands = _pairing_lost(closed, disconnects.TIMED_OUT, now, rand, times)
        else:
            entered, commands = _retry(closed, disconnects.TIMED_OUT, now, rand, times)
        return entered, (*drop(state), *commands)
    if event.kind is TimerKind.STABLE and state.phase is Phase.WORKING:
        return replace(state, flaps=0, conflicts=0), ()
    if event.kind is TimerKind.HEALTH and state.phase is Phase.WORKING:
        return _health(state, now, rand, times)
    return state, ()


def _health(state: State, now: float, rand: float, times: Times) -> Step:
    """The health look asks, it does not read a flag; what stays silent past the deadline is replaced."""
    if now - (state.verified_at or 0.0) > times.liveness:
        entered, commands = _retry(replace(state, live=False), disconnects.UNRESPONSIVE, now, rand, times)
        return entered, (*drop(state), *commands)
    if is_quiet(state, now, times):
        again = replace(state, live=False, quiet_looks=state.quiet_looks + 1)
        entered, commands = connect(again, now, message=QUIET, code="quiet", hasty=True)
        return entered, (*drop(state), *commands)
    if state.code == disconnects.RESTRICTED and (state.restricted_until or 0.0) <= now:
        state = on_restricted(state, Restricted(state.connection, None), now)
    listed = now - (state.listed_at or 0.0) >= times.listed
    return state, (Probe(state.connection, listed=listed), look_again(state, times))
