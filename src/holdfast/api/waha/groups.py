"""Groups, as WhatsApp has them now: asked through the session's connection."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK

from holdfast.api.common import gateway_of
from holdfast.api.pages import COUNTABLE, Limit, Offset, page_size, skip, with_next
from holdfast.api.waha.chats import one_of
from holdfast.domain import groups, jids
from holdfast.domain.errors import BadRequest, InvalidChatId
from holdfast.domain.waha import from_waha_id, to_waha_id

Req = Request[Any, Any, Any]
SUBJECT_LIMIT = 100
INVITE = "https://chat.whatsapp.com/"


class Person(msgspec.Struct):
    """A member."""

    id: str


class CreateGroup(msgspec.Struct):
    """Body of `POST /groups`."""

    name: str
    participants: list[Person]


class Members(msgspec.Struct):
    """Body of the calls that change members."""

    participants: list[Person]


class Subject(msgspec.Struct):
    """Body of `PUT /subject`."""

    subject: str


class Description(msgspec.Struct):
    """Body of `PUT /description`; empty takes it away."""

    description: str


class AdminsOnly(msgspec.Struct):
    """Body of the security settings."""

    adminsOnly: bool  # noqa: N815 - WAHA's name


class Join(msgspec.Struct):
    """Body of `POST /join`: the code, or the link that holds it."""

    code: str


def group_id(given: str) -> str:
    """A group's address, from WAHA's id or its number alone. Raises `InvalidChatId`."""
    found = from_waha_id(given if "@" in given else f"{given}@{jids.GROUP}")
    if not jids.is_group(found):
        raise InvalidChatId()
    return found


def people(given: list[Person]) -> list[str]:
    """Their addresses. Raises `BadRequest` when there is nobody, `InvalidChatId` for what is no person."""
    found = [from_waha_id(one.id) for one in given]
    if not found:
        raise BadRequest('participants is empty: name at least one person, as {"id": "40712345678@c.us"}.')
    if any(jids.is_group(one) for one in found):
        raise InvalidChatId()
    return found


def named(given: str) -> str:
    """A group's name. Raises `BadRequest`."""
    if not 0 < len(given.strip()) <= SUBJECT_LIMIT:
        raise BadRequest(f"A group's name has 1 to {SUBJECT_LIMIT} characters.")
    return given.strip()


class Groups(Controller):
    """`/api/{session}/groups`."""

    path = "/api/{session:str}/groups"
    tags = ["Groups"]  # noqa: RUF012 - Litestar's way

    async def _ask(self, request: Req, session: str, method: str, **args: Any) -> Any:
        return await gateway_of(request).call(session, method, args)

    @post("/", summary="Create a group")
    async def create(self, request: Req, session: FromPath[str], data: JSONBody[CreateGroup]) -> dict[str, Any]:
        """With these members; the session's account is its first admin."""
        args = {"subject": named(data.name), "participants": people(data.participants)}
        return groups.info(await self._ask(request, session, "group_create", **args))

    @get("/", summary="Groups that the account is in")
    async def all(
        self,
        request: Req,
        session: FromPath[str],
        limit: Limit = None,
        offset: Offset = 0,
        exclude: FromQuery[list[str] | None] = None,
        sort_by: Annotated[str | None, QueryParameter(name="sortBy")] = None,
        sort_order: Annotated[str | None, QueryParameter(name="sortOrder")] = None,
    ) -> Response[Any]:
        """By id, or by `subject`; `exclude=participants` leaves the members out."""
        one_of("sortBy", sort_by, ["id", "subject"])
        one_of("sortOrder", sort_order, ["asc", "desc"])
        for word in exclude or []:
            one_of("exclude", word, ["", "participants"])
        found = [groups.info(one) for one in await self._ask(request, session, "groups")]
        found.sort(key=lambda group: str(group[sort_by or "id"]), reverse=sort_order == "desc")
        start = skip(offset)
        end = start + page_size(request, limit, COUNTABLE)
        shown = [{k: v for k, v in group.items() if k not in (exclude or [])} for group in found[start:end]]
        return with_next(request, shown, end < len(found), offset=end)

    @get("/count", summary="How many groups the account is in")
    async def count(self, request: Req, session: FromPath[str]) -> dict[str, int]:
        """`{"count": 3}`."""
        return {"count": len(await self._ask(request, session, "groups"))}

    @post("/refresh", summary="Ask WhatsApp for the groups", status_code=HTTP_200_OK)
    async def refresh(self, request: Req, session: FromPath[str]) -> dict[str, bool]:
        """Nothing to do: they are asked for each time."""
        await self._ask(request, session, "groups")
        return {"success": True}

    @post("/join", summary="Join a group by its invitation", status_code=HTTP_200_OK)
    async def join(self, request: Req, session: FromPath[str], data: JSONBody[Join]) -> dict[str, str]:
        """The group's id."""
        code = data.code.strip().removeprefix(INVITE)
        return {"id": str(await self._ask(request, session, "group_join", code=code))}

    @get("/{id:str}", summary="One group")
    async def one(self, request: Req, session: FromPath[str], id: FromPath[str]) -> dict[str, Any]:
        """Its name, settings and members."""
        return groups.info(await self._ask(request, session, "group", group=group_id(id)))

    @get("/{id:str}/participants", summary="Members")
    async def participants(self, request: Req, session: FromPath[str], id: FromPath[str]) -> list[dict[str, Any]]:
        """With their roles."""
        shown: list[dict[str, Any]] = (await self.one.fn(self, request, session, id))["participants"]
        return shown

    @get("/{id:str}/participants/v2", summary="Members")
    async def participants_v2(self, request: Req, session: FromPath[str], id: FromPath[str]) -> list[dict[str, Any]]:
        """The same."""
        shown: list[dict[str, Any]] = (await self.one.fn(self, request, session, id))["participants"]
        return shown

    async def _change(self, request: Req, session: str, id: str, action: str, data: Members) -> list[dict[str, Any]]:
        args = {"group": group_id(id), "action": action, "participants": people(data.participants)}
        results = await self._ask(request, session, "group_change", **args)
        return [{"id": to_waha_id(jids.bare(one["jid"])), "status": one["status"]} for one in results]

    @post("/{id:str}/participants/add", summary="Add members", status_code=HTTP_200_OK)
    async def add(
        self, request: Req, session: FromPath[str], id: FromPath[str], data: JSONBody[Members]
    ) -> list[dict[str, Any]]:
        """What WhatsApp says of each: 200, 403 (invite them instead), 404, 408 (left lately), 409 (is in it)."""
        return await self._change(request, session, id, "add", data)

    @post("/{id:str}/participants/remove", summary="Remove members", status_code=HTTP_200_OK)
    async def remove(
        self, request: Req, session: FromPath[str], id: FromPath[str], data: JSONBody[Members]
    ) -> list[dict[str, Any]]:
        """What WhatsApp says of each."""
        return await self._change(request, session, id, "remove", data)

    @post("/{id:str}/admin/promote", summary="Make members admins", status_code=HTTP_200_OK)
    async def promote(
        self, request: Req, session: FromPath[str], id: FromPath[str], data: JSONBody[Members]
    ) -> list[dict[str, Any]]:
        """What WhatsApp says of each."""
        return await self._change(request, session, id, "promote", data)

    @post("/{id:str}/admin/demote", summary="Make admins plain members", status_code=HTTP_200_OK)
    async def demote(
        self, request: Req, session: FromPath[str], id: FromPath[str], data: JSONBody[Members]
    ) -> list[dict[str, Any]]:
        """What WhatsApp says of each."""
        return await self._change(request, session, id, "demote", data)

    @put("/{id:str}/subject", summary="Rename the group")
    async def subject(
        self, request: Req, session: FromPath[str], id: FromPath[str], data: JSONBody[Subject]
    ) -> dict[str, bool]:
        """1 to 100 characters."""
        await self._ask(request, session, "group_subject", group=group_id(id), subject=named(data.subject))
        return {"success": True}

    @put("/{id:str}/description", summary="Describe the group")
    async def description(
        self, request: Req, session: FromPath[str], id: FromPath[str], data: JSONBody[Description]
    ) -> dict[str, bool]:
        """Empty takes it away."""
        await self._ask(request, session, "group_description", group=group_id(id), description=data.description)
        return {"success": True}

    @post("/{id:str}/leave", summary="Leave the group", status_code=HTTP_200_OK)
    async def leave(self, request: Req, session: FromPath[str], id: FromPath[str]) -> dict[str, bool]:
        """Its conversation stays."""
        await self._ask(request, session, "group_leave", group=group_id(id))
        return {"success": True}

    @get("/{id:str}/invite-code", summary="The group's invitation")
    async def invite(self, request: Req, session: FromPath[str], id: FromPath[str]) -> str:
        """Its link."""
        return INVITE + str(await self._ask(request, session, "group_invite", group=group_id(id)))

    @post("/{id:str}/invite-code/revoke", summary="Make the invitation invalid, and a new one", status_code=HTTP_200_OK)
    async def renew_invite(self, request: Req, session: FromPath[str], id: FromPath[str]) -> str:
        """The new link."""
        return INVITE + str(await self._ask(request, session, "group_invite", group=group_id(id), renew=True))

    @get("/{id:str}/settings/security/messages-admin-only", summary="Whether only admins may write")
    async def messages_admin_only(self, request: Req, session: FromPath[str], id: FromPath[str]) -> dict[str, bool]:
        """`{"adminsOnly": false}`."""
        facts = await self._ask(request, session, "group", group=group_id(id))
        return {"adminsOnly": bool(facts.get("announce"))}

    @put("/{id:str}/settings/security/messages-admin-only", summary="Let only admins write, or all")
    async def set_messages_admin_only(
        self, request: Req, session: FromPath[str], id: FromPath[str], data: JSONBody[AdminsOnly]
    ) -> dict[str, bool]:
        """For admins of the group."""
        setting = "announcement" if data.adminsOnly else "not_announcement"
        await self._ask(request, session, "group_setting", group=group_id(id), setting=setting)
        return {"success": True}

    @get("/{id:str}/settings/security/info-admin-only", summary="Whether only admins may change name and description")
    async def info_admin_only(self, request: Req, session: FromPath[str], id: FromPath[str]) -> dict[str, bool]:
        """`{"adminsOnly": false}`."""
        facts = await self._ask(request, session, "group", group=group_id(id))
        return {"adminsOnly": bool(facts.get("restrict"))}

    @put("/{id:str}/settings/security/info-admin-only", summary="Let only admins change name and description, or all")
    async def set_info_admin_only(
        self, request: Req, session: FromPath[str], id: FromPath[str], data: JSONBody[AdminsOnly]
    ) -> dict[str, bool]:
        """For admins of the group."""
        setting = "locked" if data.adminsOnly else "unlocked"
        await self._ask(request, session, "group_setting", group=group_id(id), setting=setting)
        return {"success": True}
