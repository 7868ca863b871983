"""What is received keeps its meaning: one linked session over real processes, and people who do what people do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from waha import AsyncWahaClient

from tests.support.conversations import SCENARIOS, SHOP, Talk, c_us
from tests.support.processes import KEY, Holdfast, Receiver, Wasim
from tests.support.waha_calls import implemented, matches, recorded


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talk]:
    folder = tmp_path_factory.mktemp("receiving")
    async with Wasim(folder) as wasim, Receiver() as hook, Holdfast(wasim, folder) as holdfast:
        await holdfast.link(wasim, "shop", SHOP, hook.config())
        yield Talk(wasim, holdfast, hook)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_received(talk: Talk, scenario: str) -> None:
    await SCENARIOS[scenario](talk)


@pytest.mark.asyncio(loop_scope="module")
async def test_every_call_about_groups_works_by_wahas_client(talk: Talk) -> None:
    ana, bea = "40730000011", "40730000012"
    for phone in (ana, bea):
        await talk.wasim.post("phones", {"phone": phone})
    client = AsyncWahaClient(talk.holdfast.url, api_key=KEY)
    asked, groups = recorded(client), client.groups
    try:
        made = await groups.a_create_group("shop", payload={"name": "By client", "participants": [{"id": c_us(ana)}]})
        group = made["id"]
        who = {"participants": [{"id": c_us(bea)}]}
        assert (await groups.a_add_participants("shop", group, payload=who))[0]["status"] == 200
        assert (await groups.a_promote_to_admin("shop", group, payload=who))[0]["status"] == 200
        assert (await groups.a_demote_to_admin("shop", group, payload=who))[0]["status"] == 200
        for shown in (groups.a_get_participants, groups.a_get_group_participants):
            assert {one["pn"] for one in await shown("shop", group)} == {c_us(SHOP), c_us(ana), c_us(bea)}
        assert (await groups.a_remove_participants("shop", group, payload=who))[0]["status"] == 200
        await groups.a_set_subject("shop", group, payload={"subject": "Renamed"})
        await groups.a_set_description("shop", group, payload={"description": "What it is about"})
        for ask, tell in (
            (groups.a_get_messages_admin_only, groups.a_set_messages_admin_only),
            (groups.a_get_info_admin_only, groups.a_set_info_admin_only),
        ):
            assert await ask("shop", group) == {"adminsOnly": False}
            await tell("shop", group, payload={"adminsOnly": True})
            assert await ask("shop", group) == {"adminsOnly": True}
        found = await groups.a_get_group("shop", group)
        assert (found["subject"], found["description"]) == ("Renamed", "What it is about")
        assert found["membersCanSendMessages"] is False
        since = await talk.wasim.seq()
        await talk.says(ana, "may I?", to=group)
        assert "only admins" in str(await talk.wasim.get("wait", since=since, kind="refused", jid=ana, timeout=10))
        invite = await groups.a_get_invite_code("shop", group)
        assert invite.startswith("https://chat.whatsapp.com/")
        assert await groups.a_revoke_invite_code("shop", group) != invite
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await groups.a_join_group("shop", payload={"code": invite})
        listed = await groups.a_get_groups("shop", params={"exclude": ["participants"], "sortBy": "subject"})
        assert "participants" not in listed[0]
        assert (await groups.a_get_groups_count("shop"))["count"] == len(listed)
        await groups.a_refresh_groups("shop")
        await groups.a_leave_group("shop", group)
        with pytest.raises(httpx.HTTPStatusError, match="403"):
            await groups.a_get_group("shop", group)
        for wrong, status in (("40712345678@c.us", "422"), ("nonsense", "422"), ("120363999999999999@g.us", "404")):
            with pytest.raises(httpx.HTTPStatusError, match=status):
                await groups.a_get_group("shop", wrong)
        for name, members in (("", [c_us(ana)]), ("x" * 101, [c_us(ana)]), ("ok", [])):
            payload = {"name": name, "participants": [{"id": one} for one in members]}
            with pytest.raises(httpx.HTTPStatusError, match="400"):
                await groups.a_create_group("shop", payload=payload)
    finally:
        await client.close()
    left = [call for call in implemented() if "/groups" in call[1] and not any(matches(one, call) for one in asked)]
    assert left == []
