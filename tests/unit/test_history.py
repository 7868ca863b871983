"""What is searched for."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.errors import BadRequest
from holdfast.domain.history import LONGEST, MOST, words_of


def test_words_stand_between_spaces_and_marks() -> None:
    assert words_of(' "Rechnung" über  no.2024/117 👍') == ["Rechnung", "über", "no", "2024", "117"]


@pytest.mark.parametrize("asked", ["", "  ", "%_'\"", "👍", "x" * (LONGEST + 1)])
def test_what_cannot_be_searched_for_is_refused(asked: str) -> None:
    with pytest.raises(BadRequest):
        words_of(asked)


@given(st.text(max_size=LONGEST))
def test_words_hold_nothing_that_a_query_could_mean(asked: str) -> None:
    try:
        words = words_of(asked)
    except BadRequest:
        return
    assert 0 < len(words) <= MOST
    assert not any(mark in word for word in words for mark in string.punctuation + string.whitespace)
