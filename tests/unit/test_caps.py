"""Limits on sending: what they leave, from what was sent; nobody sends more, and nobody waits longer than needed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.caps import Allowance, Caps, Lately, allowance, fraction

NOW = 1_000.0


@pytest.mark.parametrize(
    ("caps", "lately", "expected"),
    [
        (Caps(), Lately(NOW), Allowance(NOW, None, NOW, None)),
        (Caps(3), Lately(NOW), Allowance(NOW, 3, NOW, None)),
        (Caps(3), Lately(NOW, [990.0, 950.0]), Allowance(NOW, 1, NOW, None)),
        (Caps(3), Lately(NOW, [990.0, 980.0, 950.0]), Allowance(1010.0, 1, 1010.0, None)),
        (Caps(3), Lately(NOW, [990.0, 980.0, 940.0]), Allowance(NOW, 1, NOW, None)),
        (Caps(1), Lately(NOW, [NOW]), Allowance(1060.0, 1, 1060.0, None)),
        (Caps(None, 2), Lately(NOW, [999.0] * 9, [900.0]), Allowance(NOW, None, NOW, 1)),
        (Caps(None, 2), Lately(NOW, [], [900.0, 100.0]), Allowance(NOW, None, 86_500.0, 1)),
        (Caps(1, 2), Lately(NOW, [999.0], [900.0]), Allowance(1059.0, 1, 1059.0, 1)),
        (Caps(2, factor=0.1), Lately(NOW, [999.0, 995.0]), Allowance(1001.0, 1, 1001.0, None)),
        (Caps(None, 1, factor=0.1), Lately(NOW, [], [900.0]), Allowance(NOW, None, 9_540.0, 1)),
        (Caps(jitter=10.0), Lately(NOW), Allowance(NOW, 1, NOW, None)),
    ],
)
def test_what_is_left(caps: Caps, lately: Lately, expected: Allowance) -> None:
    assert allowance(caps, lately) == expected


def test_the_pause_after_a_message_is_its_own() -> None:
    caps = Caps(jitter=10.0)
    ends = {id_: allowance(caps, Lately(NOW, last=(NOW, id_))).at for id_ in ("A", "B", "C")}
    assert ends == {id_: NOW + 10.0 * fraction(id_) for id_ in ends}
    assert len(set(ends.values())) == 3
    assert allowance(caps, Lately(NOW, last=(NOW - 11, "A"))).at == NOW


@given(st.lists(st.text(min_size=1), min_size=200, max_size=200, unique=True))
def test_pauses_are_spread_over_their_range(ids: list[str]) -> None:
    parts = [fraction(id_) for id_ in ids]
    assert all(0 <= part < 1 for part in parts)
    assert 0.35 < sum(parts) / len(parts) < 0.65


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"holdfast": {}}, None),
        ({"holdfast": {"pacing": None}}, None),
        ({"holdfast": {"pacing": {}}}, None),
        ({"holdfast": {"pacing": {"jitter": 0}}}, None),
        ({"holdfast": {"pacing": {"messages_per_minute": 5}}}, Caps(5, factor=0.5)),
        ({"holdfast": {"pacing": {"new_chats_per_day": 9, "jitter": 2.5}}}, Caps(None, 9, 2.5, 0.5)),
    ],
)
def test_limits_come_from_the_sessions_configuration(config: dict[str, object], expected: Caps | None) -> None:
    assert Caps.of(config, 0.5) == expected


Arrivals = st.lists(st.tuples(st.floats(0, 90), st.booleans()), max_size=60)


@given(
    per_minute=st.none() | st.integers(1, 6),
    per_day=st.none() | st.integers(1, 4),
    jitter=st.just(0.0) | st.floats(0.1, 40),
    arrivals=Arrivals,
)
def test_whatever_comes_the_limits_hold_and_nobody_waits_without_need(
    per_minute: int | None, per_day: int | None, jitter: float, arrivals: list[tuple[float, bool]]
) -> None:
    """A sender that does as it is told, restarted before every look: all that it knows is what was sent."""
    caps = Caps(per_minute, per_day, jitter)
    now, sent, opened = 0.0, [], []
    for number, (pause, new) in enumerate(arrivals):
        now += pause
        while True:
            seen = sorted((at for at, _ in sent if now - at < 60), reverse=True)[: per_minute or 1]
            days = sorted((at for at in opened if now - at < 86_400), reverse=True)[: per_day or 1]
            allowed = allowance(caps, Lately(now, seen, days, max(sent) if sent else None))
            at = allowed.new_at if new else allowed.at
            if at <= now:
                break
            assert_needed(caps, sent, opened if new else [], now)
            now = at
        sent.append((now, f"M{number}"))
        opened += [now] if new else []
    times = [at for at, _ in sent]
    if per_minute:
        assert all(b - a >= 60 - 1e-6 for a, b in zip(times, times[per_minute:], strict=False))
    if per_day:
        assert all(b - a >= 86_400 - 1e-6 for a, b in zip(opened, opened[per_day:], strict=False))
    assert all(b - a >= jitter * fraction(id_) - 1e-6 for (a, id_), (b, _) in pairwise(sent))


def assert_needed(caps: Caps, sent: list[tuple[float, str]], opened: list[float], now: float) -> None:
    """Something must stand in the way."""
    full = caps.messages_per_minute and sum(now - at < 60 for at, _ in sent) >= caps.messages_per_minute
    crowded = caps.new_chats_per_day and sum(now - at < 86_400 for at in opened) >= caps.new_chats_per_day
    pausing = sent and now < sent[-1][0] + caps.jitter * fraction(sent[-1][1])
    assert full or crowded or pausing
