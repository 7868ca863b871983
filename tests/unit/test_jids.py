"""WhatsApp's addresses, by table and for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import jids


@pytest.mark.parametrize(
    ("jid", "parts", "bare"),
    [
        ("40712345678@s.whatsapp.net", ("40712345678", 0, jids.PN), "40712345678@s.whatsapp.net"),
        ("40712345678:12@s.whatsapp.net", ("40712345678", 12, jids.PN), "40712345678@s.whatsapp.net"),
        ("40712345678_1:12@s.whatsapp.net", ("40712345678", 12, jids.PN), "40712345678@s.whatsapp.net"),
        ("40712345678@c.us", ("40712345678", 0, jids.PN), "40712345678@s.whatsapp.net"),
        ("999:3@lid", ("999", 3, "lid"), "999@lid"),
        ("120363@g.us", ("120363", 0, "g.us"), "120363@g.us"),
        ("40712345678-1500000000@g.us", ("40712345678-1500000000", 0, "g.us"), "40712345678-1500000000@g.us"),
        ("status@broadcast", ("status", 0, "broadcast"), "status@broadcast"),
        ("s.whatsapp.net", ("s.whatsapp.net", 0, ""), "s.whatsapp.net"),
        ("1:x@lid", ("1", 0, "lid"), "1@lid"),
        ("1:²@lid", ("1", 0, "lid"), "1@lid"),
        ("", ("", 0, ""), ""),
    ],
)
def test_an_address_is_taken_apart(jid: str, parts: tuple[str, int, str], bare: str) -> None:
    assert jids.split(jid) == parts
    assert jids.bare(jid) == bare


@given(st.text(alphabet="12_:@.²٣ab-", max_size=12))
def test_the_account_of_an_account_is_itself(text: str) -> None:
    assert jids.bare(jids.bare(text)) == jids.bare(text)


def test_kinds_of_addresses() -> None:
    assert [jids.is_group(a) for a in ("1@g.us", "1@lid", "1@s.whatsapp.net")] == [True, False, False]
    assert [jids.is_lid(a) for a in ("1@lid", "1:2@lid", "1@g.us")] == [True, True, False]
    assert [jids.phone_of(a) for a in ("1:2@s.whatsapp.net", "1@c.us", "1@lid", "1@g.us", "x")] == [
        "1",
        "1",
        "",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("phone", "shown"),
    [("40712345697", "+407****97"), ("+40 712 345 697", "+407****97"), ("123456", "+123****56"), ("12345", "+****"),
     ("", "+****"), ("40712345697@s.whatsapp.net", "+407****97")],
)  # fmt: skip
def test_a_number_is_masked_for_logs(phone: str, shown: str) -> None:
    assert jids.mask(phone) == shown


@pytest.mark.parametrize(
    ("address", "person"),
    [
        ("40700000002:99@hosted", "40700000002@s.whatsapp.net"),
        ("111222333:99@hosted.lid", "111222333@lid"),
        ("40700000002@hosted", "40700000002@s.whatsapp.net"),
        ("40700000002@c.us", "40700000002@s.whatsapp.net"),
        ("1700000000@broadcast", "1700000000@broadcast"),
    ],
)
def test_every_address_of_a_person_is_theirs(address: str, person: str) -> None:
    assert jids.bare(address) == person
    assert jids.is_lid(address) == person.endswith("@lid")


def test_lists_are_no_status_updates() -> None:
    assert jids.is_broadcast_list("1700000000@broadcast")
    assert not jids.is_broadcast_list("status@broadcast")
    assert not jids.is_broadcast_list("40700000002@s.whatsapp.net")
