"""WhatsApp's error numbers: each has a sentence and one verdict; what is final never counts as a passing failure."""

from __future__ import annotations

import pytest

from holdfast.domain import refusals
from holdfast.domain.errors import GroupNotFound, HoldfastError, NotAllowed, NotConnected, Refused, RefusedForNow

PASSING = {408, 421, 425, 429, 440, 500, 503}
FINAL = {400, 401, 403, 404, 405, 406, 409, 410, 413, 419, 420, 463, 475, 479, 501}


def test_the_table_is_whole() -> None:
    assert set(refusals.REFUSALS) == PASSING | FINAL
    assert {number for number, known in refusals.REFUSALS.items() if not known.final} == PASSING


@pytest.mark.parametrize("number", [*range(400, 600), 999])
def test_every_number_has_a_sentence_and_one_verdict(number: int) -> None:
    sentence = refusals.sentence(number)
    assert f"({number})." in sentence
    assert sentence.endswith(".")
    error = refusals.of_message(number)
    final = number in FINAL or (number < 500 and number not in PASSING)
    assert isinstance(error, Refused) is final
    assert isinstance(error, NotConnected) is not final, "what the sender tries again"
    assert error.retryable is not final
    assert error.facts == {"error": number}
    for group in (True, False):
        call = refusals.of_call(number, group=group)
        assert isinstance(call, HoldfastError)
        assert call.sentence.endswith(".")
        assert call.http_status >= 400


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (403, NotAllowed, "no member of the group"),
        (404, GroupNotFound, "no such group"),
        (410, GroupNotFound, "invitation"),
        (429, RefusedForNow, "too often"),
    ],
)
def test_calls_about_groups_have_words_of_their_own(number: int, error: type[HoldfastError], words: str) -> None:
    said = refusals.of_call(number, group=True)
    assert type(said) is error
    assert words in said.sentence


def test_the_two_causes_of_463_are_told_apart() -> None:
    lock, token = refusals.restricted("timelock", 1_800_000_000.0), refusals.restricted("token", None)
    assert "until 2027-01-15 08:00:00 UTC (463)" in lock
    assert "for now (463)" in refusals.restricted("timelock", None)
    assert "privacy token" in token
    assert "(463)" in token
    assert "token" not in lock
    assert refusals.restricted("", None) == refusals.sentence(463)


def test_only_a_group_is_not_found() -> None:
    assert not isinstance(refusals.of_call(404, group=False), GroupNotFound)
