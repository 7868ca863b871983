"""Accounts: made with their session or not at all, one for each company, user and phone, kept while the session is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from holdfast.domain.accounts import AccountRow
from holdfast.domain.errors import AccountTaken, SessionExists, SessionNotFound
from holdfast.domain.rows import MovedIn
from holdfast.domain.state import State
from tests.contract.conftest import World

PHONE = "40712345678"
SHOP = AccountRow("shop", "c1", "u1", PHONE, "Shop")


async def test_a_new_account_comes_with_a_session_that_takes_its_phone_only(world: World) -> None:
    assert await world.store.save_account(SHOP, "baileys") == (SHOP, True)
    row = await world.store.session("shop")
    assert row is not None
    assert (row.engine, row.desired, State.from_json(row.state).phone) == ("baileys", "stopped", PHONE)
    for asked in (
        AccountRow("shop"),
        AccountRow("", "c1"),
        AccountRow("", user_id="u1"),
        AccountRow("", phone=PHONE),
    ):
        assert await world.store.account(asked) == SHOP
    for stranger in (AccountRow("x"), AccountRow("", "c2"), AccountRow("", phone="40700000000"), AccountRow("")):
        assert await world.store.account(stranger) is None
    assert await world.store.accounts() == [SHOP]


async def test_what_is_asked_again_changes_nothing_and_what_was_unknown_is_added(world: World) -> None:
    assert (await world.store.save_account(AccountRow("shop", "c1"), "baileys"))[1]
    assert await world.store.save_account(replace(SHOP, name=""), "baileys") == (replace(SHOP, name=""), False)
    assert await world.store.save_account(SHOP, "baileys") == (SHOP, False)
    assert await world.store.save_account(AccountRow("shop"), "baileys") == (SHOP, False)


@pytest.mark.parametrize(
    "asked",
    [
        AccountRow("shop", "c2"),
        AccountRow("shop", user_id="u2"),
        AccountRow("shop", phone="40798765432"),
        AccountRow("other", "c1"),
        AccountRow("other", user_id="u1"),
        AccountRow("other", "c2", phone=PHONE),
    ],
    ids=["company", "user", "phone", "its company", "its user", "its phone"],
)
async def test_what_belongs_to_another_is_refused_and_nothing_is_made(world: World, asked: AccountRow) -> None:
    await world.store.save_account(SHOP, "baileys")
    with pytest.raises(AccountTaken) as raised:
        await world.store.save_account(asked, "baileys")
    assert PHONE not in raised.value.sentence
    assert await world.store.accounts() == [SHOP]
    assert await world.store.session("other") is None


async def test_the_phone_that_a_session_was_linked_with_is_its_accounts(world: World) -> None:
    await world.store.save_account(AccountRow("acme", "acme"), "baileys")
    moved = MovedIn({("creds", ""): b"x"}, PHONE, "", "Ana")
    await world.store.move_in("acme", "baileys", moved, over=True)
    await world.store.move_in("loose", "baileys", replace(moved, phone="40700000000"), over=False)
    assert await world.store.linked(PHONE) == ["acme"]
    assert await world.store.linked("40700000000") == ["loose"]
    found = await world.store.account(AccountRow("", phone=PHONE))
    assert found == AccountRow("acme", "acme")
    for asked in (AccountRow("other", "c2", phone=PHONE), AccountRow("acme", phone="40798765432")):
        with pytest.raises(AccountTaken):
            await world.store.save_account(asked, "baileys")
    saved, fresh = await world.store.save_account(AccountRow("acme", "acme", phone=PHONE), "baileys")
    assert (saved.phone, fresh) == (PHONE, False)


async def test_two_at_once_get_one_account(world: World) -> None:
    asked = [world.store.save_account(replace(SHOP, user_id=None), "baileys") for _ in range(6)]
    answers = await asyncio.gather(*asked)
    assert sum(fresh for _, fresh in answers) == 1
    assert len(await world.store.accounts()) == 1


async def test_two_companies_at_once_for_one_phone_have_one_winner(world: World) -> None:
    asked = [world.store.save_account(AccountRow(f"s{n}", f"c{n}", phone=PHONE), "baileys") for n in range(4)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, AccountTaken) for answer in answers) == 3, answers
    assert len(await world.store.accounts()) == len(await world.store.sessions()) == 1


async def test_aliases_find_the_account_and_never_another_session(world: World) -> None:
    await world.store.save_account(SHOP, "baileys", ["account_dev_1"])
    await world.store.create_session("taken", "baileys", {}, "stopped")
    with pytest.raises(SessionExists):
        await world.store.save_account(AccountRow("new", "c2"), "baileys", ["account_dev_2", "taken"])
    assert await world.store.session("new") is None
    assert await world.store.session("account_dev_2") is None
    saved, fresh = await world.store.save_account(AccountRow("account_dev_1", name="Again"), "baileys")
    assert (saved.session, saved.name, fresh) == ("shop", "Again", False)


async def test_it_outlives_credentials_and_goes_with_the_session(world: World) -> None:
    await world.store.save_account(SHOP, "baileys", ["old"])
    await world.store.clear_credentials("shop")
    assert await world.store.account(AccountRow("shop")) == SHOP
    assert await world.store.aliases("shop") == ["old"]
    await world.store.delete_session("shop")
    assert await world.store.accounts() == []
    assert await world.store.session("old") is None
    with pytest.raises(SessionNotFound):
        await world.store.update_config("shop", {})
    assert (await world.store.save_account(replace(SHOP, company_id="c2"), "baileys"))[1]
