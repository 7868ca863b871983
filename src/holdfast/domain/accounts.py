"""Accounts: the companies, users and phones behind sessions, the names that they get, and what recovering them took."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile

from holdfast.domain.errors import AccountTaken, HoldfastError, InvalidName
from holdfast.domain.identity import account_name, legacy_key, user_name, valid_session_name
from holdfast.domain.jids import mask
from holdfast.domain.rows import Json, TimelineRow

_ENVIRONMENTS = ("prod", "production", "dev", "development")
"""What stood in account ids of older schemes, where a namespace stands now."""
_HASH = 12
_SIGNS_OF_A_TRY = frozenset({"STARTING", "SCAN_QR_CODE", "FAILED"})


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Who a session belongs to. What is not known is None; `phone` is canonical: digits with the country code."""

    session: str
    company_id: str | None = None
    user_id: str | None = None
    phone: str | None = None
    name: str = ""


def merged(known: AccountRow, asked: AccountRow) -> AccountRow:
    """What is known, with what was asked for beside it. Raises `AccountTaken` where both differ."""
    for what, has, wants in (
        ("company", known.company_id, asked.company_id),
        ("user", known.user_id, asked.user_id),
        ("phone number", known.phone, asked.phone),
    ):
        if has and wants and has != wants:
            theirs, other = (mask(has), mask(wants)) if what == "phone number" else (has, wants)
            raise AccountTaken(
                f"The account '{known.session}' belongs to the {what} {theirs}, not to {other}. "
                "Delete its session first if it is to change hands."
            )
    return replace(
        known,
        company_id=known.company_id or asked.company_id,
        user_id=known.user_id or asked.user_id,
        phone=known.phone or asked.phone,
        name=asked.name or known.name,
    )


def new_name(asked: AccountRow, namespace: str) -> str:
    """The session's name for an account that is new: by its phone, else its company, else its user.

    A company's session has the company's id as its name, as imported ones have; ids that cannot be names are hashed.
    """
    if asked.phone:
        return account_name(asked.phone, namespace)
    if asked.company_id:
        return _fitting(asked.company_id, "company")
    if asked.user_id:
        return user_name(asked.user_id)
    raise HoldfastError("An account needs a phone, a company or a user.")


def second_name(phone: str, namespace: str) -> str:
    """The name for a phone's account where the first is taken: an account keeps its name when its number changes, and
    somebody else may get the old number.
    """
    return account_name(phone, namespace, digits=24)


def other_name(user_id: str) -> str:
    """The name for a user whose first 12 characters are another user's as well: ids made within a second often are."""
    return _fitting(f"u_{user_id}", "u")


def _fitting(name: str, prefix: str) -> str:
    try:
        return valid_session_name(name)
    except InvalidName:
        return f"{prefix}_{hashlib.sha256(name.encode()).hexdigest()[:_HASH]}"


def legacy_names(id: str, namespace: str) -> list[str]:
    """The sessions that an account id of an older scheme may mean: those with the same hash."""
    key = legacy_key(id)
    if key is None:
        return []
    spaces = dict.fromkeys((namespace, *_ENVIRONMENTS))
    return [f"account_{space}_{hashed}" for hashed in dict.fromkeys((key, key[:_HASH])) for space in spaces]


def legacy_names_of_phone(phone: str) -> list[str]:
    """The names that older schemes with our hash gave to a phone's account."""
    return [account_name(phone, space) for space in _ENVIRONMENTS]


def recovery(newest_first: Iterable[TimelineRow]) -> Json:
    """`{"attempts", "lastAt", "lastOutcome"}` of the last time that the session broke, from its timeline.

    `lastAt`: Unix seconds of the last attempt; `lastOutcome`: the status that it led to, None while it is under way.
    All None and 0 if it never broke. What a person stops is not broken.
    """
    attempts, last_at, outcome = 0, None, None
    broken = worked = False
    for row in reversed(list(newest_first)):
        if row.status == "STOPPED":
            broken = worked = False
        elif row.status == "WORKING":
            outcome = "WORKING" if broken else outcome
            broken, worked = False, True
        elif row.status in _SIGNS_OF_A_TRY:
            if not broken and (worked or row.status == "FAILED"):
                broken, attempts, last_at = True, 0, None
            if broken:
                if row.attempt > 0 or (row.status == "STARTING" and row.code != "authenticated"):
                    attempts, last_at = attempts + 1, row.at
                outcome = None if row.status == "STARTING" else row.status
    return {"attempts": attempts, "lastAt": last_at, "lastOutcome": outcome}


def seconds_until_again(newest_first: Iterable[TimelineRow], codes: frozenset[str], now: float, every: float) -> float:
    """How long to wait until something that the timeline tells by `codes` may be done once more. What led to WORKING
    is done with: nobody has to wait for that.
    """
    fruitless = takewhile(lambda row: row.status != "WORKING", newest_first)
    last = next((row.at for row in fruitless if row.code in codes), None)
    return 0.0 if last is None else max(0.0, last + every - now)
