"""The tables, once, for both databases. `migrations/` builds them step by step; a test holds that both agree.

Instants are Unix seconds in double precision. JSON columns are text JSON (`json`, not `jsonb`, on PostgreSQL: a
message may hold NUL characters, which `jsonb` refuses). There are no foreign keys on the hot tables: who writes them
holds the epoch, and `sessions.delete` raises the epoch before it deletes, so no orphan can be written.
"""

from __future__ import annotations

import string
from typing import Any

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.event import listen
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from holdfast.store.send_turns import FLYING, IN_LANE, IN_QUEUE, IS_LEFT, OPEN, READY, READY_IN_CHAT, UNSENT, WAITS

metadata = MetaData()

BIG = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only for a column that is exactly INTEGER PRIMARY KEY."""

LID_CHAT, LID_SENDER = "chat LIKE '%@lid'", "sender LIKE '%@lid'"


class db_now(FunctionElement[float]):  # noqa: N801 - reads as an SQL function where it is used
    """Database time in Unix seconds, evaluated inside the statement."""

    type = Double()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _now_sqlite(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "holdfast_now()"


@compiles(db_now, "postgresql")
def _now_postgresql(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "(EXTRACT(EPOCH FROM clock_timestamp())::float8)"


def _numbered(name: str, *columns: Any) -> Table:
    """A table whose rows are numbered by `seq`, never reusing a number."""
    return Table(
        name, metadata, Column("seq", BIG, primary_key=True, autoincrement=True), *columns, sqlite_autoincrement=True
    )


def _name() -> Column[str]:
    return Column("session_name", String(100), nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _instant(name: str) -> Column[float]:
    return Column(name, Double, nullable=False)


def _partial(name: str, where: str, *columns: Any) -> None:
    """An index of the rows for which a literal condition holds, which a query must repeat."""
    Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


session = Table(
    "session",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("engine", Text, nullable=False),
    Column("config", JSON, nullable=False),
    Column("desired", Text, nullable=False),
    Column("command", JSON, nullable=False),
    Column("command_seq", Integer, nullable=False, server_default="0"),
    Column("state", JSON, nullable=False),
    Column("me", JSON, nullable=False),
    Column("verified_at", Double),
    _instant("created_at"),
    _instant("updated_at"),
    _text("phase"),
    Column("done_seq", Integer, nullable=False, server_default="0"),
)

session_epoch = Table(
    "session_epoch",
    metadata,
    Column("session_name", String(100), primary_key=True),
    Column("epoch", BIG, nullable=False),
    Column("missing_since", Double),
    Column("ttl", Double, nullable=False, server_default="0"),
    Column("arranged", BIG, nullable=False, server_default="0"),
    _text("arranged_to"),
)
"""The fencing number, kept for ever (G2). `missing_since`: since when the lock's row is known to be absent; 0 after a
regular release, NULL while a row stands or nobody has looked yet. `ttl`: for how long the last claim was, in seconds:
whose row was deleted by hand goes on for so long. `arranged`: the holder that has looked at all queued chats, its
negative while it has come as far as `arranged_to`; see `send_turns`."""

session_lock = Table(
    "session_lock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("session_name", String(100), nullable=False),
    Column("instance_id", Text, nullable=False),
    _instant("locked_at"),
    _instant("expires_at"),
    Column("epoch", BIG, nullable=False, server_default="0"),
    UniqueConstraint("session_name", name="session_lock_session_name_key"),
    Index("idx_session_lock_name", "session_name"),
    Index("idx_session_lock_expires", "expires_at"),
    Index("session_lock_instance", "instance_id"),
)
"""The lease. Columns and indexes carry the names that operators of the earlier lock table know."""

instance = Table(
    "instance",
    metadata,
    Column("id", Text, primary_key=True),
    _text("url"),
    _text("version"),
    _instant("started_at"),
    _instant("heartbeat_at"),
    _text("labels"),
    _text("facts"),
)

dashboard_session = Table(
    "dashboard_session",
    metadata,
    Column("id_hash", Text, primary_key=True),
    _instant("created_at"),
    _instant("expires_at"),
    Index("dashboard_session_expires", "expires_at"),
)
"""A browser that is signed in. `id_hash`: HMAC-SHA256 of the cookie's random id, keyed by the hash of the API key."""

credential = Table(
    "credential",
    metadata,
    _name(),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    PrimaryKeyConstraint("session_name", "type", "id"),
)

inbox = _numbered(
    "inbox",
    _name(),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attrs", JSON, nullable=False),
    Column("plaintext", LargeBinary, nullable=False),
    Column("body", JSON, nullable=False),
    _instant("received_at"),
    Column("done_at", Double),
    _text("problem"),
    UniqueConstraint("session_name", "key", name="inbox_key"),
)
"""`problem`: why nothing could be made of the stanza, which is kept as it came."""
_partial("inbox_unreadable", "problem <> ''", inbox.c.session_name)
_pending = text("done_at IS NULL")
Index("inbox_pending", inbox.c.session_name, inbox.c.seq, sqlite_where=_pending, postgresql_where=_pending)
Index("inbox_done", inbox.c.done_at)
_unread = text("kind = 'waiting'")
Index("inbox_unread", inbox.c.session_name, inbox.c.seq, sqlite_where=_unread, postgresql_where=_unread)

chat = Table(
    "chat",
    metadata,
    _name(),
    Column("id", Text, nullable=False),
    _text("name"),
    _instant("timestamp"),
    Column("unread", Integer, nullable=False, server_default="0"),
    PrimaryKeyConstraint("session_name", "id"),
)
Index("chat_newest", chat.c.session_name, chat.c.timestamp)

contact = Table(
    "contact",
    metadata,
    _name(),
    Column("id", Text, nullable=False),
    _text("phone"),
    _text("lid"),
    _text("name"),
    _text("push_name"),
    PrimaryKeyConstraint("session_name", "id"),
)

lid_map = Table(
    "lid_map",
    metadata,
    _name(),
    Column("lid", Text, nullable=False),
    Column("pn", Text, nullable=False),
    PrimaryKeyConstraint("session_name", "lid"),
)
Index("lid_map_pn", lid_map.c.session_name, lid_map.c.pn)

spelling = Table(
    "spelling",
    metadata,
    _name(),
    Column("address", Text, nullable=False),
    Column("canonical", Text, nullable=False),
    PrimaryKeyConstraint("session_name", "address"),
)
"""Addresses that WhatsApp spells otherwise than users do."""

chat_timer = Table(
    "chat_timer",
    metadata,
    _name(),
    Column("chat", Text, nullable=False),
    Column("seconds", Integer, nullable=False),
    _instant("since"),
    PrimaryKeyConstraint("session_name", "chat"),
)
"""For how long the messages of a person's chat are kept; 0: for good."""

message = _numbered(
    "message",
    _name(),
    Column("chat", Text, nullable=False),
    Column("from_me", Boolean, nullable=False),
    Column("id", Text, nullable=False),
    _text("sender"),
    _instant("timestamp"),
    _text("kind"),
    _text("text"),
    Column("ack", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    UniqueConstraint("session_name", "chat", "from_me", "id", name="message_key"),
)
Index("message_id", message.c.session_name, message.c.id)
Index("message_newest", message.c.session_name, message.c.timestamp, message.c.seq)
Index("message_in_chat", message.c.session_name, message.c.chat, message.c.timestamp, message.c.seq)
_partial("message_lid_sender", LID_SENDER, message.c.session_name, message.c.sender)

WORDS = (
    """CREATE VIRTUAL TABLE message_words USING fts5(text, content='message', content_rowid='seq',
    tokenize='unicode61 remove_diacritics 0')""",
    """CREATE TRIGGER message_words_in AFTER INSERT ON message WHEN new.text <> '' BEGIN
    INSERT INTO message_words (rowid, text) VALUES (new.seq, new.text); END""",
    """CREATE TRIGGER message_words_out AFTER DELETE ON message WHEN old.text <> '' BEGIN
    INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', old.seq, old.text); END""",
    """CREATE TRIGGER message_words_before AFTER UPDATE OF text ON message WHEN old.text <> '' BEGIN
    INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', old.seq, old.text); END""",
    """CREATE TRIGGER message_words_after AFTER UPDATE OF text ON message WHEN new.text <> '' BEGIN
    INSERT INTO message_words (rowid, text) VALUES (new.seq, new.text); END""",
)
"""SQLite's index of the words in messages, which triggers keep up to date."""
for _statement in WORDS:
    listen(metadata, "after_create", DDL(_statement).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]

_MARKS = string.punctuation.replace("%", "")  # Alembic doubles it in printed SQL, and it parts words anyway
_QUOTED = _MARKS.replace("'", "''")
TSVECTOR = f"to_tsvector('simple'::regconfig, translate(\"left\"(text, 50000), '{_QUOTED}', '{' ' * len(_MARKS)}'))"
"""The words of a message as PostgreSQL's index has them: a query must repeat it to the letter. Marks part words, so
that both databases find the same; more than 50,000 characters could be more than a tsvector may hold."""
Index("message_words", text(TSVECTOR), _table=message, postgresql_using="gin").ddl_if(dialect="postgresql")

media = _numbered(
    "media",
    _name(),
    Column("name", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    _text("chat"),
    _text("sender"),
    Column("from_me", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("source", LargeBinary, nullable=False),
    _text("mimetype"),
    _text("filename"),
    Column("size", BigInteger, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Double, nullable=False, server_default="0"),
    _text("problem"),
    _instant("created_at"),
    _instant("updated_at"),
    UniqueConstraint("name", name="media_name"),
)
"""Files of messages, which lie outside of the database under `name`. `state`: `staged` (to be sent), `awaited` (to be
fetched by what `source` says), `kept`, `lost` (`problem` says why) or `dropped` (to be deleted)."""
Index("media_due", media.c.session_name, media.c.state, media.c.next_at)
Index("media_age", media.c.state, media.c.updated_at)

addon = _numbered(
    "addon",
    _name(),
    Column("chat", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("kind", Text, nullable=False),
    _text("sender"),
    Column("from_me", Boolean, nullable=False),
    Column("id", Text, nullable=False),
    _instant("timestamp"),
    _text("text"),
    Column("body", JSON, nullable=False),
)
"""What people add to the message `target`: the newest `reaction` and `vote` of each sender, and each `edited` or
`revoked` that came before the message itself. The message may not be there (yet)."""
Index("addon_target", addon.c.session_name, addon.c.target)
_partial("addon_lid_chat", LID_CHAT, addon.c.session_name, addon.c.chat)
_partial("addon_early", "kind IN ('edited', 'revoked')", addon.c.session_name, addon.c.chat, addon.c.target)
Index("addon_sender", addon.c.session_name, addon.c.sender)

outbox = _numbered(
    "outbox",
    _name(),
    Column("id", Text, nullable=False),
    Column("chat", Text, nullable=False),
    Column("content", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    _instant("created_at"),
    _instant("updated_at"),
    _instant("expires_at"),
    _instant("send_at"),
    Column("error", Integer, nullable=False, server_default="0"),
    _text("message"),
    Column("idempotency_key", Text),
    _text("fingerprint"),
    Column("claim_epoch", BIG, nullable=False, server_default="0"),
    _text("story"),
    Column("in_doubt", Integer, nullable=False, server_default="0"),
    Column("paced_at", Double),
    Column("opens", Integer, nullable=False, server_default="0"),
    Column("turn", Integer, nullable=False, server_default="0"),
    UniqueConstraint("session_name", "id", name="outbox_id"),
    UniqueConstraint("session_name", "idempotency_key", name="outbox_idempotency_key"),
)
"""`story`: a line for each state (`domain.outbox.steps`). `paced_at`: when it was last claimed under the session's
limits; `opens`: whether it was then the first message to its chat; `turn`: see `send_turns`."""
SETTLED = "state IN ('cancelled', 'delivered', 'expired', 'failed', 'read', 'sent')"
IS_OPEN = text(OPEN)
"""Literal on purpose: SQLite uses the partial index only where it can see that the condition holds."""
Index("outbox_open", outbox.c.session_name, outbox.c.chat, outbox.c.seq, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)
Index("outbox_deadline", outbox.c.expires_at, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)
_paced = text("paced_at IS NOT NULL")
Index("outbox_paced", outbox.c.session_name, outbox.c.paced_at, sqlite_where=_paced, postgresql_where=_paced)


_O = outbox.c
_partial("outbox_lane", IN_LANE, _O.session_name, _O.chat, _O.seq)
_partial("outbox_queue", IN_QUEUE, _O.session_name, _O.seq)
_partial("outbox_lid_chat", LID_CHAT, _O.session_name, _O.chat)
_partial("outbox_ready", READY, _O.session_name, _O.turn, _O.seq)
_partial("outbox_first", READY_IN_CHAT, _O.session_name, _O.chat, _O.turn)
_partial("outbox_waits", WAITS, _O.session_name, _O.send_at, _O.seq)
_partial("outbox_left", IS_LEFT, _O.session_name, _O.turn, _O.seq)
_partial("outbox_unsent", UNSENT, _O.session_name, _O.expires_at)
_partial("outbox_flying", FLYING, _O.session_name, _O.chat)
_partial("outbox_opened", "opens = 1", _O.session_name, _O.opens, _O.paced_at)
_partial("outbox_settled", SETTLED, _O.updated_at)

event = _numbered(
    "event",
    Column("id", Text, nullable=False),
    _name(),
    Column("kind", Text, nullable=False),
    _text("chat"),
    _instant("at"),
    Column("payload", JSON, nullable=False),
)
Index("event_of_session", event.c.session_name, event.c.seq)
Index("event_age", event.c.at)
_partial("event_lid_chat", LID_CHAT, event.c.session_name, event.c.chat)

cursor = Table(
    "cursor",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("seq", BIG, nullable=False),
    Column("session_name", String(100), nullable=False, server_default=""),
    Column("place", Integer, nullable=False, server_default="0"),
    _text("receiver"),
    _text("settings"),
    _text("owner"),
    Column("until", Double, nullable=False, server_default="0"),
)
"""A consumer of a session's events: a webhook. Everything up to `seq` is delivered or a row of `delivery`; `owner` is
the instance that delivers it until `until`."""
Index("cursor_of_session", cursor.c.session_name)
Index("cursor_owner", cursor.c.owner)

delivery = _numbered(
    "delivery",
    Column("consumer", Text, nullable=False),
    _name(),
    _text("chat"),
    Column("event_seq", BIG, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("part", Integer, nullable=False, server_default="0"),
    Column("since", Double),
    Column("next_at", Double),
    Column("told", Integer, nullable=False, server_default="1"),
    Column("status", Integer, nullable=False, server_default="0"),
    _text("problem"),
    _instant("updated_at"),
    UniqueConstraint("consumer", "event_seq", name="delivery_event"),
)
"""What a cursor passed without its being delivered. The first of a chat that retries or waits always has `next_at`."""
Index("delivery_lane", delivery.c.consumer, delivery.c.chat, delivery.c.event_seq)
Index("delivery_due", delivery.c.consumer, delivery.c.next_at)
Index("delivery_of_session", delivery.c.session_name)
Index("delivery_keeps", delivery.c.event_seq)
_D = delivery.c
_partial("delivery_open", "state IN ('retrying', 'waiting')", _D.consumer, _D.chat, _D.event_seq)
_partial("delivery_untold", "told = 0", _D.consumer, _D.chat, _D.event_seq)
_partial("delivery_dead", "state = 'dead'", _D.updated_at)

timeline = _numbered(
    "timeline",
    _name(),
    _instant("at"),
    Column("status", Text, nullable=False),
    Column("code", Text, nullable=False),
    _text("message"),
    Column("attempt", Integer, nullable=False),
    _text("instance"),
    Column("epoch", BIG, nullable=False),
    Column("detail", JSON, nullable=False),
)
Index("timeline_of_session", timeline.c.session_name, timeline.c.seq)

alias = Table(
    "alias",
    metadata,
    Column("alias", String(100), primary_key=True),
    Column("session_name", String(100), ForeignKey("session.name", ondelete="CASCADE"), nullable=False),
)
Index("alias_of_session", alias.c.session_name)

account = Table(
    "account",
    metadata,
    Column("session_name", String(100), ForeignKey("session.name", ondelete="CASCADE"), primary_key=True),
    Column("company_id", Text),
    Column("user_id", Text),
    Column("phone", Text),
    _text("name"),
    UniqueConstraint("company_id", name="account_company"),
    UniqueConstraint("user_id", name="account_user"),
    UniqueConstraint("phone", name="account_phone"),
)
"""Whose a session is. Lives as long as the session: through logout, clearing and re-pairing."""

setting = Table(
    "setting",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    _instant("updated_at"),
)

OF_A_SESSION = (
    session_lock, credential, inbox, chat, contact, lid_map, message, addon, outbox, event, timeline, alias, account,
    cursor, delivery, spelling, chat_timer,
)  # fmt: skip
"""What goes when a session is deleted. The epoch stays."""
