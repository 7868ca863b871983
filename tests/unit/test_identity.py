"""Names that stay: the same person has the same session everywhere, and what is no phone number is said so."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.errors import InvalidName, InvalidPhone
from holdfast.domain.identity import account_name, canonical_phone, legacy_key, user_name, valid_session_name


@pytest.mark.parametrize(
    "written",
    ["40712345678", "+40712345678", "0040712345678", "+40 712 345 678", " 0040-712-345-678 ", "+40 (712) 345.678",
     "+40 (0) 712 345 678", "+40(0)712345678", "40712345678@c.us", "40712345678@s.whatsapp.net", "40/712/345/678"],
)  # fmt: skip
def test_one_number_however_it_is_written(written: str) -> None:
    assert canonical_phone(written) == "40712345678"
    assert account_name(written) == account_name("40712345678")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("0712345678", "local format"),
        ("(0)712345678", "local format"),
        ("+0712345678", "local format"),
        ("000712345678", "local format"),
        ("123456", "7 to 15 digits"),
        ("1234567890123456", "7 to 15 digits"),
        ("", "international format"),
        ("+", "international format"),
        ("ana", "international format"),
        ("+40712x45678", "international format"),
        ("++40712345678", "international format"),
        ("٤٠٧١٢٣٤٥٦٧٨", "international format"),
        ("40712345678@g.us", "international format"),
    ],
)
def test_what_is_no_phone_number_is_refused_with_a_sentence(written: str, says: str) -> None:
    with pytest.raises(InvalidPhone, match=says) as caught:
        canonical_phone(written)
    assert caught.value.http_status == 422


@given(st.text())
def test_whatever_is_written_gives_plain_digits_or_an_error(written: str) -> None:
    try:
        phone = canonical_phone(written)
    except InvalidPhone:
        return
    assert phone.isascii()
    assert phone.isdigit()
    assert phone[0] != "0"
    assert canonical_phone(phone) == canonical_phone(f"+{phone}") == canonical_phone(f"00{phone}") == phone


def test_an_account_is_named_by_namespace_and_hash() -> None:
    digest = hashlib.sha256(b"40712345678").hexdigest()[:12]
    assert account_name("+40 712 345 678") == f"account_prod_{digest}"
    assert account_name("+40 712 345 678", "shops") == f"account_shops_{digest}"
    assert account_name("+40 712 345 679") != account_name("+40 712 345 678")
    assert "40712345678" not in account_name("40712345678")


@pytest.mark.parametrize("namespace", ["a/b", "a b", "é", "x" * 40])
def test_a_namespace_that_makes_no_name_is_refused(namespace: str) -> None:
    with pytest.raises(InvalidName):
        account_name("40712345678", namespace)


def test_a_users_session_is_named_by_twelve_characters() -> None:
    assert user_name("6828510b49ea27a15a2226c0") == "u_6828510b49ea"
    assert user_name("7") == "u_7"


@pytest.mark.parametrize("user_id", ["", "a/b", "../../etc"])
def test_a_user_without_a_usable_id_gets_no_session(user_id: str) -> None:
    with pytest.raises(InvalidName):
        user_name(user_id)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("account_dev_abc123", "abc123"),
        ("account_development_abc123", "abc123"),
        ("account_production_abc123", "abc123"),
        ("account_prod_abc123", "abc123"),
        ("account_shops_abc123", None),
        ("account_dev_", None),
        ("account_dev_a_b", None),
        ("xaccount_dev_abc", None),
        ("u_6828510b49ea", None),
    ],
)
def test_names_of_older_schemes_are_recognised(name: str, key: str | None) -> None:
    assert legacy_key(name) == key


@pytest.mark.parametrize("name", ["default", "a", "A.b-c_9", "x" * 54, "9"])
def test_names_that_are_valid(name: str) -> None:
    assert valid_session_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 55, "-a", ".a", "_a", "..", "a/b", "a b", "a\n", "é", "a\x00", "a:b"])
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(InvalidName, match="1 to 54 characters"):
        valid_session_name(name)
