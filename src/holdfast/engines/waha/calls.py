"""Live calls by name, as requests to WAHA; names and arguments are those of the Baileys engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from holdfast.domain import jids
from holdfast.domain.errors import BadRequest, CallFailed, HoldfastError, MediaGone, NotConnected
from holdfast.domain.waha import to_waha_id
from holdfast.engines.waha.client import WahaClient
from holdfast.engines.waha.errors import WahaBusy, WahaRefused, WahaUnavailable

Args = Mapping[str, Any]
_Call = Callable[[WahaClient, str, Args], Awaitable[Any]]


class Calls:
    """What can be called."""

    def __init__(self, known: Mapping[str, _Call]) -> None:
        self._known = known

    async def make(self, client: WahaClient, session: str, method: str, args: Args) -> Any:
        """Raises `BadRequest` for an unknown method, `WahaRefused`, `NotConnected` where WAHA cannot be asked now."""
        if method not in self._known:
            raise BadRequest(f"Sessions on a WAHA server have no '{method}'.")
        try:
            return await self._known[method](client, session, args)
        except (WahaUnavailable, WahaBusy) as error:
            raise NotConnected(error.sentence) from error

    @staticmethod
    def failed(error: WahaRefused) -> HoldfastError:
        """WAHA's refusal, as users are told."""
        return CallFailed(error.sentence)


async def _check_number(client: WahaClient, session: str, args: Args) -> Any:
    found = await client.get("/api/contacts/check-exists", {"phone": args["phone"], "session": session})
    if not isinstance(found, Mapping) or not found.get("numberExists"):
        return {"exists": False}
    ids = [jids.bare(str(found[name])) for name in ("pn", "chatId") if found.get(name)]
    phone = next((jid for jid in ids if jids.phone_of(jid)), f"{args['phone']}@{jids.PN}")
    return {"exists": True, "jid": phone, "lid": next((jid for jid in ids if jids.is_lid(jid)), "")}


async def _mark_read(client: WahaClient, session: str, args: Args) -> None:
    chat = to_waha_id(str(args["chat"]))
    for message in args["messages"]:
        who = to_waha_id(str(message["participant"])) if message.get("participant") else None
        serialized = "_".join(filter(None, ("false", chat, str(message["id"]), who)))
        body = {"session": session, "chatId": chat, "messageIds": [serialized], "participant": who}
        await client.post("/api/sendSeen", {k: v for k, v in body.items() if v is not None}, again=True)


async def _typing(client: WahaClient, session: str, args: Args) -> None:
    path = "/api/startTyping" if args.get("on") else "/api/stopTyping"
    await client.post(path, {"session": session, "chatId": to_waha_id(str(args["chat"]))}, again=True)


async def _presence(client: WahaClient, session: str, args: Args) -> None:
    words = {"available": "online", "unavailable": "offline", "composing": "typing"}
    body = {"presence": words.get(str(args["presence"]), str(args["presence"]))}
    if args.get("chat"):
        body["chatId"] = to_waha_id(str(args["chat"]))
    await client.post(f"/api/{quote(session)}/presence", body, again=True)


async def _subscribe(client: WahaClient, session: str, args: Args) -> None:
    chat = quote(to_waha_id(str(args["chat"])), safe="@")
    await client.post(f"/api/{quote(session)}/presence/{chat}/subscribe", again=True)


async def _picture(client: WahaClient, session: str, args: Args) -> Any:
    query = {"contactId": to_waha_id(str(args["chat"])), "session": session}
    found = await client.get("/api/contacts/profile-picture", query)
    return found.get("profilePictureURL") if isinstance(found, Mapping) else None


async def _download(client: WahaClient, session: str, args: Args) -> Any:
    raise MediaGone("The file stays on the WAHA server; Holdfast does not fetch files from there.")


CALLS = Calls(
    {
        "check_number": _check_number,
        "mark_read": _mark_read,
        "typing": _typing,
        "presence": _presence,
        "subscribe_presence": _subscribe,
        "profile_picture": _picture,
        "download_media": _download,
    }
)
