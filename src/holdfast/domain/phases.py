"""The ways into a phase of the session machine: what each is entered with, and what is to be done on entry.

`enter` is the one place that raises the generation, so that the timers of the phase before are stale. Each function
answers a `Step`: the state now, and the commands.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.domain.state import (
    ClearCredentials,
    Close,
    Command,
    Open,
    Phase,
    SetTimer,
    State,
    TimerKind,
)

Step = tuple[State, tuple[Command, ...]]


def public_status(state: State) -> str:
    """WAHA's word for the stored state, before lease and deadlines are looked at (see `domain.status`)."""
    if state.phase is Phase.STOPPED:
        return "STOPPED"
    if state.phase is Phase.TERMINAL:
        return "FAILED"
    if state.phase is Phase.WORKING:
        return "WORKING"
    if state.phase is Phase.PAIRING:
        return "SCAN_QR_CODE"
    return "FAILED" if state.failed else "STARTING"


def enter(state: State, phase: Phase, code: str, message: str, now: float, **facts: object) -> State:
    """A new phase: the one place that raises the generation. `since` moves when the public status does."""
    entered = replace(
        state,
        phase=phase,
        code=code,
        message=message,
        generation=state.generation + 1,
        **{"next_attempt_at": None, "relink": False, **facts},  # type: ignore[arg-type]
    )
    return replace(entered, since=now) if public_status(entered) != public_status(state) else entered


def connect(state: State, now: float, *, message: str, code: str = "connecting", hasty: bool = False) -> Step:
    """Open with saved credentials. The actor sets the connect timer when its turn in the pace has come."""
    entered = enter(
        state, Phase.CONNECTING, code, message, now, connection=state.connection + 1, live=True, pairing_until=None
    )
    return entered, (Open(entered.connection, entered.generation, pair=False, hasty=hasty),)


def pair(state: State, now: float, pair_phone: str | None, *, until: float | None = None, attempt: int = 0) -> Step:
    """Open without credentials, to show a QR or a code. What is left of half-made credentials goes first."""
    entered = enter(
        state,
        Phase.CONNECTING,
        "pairing",
        "Asking WhatsApp for a QR code.",
        now,
        connection=state.connection + 1,
        live=True,
        attempt=attempt,
        failed=False,
        conflicts=0,
        outdated=0,
        broken_at=None,
        pair_phone=pair_phone,
        pairing_until=until,
    )
    return entered, (
        ClearCredentials(),
        Open(
            entered.connection,
            entered.generation,
            pair=True,
            pair_phone=pair_phone,
            hasty=True,
            expect_phone="" if state.new_number else state.phone,
            anew=state.anew,
        ),
    )


def wait(state: State, now: float, delay: float, code: str, message: str, **facts: object) -> Step:
    """No connection now; the next attempt is dated, stored, and binds whoever holds the session then."""
    entered = enter(state, Phase.WAITING, code, message, now, live=False, **facts)
    entered = replace(entered, next_attempt_at=now + delay, holdoff=delay, working_since=None)
    return entered, (SetTimer(TimerKind.RETRY, delay, entered.generation),)


def terminal(state: State, now: float, code: str, message: str) -> Step:
    """Only a human can help: credentials are cleared, everything else stays."""
    entered = enter(
        state,
        Phase.TERMINAL,
        code,
        message,
        now,
        live=False,
        failed=False,
        working_since=None,
        pairing_until=None,
        attempt=0,
        flaps=0,
        conflicts=0,
    )
    return entered, (ClearCredentials(),)


def drop(state: State, *, logout: bool = False, stop: bool = False) -> tuple[Command, ...]:
    """The command that closes the connection of `state`, if there is one."""
    return (Close(state.connection, logout=logout, stop=stop),) if state.live else ()


def halt(state: State, now: float, code: str, message: str) -> Step:
    """No further try until a person asks for one, or a new holder takes over; the credentials stay."""
    entered = enter(state, Phase.WAITING, code, message, now, live=False, failed=True, attempt=0, pairing_until=None)
    return replace(entered, holdoff=None, working_since=None), ()
