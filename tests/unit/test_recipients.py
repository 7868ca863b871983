"""Whom a message may be sent to, and whom it may mention."""

from __future__ import annotations

import pytest

from holdfast.domain.errors import InvalidChatId
from holdfast.domain.recipients import mentioned, recipient

GROUP = "120363000000000001@g.us"


@pytest.mark.parametrize(
    ("given", "jid"),
    [
        ("40712345678@c.us", "40712345678@s.whatsapp.net"),
        ("+40 712 345 678", "40712345678@s.whatsapp.net"),
        (GROUP, GROUP),
        ("12345678901234@lid", "12345678901234@lid"),
        ("120363111111111111@newsletter", "120363111111111111@newsletter"),
    ],
)
def test_chats_that_can_be_written_to(given: str, jid: str) -> None:
    assert recipient(given) == jid


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("status@broadcast", "status updates"),
        (" status@broadcast ", "status updates"),
        ("1700000000@broadcast", "broadcast lists"),
        ("@c.us", "chat id"),
        ("all", "chat id"),
        ("", "chat id"),
        ("a@g.us", "chat id"),
    ],
)
def test_what_would_reach_nobody_is_refused_in_words(given: str, word: str) -> None:
    with pytest.raises(InvalidChatId, match=word):
        recipient(given)


def test_mentions() -> None:
    ana, lid = "40712345678@s.whatsapp.net", "12345678901234@lid"
    assert mentioned(None, GROUP) == mentioned([], GROUP) == mentioned("", GROUP) == {}
    assert mentioned(["40712345678@c.us", lid], "40712345679@c.us") == {"mentions": [ana, lid]}
    assert mentioned("40712345678@c.us, 12345678901234@lid,", GROUP) == {"mentions": [ana, lid]}
    assert mentioned(["all"], GROUP) == mentioned("all", GROUP) == {"mention_all": True}
    assert mentioned(["40712345678@c.us", "all"], GROUP) == {"mention_all": True}


@pytest.mark.parametrize(
    ("said", "chat"),
    [
        (["all"], "40712345678@c.us"),
        (["everybody"], GROUP),
        ([GROUP], GROUP),
        (["1234567890@newsletter"], GROUP),
        (["status@broadcast"], GROUP),
        (["x" * 500], GROUP),
    ],
)
def test_who_cannot_be_mentioned_is_refused_with_the_field(said: list[str], chat: str) -> None:
    with pytest.raises(InvalidChatId, match=r"^mentions: ") as caught:
        mentioned(said, chat)
    assert len(caught.value.sentence) < 250
