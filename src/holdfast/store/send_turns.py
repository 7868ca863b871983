"""Whose turn it is to be sent: which rows of the outbox may be claimed, kept where an index finds them.

A claim must not look at what cannot be sent: rows that are scheduled, rows behind others of their chat, chats that wait
for a retry. So each open row has a `turn`, and time moves it in bounded steps: `arrange` takes what became due and what
expired since, and gives each chat concerned its first row. Everything else then reads indexes, whatever the time is.

Only a claim arranges: it holds the session's epoch alone. Other writers leave marks that need no view of their
neighbours: a row that another instance accepted is `TIMED`, and one that leaves its place is `LEFT` if others stand
behind it. The version before writes no turns: its rows are `TIMED` (the column's default), and whoever takes the
session over looks at every chat once, a batch at a time (`session_epoch.arranged`).
"""

# ruff: noqa: S608 - the statements are joined from constants of this module
from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final

from sqlalchemy import Connection

from holdfast.store.sql import ONCE, Query, listed, rounded

OVER: Final = -1
"""Its deadline has passed: it is in nobody's way, and ends with the next sweep."""
TIMED: Final = 0
"""It waits for its time (`send_at`), or nobody has looked at it yet."""
BEHIND: Final = 1
"""It is due, but behind another of its chat; or it is being sent."""
LEFT: Final = 2
"""It left its place (sent, ended, put back): the rows behind it are to be looked at."""
ANSWERED: Final = 3
"""First of its chat: a group's, or one in which somebody wrote to us."""
MET: Final = 4
"""First of its chat, in which only we wrote so far, or whose opening was counted before."""
NEW: Final = 5
"""First of its chat, with a person with whom nothing was exchanged."""

OPEN = "state IN ('queued', 'sending')"
_OPEN = "COALESCE(state, '') IN ('sending', 'queued')"
IN_LANE = f"{_OPEN} AND turn + 2 >= 2 AND (turn > 0 OR attempts > 0)"
"""Rows that hold up younger ones of their chat. This and the following are the conditions of partial indexes. Each is
spelled so that it follows from no other: where two indexes could serve a statement, and its statistics are older than a
burst of messages, PostgreSQL takes both for empty and may read all of the wrong one. They are literal, and repeated to
the letter, because SQLite takes such an index only where it sees that the condition holds."""
READY = f"{_OPEN} AND turn + 0 > 2"
READY_IN_CHAT = f"{_OPEN} AND turn + 1 > 3"
UNSENT = f"{_OPEN} AND turn + 3 >= 3"
WAITS = "COALESCE(state, '') = 'queued' AND turn = 0"
IS_LEFT = "turn > 1 AND turn < 3"
FLYING = "COALESCE(state, '') = 'sending'"
IN_QUEUE = "COALESCE(state, '-') IN ('sending', 'queued')"
"""All open rows, for lists in order of `seq`."""
STILL_OPEN = "COALESCE(state, '!') IN ('sending', 'queued')"
"""For rows that were found by their `seq`: no index has this condition, so none is read in place of the key."""
AT_ONCE = 32
"""Most rows of each kind that one claim arranges: twice what a session sends in parallel."""


def in_lane(row: str) -> str:
    """`IN_LANE` of that alias."""
    return (
        f"COALESCE({row}.state, '') IN ('sending', 'queued') AND {row}.turn + 2 >= 2 "
        f"AND ({row}.turn > 0 OR {row}.attempts > 0)"
    )


def of_chat(row: str, other: str) -> str:
    """SQL: whether both are of one chat, for the nearest rows in order of `chat, seq`. As a range: of an equality,
    PostgreSQL concludes that any index in order of `seq` will do, and may read all that is older from the wrong one.
    """
    return f"{row}.chat >= {other}.chat AND {row}.chat <= {other}.chat"


IN_FLIGHT = (
    f"(SELECT seq, chat FROM outbox WHERE session_name = ? AND {FLYING} AND claim_epoch >= ? LIMIT 10000) AS flying"
)
"""SQL: what a holder is sending: few rows, to be read first, for which the limit stands. Parameters: session, epoch."""


def ready(turn: int) -> str:
    """SQL: rows with that turn, to be read in order of `turn, seq`; see `of_chat`."""
    return f"{READY} AND turn >= {turn} AND turn <= {turn}"


def answered(row: str) -> str:
    """SQL: whether that row goes to a group, or to somebody who wrote to us."""
    return (
        f"({row}.chat LIKE '%@g.us' OR EXISTS (SELECT 1 FROM message WHERE message.session_name = {row}.session_name "
        f"AND message.chat = {row}.chat AND message.from_me = FALSE))"
    )


def opening(row: str) -> str:
    """SQL: whether that row would be the first message that is exchanged with a person."""
    return (
        f"(({row}.chat LIKE '%@s.whatsapp.net' OR {row}.chat LIKE '%@lid') AND NOT EXISTS (SELECT 1 FROM message "
        f"WHERE message.session_name = {row}.session_name AND message.chat = {row}.chat))"
    )


def _first(row: str) -> str:
    """SQL: the turn of that row if it is the first of its chat."""
    return (
        f"CASE WHEN {answered(row)} THEN {ANSWERED} WHEN {row}.opens = 0 AND {opening(row)} THEN {NEW} ELSE {MET} END"
    )


LEAVE = (
    "turn = CASE WHEN state NOT IN ('queued', 'sending') THEN turn WHEN EXISTS (SELECT 1 FROM outbox AS near "
    "WHERE near.session_name = outbox.session_name AND near.chat = outbox.chat AND near.seq <> outbox.seq "
    f"AND {in_lane('near')}) THEN {LEFT} ELSE {TIMED} END"
)
"""For each UPDATE by which a row may leave its place. One that left before keeps its mark until a claim has seen it: a
receipt can come sooner.
"""
LOOK_AGAIN = f"turn = CASE state WHEN 'queued' THEN {TIMED} ELSE turn END"
"""For each UPDATE that moves rows to another chat."""

_PASSED = f"{UNSENT} AND expires_at <= {ONCE} AND (state = 'queued' OR claim_epoch < ?)"
"""What a holder is sending right now stays in its place. Parameter: the epoch."""
_TICK = Query(
    f"UPDATE outbox SET turn = CASE WHEN state NOT IN ('queued', 'sending') THEN {TIMED} "
    f"WHEN expires_at <= {ONCE} AND (state = 'queued' OR claim_epoch < ?) THEN {OVER} "
    f"WHEN state = 'queued' AND send_at > {ONCE} THEN {TIMED} ELSE {BEHIND} END "
    "WHERE seq IN ("
    f"SELECT seq FROM (SELECT seq FROM outbox WHERE session_name = ? AND {_PASSED} "
    "ORDER BY expires_at LIMIT ?) AS passed UNION ALL "
    f"SELECT seq FROM (SELECT seq FROM outbox WHERE session_name = ? AND {WAITS} AND send_at <= {ONCE} "
    "ORDER BY send_at, seq LIMIT ?) AS due UNION ALL "
    f"SELECT seq FROM (SELECT seq FROM outbox WHERE session_name = ? AND {IS_LEFT} ORDER BY turn, seq LIMIT ?) AS gone"
    ") "
    "RETURNING chat, turn"
)
_CHATS = Query(
    "WITH RECURSIVE known(chat, number) AS (SELECT MIN(chat), 1 FROM outbox "
    f"WHERE session_name = ? AND chat > ? AND {IN_LANE} UNION ALL "
    "SELECT (SELECT MIN(o.chat) FROM outbox AS o WHERE o.session_name = ? AND o.chat > known.chat AND "
    f"{in_lane('o')}), number + 1 FROM known WHERE known.chat IS NOT NULL AND number < {AT_ONCE}) "
    "SELECT chat FROM known WHERE chat IS NOT NULL"
)
_MEET = f"UPDATE outbox SET turn = {_first('outbox')} WHERE session_name = ? AND chat IN ({{}}) AND {READY_IN_CHAT}"
_PROMOTE = f"UPDATE outbox SET turn = ? WHERE seq IN ({{}}) AND {STILL_OPEN}"
_EPOCH = Query("SELECT epoch, arranged, arranged_to FROM session_epoch WHERE session_name = ? FOR NO KEY UPDATE")
_ARRANGED = Query("UPDATE session_epoch SET arranged = ?, arranged_to = ? WHERE session_name = ?")


def pending(session: str, epoch: str = "?") -> str:
    """SQL: whether time or another writer changed anything in that session, under that epoch.

    Each part reads the first entry of an index. EXISTS and MIN would leave it to PostgreSQL where to look for it.
    """
    of = f"FROM outbox WHERE session_name = {session} AND"
    return (
        f"((SELECT send_at {of} {WAITS} ORDER BY send_at, seq LIMIT 1) <= {ONCE} "
        f"OR (SELECT turn {of} {IS_LEFT} ORDER BY turn, seq LIMIT 1) IS NOT NULL "
        f"OR (SELECT expires_at {of} {UNSENT} AND (state = 'queued' OR claim_epoch < {epoch}) "
        f"ORDER BY expires_at LIMIT 1) <= {ONCE})"
    )


def inherited(session: str) -> str:
    """SQL: whether a holder has not yet looked at all that an earlier one left in that session."""
    return (
        f"EXISTS (SELECT 1 FROM session_epoch WHERE session_name = {session} AND arranged < epoch "
        f"AND EXISTS (SELECT 1 FROM outbox WHERE outbox.session_name = session_epoch.session_name AND {IN_LANE}))"
    )


def arrange(c: Connection, name: str, epoch: int) -> bool:
    """Move on what time and other writers changed, a bounded part of it. Whether that was all. The caller holds the
    epoch alone.
    """
    moved = _TICK.all(c, epoch, name, epoch, AT_ONCE, name, AT_ONCE, name, AT_ONCE)
    inherited, done = _inherited(c, name, epoch)
    chats = {str(chat) for chat, _ in moved} | inherited
    if chats:
        _line_up(c, name, epoch, sorted(chats))
    return done and len(moved) < AT_ONCE


def _inherited(c: Connection, name: str, epoch: int) -> tuple[set[str], bool]:
    """Chats as an earlier holder left them, to be looked at once by each holder; whether these are the last."""
    _, arranged, reached = _EPOCH.first(c, name)
    if arranged >= epoch:
        return set(), True
    after = str(reached) if arranged == -epoch else ""
    chats = [str(chat) for (chat,) in _CHATS.all(c, name, after, name)]
    if len(chats) < AT_ONCE:
        _ARRANGED.run(c, epoch, "", name)
    else:
        _ARRANGED.run(c, -epoch, chats[-1], name)
    return set(chats), len(chats) < AT_ONCE


@lru_cache(maxsize=16)
def _firsts(chats: int) -> Query:
    """The first row of each chat in which nothing is in flight, its turn, and the one that it should have."""
    wanted = ",".join(["(CAST(? AS TEXT))"] * chats)
    return Query(
        f"WITH wanted(chat) AS (VALUES {wanted}), "
        "lead(seq) AS (SELECT (SELECT lane.seq FROM outbox AS lane WHERE lane.session_name = ? "
        f"AND {of_chat('lane', 'wanted')} AND {in_lane('lane')} ORDER BY lane.chat, lane.seq LIMIT 1) FROM wanted "
        f"WHERE NOT EXISTS (SELECT 1 FROM {IN_FLIGHT} WHERE flying.chat = wanted.chat)) "
        f"SELECT o.seq, o.turn, CASE WHEN o.state = 'queued' AND o.turn = {TIMED} THEN {TIMED} ELSE {_first('o')} END "
        "FROM outbox AS o WHERE o.seq IN (SELECT seq FROM lead)"
    )


@lru_cache(maxsize=64)
def _demoting(chats: int, ready: int) -> Query:
    """All others of these chats step back."""
    return Query(
        f"UPDATE outbox SET turn = {BEHIND} WHERE session_name = ? AND chat IN ({','.join('?' * chats)}) "
        f"AND {READY_IN_CHAT} AND seq NOT IN ({','.join('?' * ready)})"
    )


def _line_up(c: Connection, name: str, epoch: int, chats: Sequence[str]) -> None:
    """Give the first row of each chat its turn, if it is due and nothing of the chat is in flight."""
    asked = rounded(chats)
    found = _firsts(len(asked)).all(c, *asked, name, name, epoch)
    firsts = {int(seq): (int(turn), int(wanted)) for seq, turn, wanted in found if wanted}
    ready = rounded([-1, *firsts])
    _demoting(len(asked), len(ready)).run(c, name, *asked, *ready)
    rising = sorted((wanted, seq) for seq, (turn, wanted) in firsts.items() if turn != wanted)
    for turn, group in groupby(rising, key=lambda one: one[0]):
        seqs = rounded([seq for _, seq in group])
        listed(_PROMOTE, len(seqs)).run(c, turn, *seqs)


def meet(c: Connection, name: str, chats: Collection[str]) -> None:
    """Messages were stored in these chats: what waits there for an answer may go."""
    several = sorted(chats)
    for start in range(0, len(several), AT_ONCE):
        part = rounded(several[start : start + AT_ONCE])
        listed(_MEET, len(part)).run(c, name, *part)
