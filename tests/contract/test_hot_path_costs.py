"""What the hot paths read does not grow with what they do not need: measured at one size, and at ten times that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, text

from holdfast.domain.caps import Caps
from holdfast.domain.outbox import WAITING
from holdfast.domain.rows import ConsumerFacts, OutboxRow, Processed, Settled
from holdfast.store import SqlStore, send_turns
from tests.contract.conftest import World
from tests.contract.rows import PN, message, outgoing
from tests.support.leases import take_lease
from tests.support.statement_costs import Costs, counted

FEW, MANY = 200, 2_000
GROWTH = 1.6
"""Ten times as many rows may cost so many times as much: trees grow by a level."""
SLACK = {"sqlite": 2_000, "postgres": 60}
"""Instructions, or blocks, that do not count."""

Call = Callable[[SqlStore, str], Awaitable[Any]]


def queued(name: str, id: str, chat: str) -> OutboxRow:
    return replace(outgoing(id, chat), session=name)


async def seed(world: World, name: str, size: int) -> None:
    """A session with so much of everything, and a consumer of the same name that got nothing lately."""
    store = world.store
    await store.create_session(name, "baileys", {}, "running")
    await take_lease(store, name, "one", 1e9)
    await store.set_consumers(name, [ConsumerFacts(name, "http://receiver", "{}")])
    await store.take_consumer(name, "one", 1e9)
    await store.enqueue(queued(name, "flying", "flying@g.us"), "f", epoch=1)
    at = await store.now()
    kinds = [
        # chat, state, attempts, send_at, expires_at: scheduled and due in one chat, retries, and what is over
        ("'1@g.us'", "queued", 0, at + 1e6, at + 1e9),
        ("'flying@g.us'", "queued", 0, 0.0, at + 1e9),
        ("{n} || '@g.us'", "queued", 1, at + 1e6, at + 1e9),
        ("{n} || '@g.us'", "queued", 0, 0.0, at + 1e9),
        ("{n} || '@s.whatsapp.net'", "queued", 0, 0.0, at + 1e9),
        ("'9@g.us'", "sent", 1, 0.0, at + 1e9),
        ("'1@g.us'", "queued", 0, 0.0, at - 1.0),
    ]
    base = f"(SELECT MIN(seq) - 1 FROM event WHERE session_name = '{name}')"
    numbers = f"WITH RECURSIVE num(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM num WHERE n < {size}) "

    def fill(c: Connection) -> None:
        for which, (chat, state, attempts, send_at, expires_at) in enumerate(kinds):
            c.execute(
                text(
                    f"{numbers} INSERT INTO outbox (session_name, id, chat, content, state, attempts, created_at, "
                    f"updated_at, expires_at, send_at, paced_at) SELECT '{name}', 'k{which}-' || n, "
                    f"{chat.format(n='n')}, '{{}}', '{state}', {attempts}, {at}, {at}, {expires_at}, {send_at}, "
                    f"{at} FROM num"
                )
            )
        own = f"'{name}'"
        for table, columns, values in (
            ("message", "session_name, chat, from_me, id, sender, timestamp, kind, text, ack, body, raw",
             f"{own}, '{PN}', TRUE, 'm' || n, '{PN}', n, 'text', '', 1, '{{}}', :raw"),
            ("addon", "session_name, chat, target, kind, sender, from_me, id, timestamp, body",
             f"{own}, '{PN}', 'm' || n, 'reaction', '{PN}', FALSE, 'r' || n, n, '{{}}'"),
            ("event", "id, session_name, kind, chat, at, payload",
             f"'{name}e' || n, {own}, 'message', '{PN}', {at}, '{{}}'"),
            ("inbox", "session_name, key, kind, attrs, plaintext, body, received_at, done_at",
             f"{own}, 'i' || n, 'message', '{{}}', :raw, '{{}}', {at}, {at}"),
            ("media", "session_name, name, message_id, from_me, state, source, next_at, created_at, updated_at",
             f"{own}, '{name}f' || n, 'm' || n, FALSE, 'awaited', :raw, {at + 1e6}, {at}, {at}"),
            ("media", "session_name, name, message_id, from_me, state, source, created_at, updated_at",
             f"{own}, '{name}g' || n, 'm' || n, FALSE, 'kept', :raw, {at}, {at}"),
            # dead ones of the chat in which more arrives, one chat each that retries later, and some behind that
            ("delivery", "consumer, session_name, chat, event_seq, state, updated_at",
             f"{own}, {own}, 'c1', {base} + n, 'dead', {at}"),
            ("delivery", "consumer, session_name, chat, event_seq, state, next_at, updated_at",
             f"{own}, {own}, 'c' || n, {base} + n + {size}, 'retrying', {at + 1e6}, {at}"),
            ("delivery", "consumer, session_name, chat, event_seq, state, updated_at",
             f"{own}, {own}, 'c2', {base} + n + 2 * {size}, 'waiting', {at}"),
        ):  # fmt: skip
            often = " CROSS JOIN (VALUES (1), (2), (3)) AS x" if table == "event" else ""
            sql = f"{numbers} INSERT INTO {table} ({columns}) SELECT {values} FROM num{often}"
            c.execute(text(sql), {"raw": b""} if ":raw" in values else {})
        c.execute(text("UPDATE cursor SET seq = (SELECT MAX(seq) FROM event)"))

    await store._driver.write(fill)


async def settle_and_claim(store: SqlStore, name: str) -> None:
    """A message of the longest queue is through, and the next has its turn."""
    await store.settle_outbox(name, 1, "flying", "sent", sent=message("flying", "flying@g.us", from_me=True))
    await store.claim_outbox(name, 1, 4)


async def settle_deliveries(store: SqlStore, name: str) -> None:
    """The first event of a chat with many dead ones is delivered."""
    (row,), _ = await store.delivery_lane(name, "c1", 1)
    await store.settle_deliveries(name, "one", Settled(done=[row]))


CALLS: dict[str, Call] = {
    "claim": lambda s, n: s.claim_outbox(n, 1, 4),
    "claim paced": lambda s, n: s.claim_outbox(n, 1, 4, paced=True, new_chats=False),
    "claim known": lambda s, n: s.claim_outbox(n, 1, 4, known_only=True, flying=["flying"]),
    "claim strangers": lambda s, n: s.claim_outbox(n, 1, 4, strangers_only=True),
    "accept at once": lambda s, n: s.enqueue(queued(n, "new1", "new@g.us"), "f", epoch=1),
    "accept in the longest queue": lambda s, n: s.enqueue(queued(n, "new2", "flying@g.us"), "f", epoch=1),
    "accept elsewhere": lambda s, n: s.enqueue(queued(n, "new3", "1@g.us"), "f"),
    "settle": settle_and_claim,
    "cancel": lambda s, n: s.cancel_outbox(n, "k1-9"),
    "receipt": lambda s, n: s.apply_inbox(n, 1, Processed(acks=[("9@g.us", "k5-9", 2)])),
    "receive": lambda s, n: s.apply_inbox(n, 1, Processed(messages=[message("M1", PN)])),
    "learn a number": lambda s, n: s.apply_inbox(n, 1, Processed(mappings=[("5@lid", "40799999999@s.whatsapp.net")])),
    "list": lambda s, n: s.outbox_listing(n, WAITING, 3),
    "limits": lambda s, n: s.outbox_lately(n, Caps(5, 5)),
    "attention": lambda s, n: s.attention("one", 60.0),
    "pending": lambda s, n: s.inbox_pending(n, 10),
    "prune": lambda s, n: s.prune(1e8, events=1e8, dead=1e8),
    "files": lambda s, n: s.media_awaited(n, 4),
    "old files": lambda s, n: s.media_stale(1e8, 10),
    "consumers": lambda s, n: s.waiting_consumers("one"),
    "due deliveries": lambda s, n: s.due_deliveries(n, 10),
    "settle deliveries": settle_deliveries,
}  # fmt: skip


async def measure(world: World, name: str, costs: Costs) -> dict[str, tuple[int, str]]:
    await world.store.expire_outbox()
    while not await world.store._driver.write(lambda c: send_turns.arrange(c, name, 1)):
        pass  # each claim looks at a bounded part of what is new, which is not what is measured here
    if world.url.startswith("postgres"):  # as autovacuum does, in its time
        connection = await asyncpg.connect(world.url)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
    found = {}
    for what, call in CALLS.items():
        costs.reset()
        await call(world.store, name)
        found[what] = costs.read, costs.worst[1]
    return found


@pytest.mark.parametrize("kind", ["inline", "postgres"], indirect=True)
async def test_what_is_read_does_not_grow_with_what_is_there(world: World) -> None:
    found = []
    for name, size in (("few", FEW), ("many", MANY)):
        await seed(world, name, size)
        with counted(world.store, world.url) as costs:
            found.append(await measure(world, name, costs))
    few, many = found
    slack = SLACK["sqlite" if world.url.startswith("sqlite") else "postgres"]
    grown = {what: (few[what][0], *costs) for what, costs in many.items() if costs[0] > GROWTH * few[what][0] + slack}
    assert not grown, "\n".join(f"{what}: {facts}" for what, facts in grown.items())
