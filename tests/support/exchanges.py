"""What people exchange beside plain texts while everything is killed: groups, what cannot be read, changes, files."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import random
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tests.support.arena import SHOP, Arena, Load, about, difference, plain

SHOP_PN = f"{SHOP}@s.whatsapp.net"
ADMIN, MEMBER, SEALED, FICKLE, PAINTER, VIEWER = [f"4071234580{number}" for number in range(6)]
UNREAD = ("unavailable", "garble")
PNG = b"\x89PNG\r\n\x1a\n"
SIZE = 20_000
"""Bytes of a picture."""
CHANGES = ("message.edited", "message.reaction", "message.revoked")


class Exchanges(Load):
    """A lane each for a group that changes, messages that cannot be read at first, changed messages, files each way."""

    events = (
        "message", "message.ack", "message.waiting", *CHANGES, "group.v2.join", "group.v2.participants",
        "group.v2.update",
    )  # fmt: skip

    def __init__(self, *world: Any) -> None:
        super().__init__(*world)
        self._group = ""
        self._happened: list[tuple[str, str]] = []
        """In the group, in order: event, and whom or what it is about."""
        self._sealed: dict[str, str] = {}
        """Text by message id, in order: every other one cannot be read at first."""
        self._changed: list[tuple[str, str, str, str, str]] = []
        """Ids of a message, of its edit, of a reaction to it, of another message, and of its deletion."""
        self._painted: dict[str, bytes] = {}
        """Digest of the file by message id."""
        self._whole: set[str] = set()
        """Messages whose file was fetched and is what was sent."""
        self._pictures: dict[str, bytes] = {}
        self._accepted: dict[str, str] = {}
        """By caption: the file, and the message id; in order."""

    def lanes(self) -> list[Coroutine[Any, Any, None]]:
        """See the base."""
        return [self._meet(), self._seal(), self._change(), self._paint(), self._fetch(), self._send()]

    # --- the lanes ----------------------------------------------------------------------------------------------
    async def _do(self, phone: str, action: str, **facts: Any) -> Any:
        async with self.writing:
            return (await self.wasim.post(f"phones/{phone}/{action}", facts))["result"]

    async def _meet(self) -> None:
        for phone in (ADMIN, MEMBER):
            await self.wasim.post("phones", {"phone": phone})
        self._group = await self._do(ADMIN, "group", subject="Meeting", members=[SHOP_PN])
        self._happened.append(("group.v2.join", "Meeting"))
        member = f"{MEMBER}@s.whatsapp.net"
        for number in itertools.count():
            for change in ({"add": [member]}, {"subject": f"Meeting {number:05d}"}, {"remove": [member]}):
                if self.stopping.is_set():
                    return
                await self._do(ADMIN, "group-change", group=self._group, **change)
                kind = "group.v2.update" if "subject" in change else "group.v2.participants"
                about = change.get("subject") or ("join" if "add" in change else "leave")
                self._happened.append((kind, str(about)))
                await self.pause(0.3, 0.6)

    async def _seal(self) -> None:
        await self.wasim.post("phones", {"phone": SEALED})
        for number in itertools.count():
            for fault in UNREAD:
                if self.stopping.is_set():
                    return
                readable, spoiled = f"read {number:05d} before {fault}", f"{fault} {number:05d}"
                self._sealed[await self.says(SEALED, readable)] = readable
                self._sealed[await self.says(SEALED, spoiled, fault)] = spoiled
                await self.pause(0.8, 1.6)

    async def _change(self) -> None:
        for number in itertools.count():
            if self.stopping.is_set():
                return
            said = await self.says(FICKLE, f"said {number:05d}")
            edit = await self._do(FICKLE, "edit", chat=SHOP_PN, id=said, text=f"meant {number:05d}")
            reaction = await self._do(FICKLE, "react", chat=SHOP_PN, id=said, emoji="👍")
            gone = await self.says(FICKLE, f"unsaid {number:05d}")
            deletion = await self._do(FICKLE, "revoke", chat=SHOP_PN, id=gone)
            self._changed.append((said, edit, reaction, gone, deletion))
            await self.pause(0.6, 1.2)

    async def _paint(self) -> None:
        await self.wasim.post("phones", {"phone": PAINTER})
        for number in itertools.count():
            if self.stopping.is_set():
                return
            picture = PNG + random.randbytes(SIZE)
            coded = {"base64": base64.b64encode(picture).decode(), "mimetype": "image/png"}
            id_ = await self._do(PAINTER, "picture", chat=SHOP_PN, caption=f"painted {number:05d}", **coded)
            self._painted[id_] = hashlib.sha256(picture).digest()
            await self.pause(0.4, 0.8)

    async def _send(self) -> None:
        await self.wasim.post("phones", {"phone": VIEWER})
        for number in itertools.count():
            if self.stopping.is_set():
                return
            caption, picture = f"sent {number:05d}", PNG + random.randbytes(SIZE)
            file = {"mimetype": "image/png", "filename": "a.png", "data": base64.b64encode(picture).decode()}
            self._pictures[caption] = picture
            self._accepted[caption] = await self.until_accepted(
                "sendImage", VIEWER, caption, caption=caption, file=file
            )
            await self.pause(0.3, 0.8)

    async def _fetch(self) -> None:
        """As users do who were told of a file: asked for at once, and again until it is there."""
        while not self.stopping.is_set():
            for event in self._with_files():
                await self._look(event)
            await self.pause(0.05, 0.1)

    def _with_files(self) -> list[dict[str, Any]]:
        """The events whose file was not fetched yet."""
        came = {plain(e["payload"]["id"]): e for e in self.hook.came() if e["event"] == "message"}
        return [came[id_] for id_ in self._painted if id_ not in self._whole and id_ in came]

    async def _look(self, event: dict[str, Any]) -> None:
        id_ = plain(event["payload"]["id"])
        path = urlsplit(event["payload"]["media"]["url"]).path
        for instance in self.instances:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                patience = aiohttp.ClientTimeout(total=10)
                async with instance.http.get(f"{instance.url}{path}", timeout=patience) as answer:
                    if answer.status == 200:
                        found = hashlib.sha256(await answer.read()).digest()
                        assert found == self._painted[id_], f"the file of {id_} is not the one that was sent"
                        self._whole.add(id_)
                        return
                    assert answer.status in (500, 503), (answer.status, await answer.text())

    # --- judging ------------------------------------------------------------------------------------------------
    async def missing(self, it: Arena) -> list[str]:
        """See the base."""
        for event in self._with_files():
            await self._look(event)
        told = {plain(about(event)) for event in it.told("message", *CHANGES)}
        untold = [id_ for id_ in (*self._sealed, *self._painted, *itertools.chain(*self._changed)) if id_ not in told]
        left = [f"not told of {id_}" for id_ in untold]
        left += [f"{id_} without its file" for id_ in self._painted if id_ not in self._whole]
        if len(changes := self._changes(it)) < len(self._happened):
            left.append(f"not told of {self._happened[len(changes)]}")
        return [*left, *await self.undelivered(it, self._accepted.values())]

    def _changes(self, it: Arena) -> list[tuple[str, str]]:
        """What the receiver was told of the group."""
        found = []
        for event in it.told("group.v2.join", "group.v2.participants", "group.v2.update"):
            payload = event["payload"]
            if payload["group"]["id"] == self._group:
                found.append((event["event"], str(payload.get("type") or payload["group"]["subject"])))
        return found

    async def agree(self, it: Arena) -> str:
        """See the base."""
        changes = self._changes(it)
        assert changes == self._happened, f"group: {difference(changes, self._happened)}"
        await self._sealed_agree(it)
        await self._changed_agree(it)
        assert self._whole == set(self._painted), "files are missing"
        captions = [m["body"] async for m in it.stored(f"{PAINTER}@c.us")]
        assert captions[::-1] == [f"painted {number:05d}" for number in range(len(self._painted))], "painted"
        repeated = await it.shown(VIEWER, self._accepted)
        for caption, id_ in self._accepted.items():
            seen = base64.b64decode(await self._do(VIEWER, "download", id=id_))
            assert seen == self._pictures[caption], f"{caption} arrived as another file"
        unread = len(self._sealed) // 2
        return (
            f"{len(self._happened)} in a group, {unread} unread at first, {len(self._changed)} changed, "
            f"{len(self._painted)} files in and {len(self._accepted)} out ({repeated} sent again under the same id)"
        )

    async def _sealed_agree(self, it: Arena) -> None:
        """Each once, with its text; those that could not be read were announced."""
        told = {plain(e["payload"]["id"]): e["payload"]["body"] for e in it.told("message")}
        came = {id_: told[id_] for id_ in self._sealed}
        assert came == self._sealed, difference(came.items(), self._sealed.items())
        shown = {plain(m["id"]): m["body"] async for m in it.stored(f"{SEALED}@c.us")}
        assert shown == self._sealed, difference(sorted(shown.items()), sorted(self._sealed.items()))
        announced = {plain(e["payload"]["id"]) for e in it.told("message.waiting")}
        log = await self.wasim.get("log", since=0, kind="spoiled", limit=100_000)
        spoiled = {entry["id"] for entry in log}  # a fault may strike the copy of an earlier one, sent again
        assert announced == spoiled, f"announced in excess {announced - spoiled}, not announced {spoiled - announced}"

    async def _changed_agree(self, it: Arena) -> None:
        """Each message is as its writer left it, and knows what it was."""
        shown = {plain(m["id"]): m async for m in it.stored(f"{FICKLE}@c.us")}
        written = 2 * len(self._changed)
        assert len(shown) == written, f"{len(shown)} messages where {written} were written"
        for number, (said, _, _, gone, _) in enumerate(self._changed):
            edited, revoked = shown[said], shown[gone]
            before = [one["text"] for one in edited["_data"]["edits"]]
            assert (edited["body"], before) == (f"meant {number:05d}", [f"said {number:05d}"]), edited
            assert [one["text"] for one in edited["_data"]["reactions"]] == ["👍"], edited
            facts = revoked["_data"]["kind"], revoked["_data"]["former"]["text"]
            assert (revoked["body"], *facts) == ("", "revoked", f"unsaid {number:05d}"), revoked
        order = [plain(about(event)) for event in it.told("message", *CHANGES)]
        places = [order.index(id_) for ids in self._changed for id_ in ids]
        assert places == sorted(places), "messages and what changed them were told in another order"
