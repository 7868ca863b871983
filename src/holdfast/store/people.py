"""One person, one chat: WhatsApp's two addresses of a person, and what to do when they turn out to be the same.

The canonical address is the phone number's (`@s.whatsapp.net`) where it is known, else the `@lid`. When a mapping is
learnt after rows were stored under the LID, all of them move to the phone number's address in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, and_, delete, exists, func, select, text, update

from holdfast.domain import jids
from holdfast.domain.addresses import by_number, lids_in
from holdfast.domain.rows import AddonRow, ContactRow, MessageRow
from holdfast.store.schema import LID_CHAT, LID_SENDER, chat, contact, cursor, event, message
from holdfast.store.send_turns import LOOK_AGAIN
from holdfast.store.sql import Query, insert, listed, rounded

_AT_ONCE = 500
_LID_CHAT, _LID_SENDER = text(LID_CHAT), text(LID_SENDER)
"""For the partial indexes by which rows of unknown numbers are found: a history brings thousands of mappings."""
_KNOWN = "SELECT lid, pn FROM lid_map WHERE session_name = ? AND lid IN ({})"
_BY_NUMBER = "SELECT lid, pn FROM lid_map WHERE session_name = ? AND pn IN ({})"
_LEARN = Query(
    "INSERT INTO lid_map (session_name, lid, pn) VALUES (?, ?, ?) "
    "ON CONFLICT (session_name, lid) DO UPDATE SET pn = excluded.pn WHERE lid_map.pn <> excluded.pn RETURNING pn"
)
_MOVE_QUEUE = Query(
    f"UPDATE outbox SET chat = ?, {LOOK_AGAIN} WHERE session_name = ? AND chat = ? AND {LID_CHAT}"  # noqa: S608
)
_PUT_CONTACT = Query(
    "INSERT INTO contact (session_name, id, phone, lid, name, push_name) VALUES (?, ?, ?, "
    "COALESCE(NULLIF(?, ''), (SELECT lid FROM lid_map WHERE session_name = ? AND pn = ? LIMIT 1), ''), ?, ?) "
    "ON CONFLICT (session_name, id) DO UPDATE SET "
    "phone = COALESCE(NULLIF(excluded.phone, ''), contact.phone), "
    "lid = COALESCE(NULLIF(excluded.lid, ''), contact.lid), "
    "name = COALESCE(NULLIF(excluded.name, ''), contact.name), "
    "push_name = COALESCE(NULLIF(excluded.push_name, ''), contact.push_name) "
    "WHERE excluded.phone NOT IN ('', contact.phone) OR excluded.lid NOT IN ('', contact.lid) "
    "OR excluded.name NOT IN ('', contact.name) OR excluded.push_name NOT IN ('', contact.push_name)"
)


def resolve(c: Connection, name: str, addresses: Iterable[str]) -> dict[str, str]:
    """Canonical address of each."""
    asked = dict.fromkeys(addresses)
    lids = {address: jids.bare(address) for address in asked if jids.is_lid(address)}
    known: dict[str, str] = {}
    if lids:
        several = sorted(set(lids.values()))
        for start in range(0, len(several), _AT_ONCE):
            part = rounded(several[start : start + _AT_ONCE])
            known.update(listed(_KNOWN, len(part)).all(c, name, *part))
    return {
        address: known.get(lids[address], lids[address]) if address in lids else _plain(address) for address in asked
    }


def addresses(c: Connection, name: str, known: Sequence[str]) -> list[str]:
    """The addresses, then the other addresses of the same people."""
    bare = list(dict.fromkeys(map(jids.bare, known)))
    if not bare:
        return []
    wanted = rounded(bare)
    pairs = [pair for query in (_KNOWN, _BY_NUMBER) for pair in listed(query, len(wanted)).all(c, name, *wanted)]
    return list(dict.fromkeys([*bare, *(address for pair in pairs for address in pair)]))


Addressed = TypeVar("Addressed", MessageRow, AddonRow)


def readable(c: Connection, name: str, rows: Sequence[MessageRow]) -> list[MessageRow]:
    """The rows with everybody who is named in them by number, where it is known by now."""
    named = {lid for row in rows for lid in lids_in(row.body)}
    if not named:
        return list(rows)
    known = resolve(c, name, named)
    return [replace(row, body=by_number(row.body, known)) for row in rows]


def canonical(c: Connection, name: str, rows: Sequence[Addressed]) -> list[Addressed]:
    """The rows with canonical chat and sender."""
    known = resolve(c, name, [address for row in rows for address in (row.chat, row.sender)])
    return [replace(row, chat=known[row.chat], sender=known[row.sender]) for row in rows]


def _plain(address: str) -> str:
    return jids.bare(address) if jids.phone_of(address) else address


def learn(c: Connection, name: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Remember mappings, and merge what was stored under the LIDs of the new ones. The new ones."""
    news = []
    for lid, pn in dict.fromkeys((jids.bare(lid), jids.bare(pn)) for lid, pn in pairs):
        if not (jids.is_lid(lid) and jids.phone_of(pn)):
            continue
        if _LEARN.all(c, name, lid, pn):
            _merge(c, name, lid, pn)
            news.append((lid, pn))
    return news


def _merge(c: Connection, name: str, lid: str, pn: str) -> None:
    _merge_contact(c, name, lid, pn)
    _merge_chat(c, name, lid, pn)
    _merge_messages(c, name, lid, pn)
    _MOVE_QUEUE.run(c, pn, name, lid)
    undelivered = func.coalesce(select(func.min(cursor.c.seq)).scalar_subquery(), 0)
    c.execute(
        update(event)
        .where(event.c.session_name == name, event.c.chat == lid, _LID_CHAT, event.c.seq > undelivered)
        .values(chat=pn)
    )


def _take(c: Connection, table: Table, name: str, id_: str) -> Any:
    """Delete a row by its id, and return it, or None."""
    return c.execute(delete(table).where(table.c.session_name == name, table.c.id == id_).returning(table)).first()


def _merge_contact(c: Connection, name: str, lid: str, pn: str) -> None:
    old, new = _take(c, contact, name, lid), _take(c, contact, name, pn)
    if old is None and new is None:
        return
    both = [row for row in (new, old) if row is not None]
    c.execute(
        insert(c, contact).values(
            session_name=name, id=pn, phone=jids.phone_of(pn), lid=lid,
            name=next((row.name for row in both if row.name), ""),
            push_name=next((row.push_name for row in both if row.push_name), ""),
        )
    )  # fmt: skip


def _merge_chat(c: Connection, name: str, lid: str, pn: str) -> None:
    old = _take(c, chat, name, lid)
    if old is None:
        return
    new = _take(c, chat, name, pn)
    both = [row for row in (new, old) if row is not None]
    c.execute(
        insert(c, chat).values(
            session_name=name, id=pn,
            name=next((row.name for row in both if row.name), ""),
            timestamp=max(row.timestamp for row in both), unread=sum(row.unread for row in both),
        )
    )  # fmt: skip


def _merge_messages(c: Connection, name: str, lid: str, pn: str) -> None:
    """Move; a message stored under both addresses keeps the older row and the higher ack."""
    m, twin = message.c, message.alias("twin").c
    same = and_(twin.session_name == m.session_name, twin.from_me == m.from_me, twin.id == m.id)
    in_lid = and_(m.session_name == name, m.chat == lid)
    higher = select(func.max(twin.ack)).where(same, twin.chat == lid).scalar_subquery()
    c.execute(
        update(message)
        .where(m.session_name == name, m.chat == pn, exists().where(same, twin.chat == lid, twin.ack > m.ack))
        .values(ack=higher)
    )
    c.execute(delete(message).where(in_lid, exists().where(same, twin.chat == pn)))
    c.execute(update(message).where(in_lid).values(chat=pn))
    c.execute(update(message).where(m.session_name == name, m.sender == lid, _LID_SENDER).values(sender=pn))


def put_contacts(c: Connection, name: str, rows: Sequence[ContactRow]) -> None:
    """Insert, or fill in: an empty field never erases a known one."""
    canonical = resolve(c, name, [row.id for row in rows])
    for row in rows:
        id_ = canonical[row.id]
        lid = row.lid or (row.id if jids.is_lid(row.id) else "")
        phone = row.phone or jids.phone_of(id_)
        names = row.name, row.push_name
        _PUT_CONTACT.run(c, name, id_, phone, jids.bare(lid) if lid else "", name, id_, *names)


def contacts(c: Connection, name: str, limit: int, offset: int) -> list[ContactRow]:
    """By name, then id; those without a name last."""
    k = contact.c
    rows = select(k.id, k.phone, k.lid, k.name, k.push_name).where(k.session_name == name)
    shown = func.coalesce(func.nullif(k.name, ""), k.push_name)
    ordered = rows.order_by(shown == "", shown, k.id).limit(limit).offset(offset)
    return [ContactRow(*found) for found in c.execute(ordered)]
