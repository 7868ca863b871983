"""How WhatsApp spells numbers that users write differently: Brazil's ninth digit, Mexico's and Argentina's prefixes."""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.domain import jids
from holdfast.store import outbox, people
from holdfast.store.send_turns import LOOK_AGAIN, OPEN
from holdfast.store.sql import Query, check_epoch

_FIND = Query("SELECT canonical FROM spelling WHERE session_name = ? AND address = ?")
_UNLEARN = Query("DELETE FROM spelling WHERE session_name = ? AND address = ?")
_LEARN = Query(
    "INSERT INTO spelling (session_name, address, canonical) VALUES (?, ?, ?) "
    "ON CONFLICT (session_name, address) DO UPDATE SET canonical = excluded.canonical"
)
_FOLLOW = Query("UPDATE spelling SET canonical = ? WHERE session_name = ? AND canonical = ?")
_MOVE = Query(
    f"UPDATE outbox SET chat = ?, {LOOK_AGAIN} WHERE session_name = ? AND chat = ? AND {OPEN}"  # noqa: S608
)


def address(c: Connection, name: str, chat: str) -> str:
    """A chat's address as WhatsApp spells it, as far as that is known; a LID's is its phone number's."""
    found = _FIND.first(c, name, chat) if jids.phone_of(chat) else None
    spelled = chat if found is None else str(found[0])
    return people.resolve(c, name, [spelled])[spelled]


def readdress(c: Connection, name: str, epoch: int, id_: str, named: str, *, retry_at: float) -> None:
    """See `ports.outbox.OutboxStore.readdress_outbox`."""
    check_epoch(c, name, epoch, alone=True)
    row = outbox.get(c, name, id_)
    if row is None or row.chat == named:
        return
    _UNLEARN.run(c, name, named)
    _FOLLOW.run(c, named, name, row.chat)
    _LEARN.run(c, name, row.chat, named)
    _MOVE.run(c, named, name, row.chat)
    outbox.requeue(c, name, id_, f"WhatsApp spells this number {jids.mask(named)}.", retry_at)
