"""What is stored, as values: the records that the store port gives and takes. No behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.domain.timers import ChatTimer

Json = dict[str, Any]
NEVER = 1e18
"""A number of seconds that never pass."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as stored: what the user configured, what the domain last decided, who wrote it."""

    name: str
    engine: str
    config: Json
    desired: Literal["running", "stopped"]
    command: Json
    """The last order by a user, carried out once by the holder: `{"seq": 3, "kind": "restart", ...}` or `{}`."""
    state: Json
    """`domain.session.State` as `to_json` wrote it; `{}` before the first decision."""
    epoch: int
    """The epoch current for this session (0 before the first claim)."""
    me: Json
    """`{"phone", "lid", "push_name"}` of the linked account; `{}` if never linked. Survives logout."""
    has_credentials: bool
    verified_at: float | None
    """When WhatsApp last proved the session alive; `state.verified_at` is stored with other changes only, and older."""
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Hint:
    """Another instance did something that may matter here. `kind`: `freed` (a lease), `order`, `outbox` (a message
    waits for the holder), `message` (the one of `id` moved), `events` (the log grew), `session` (its state changed).
    """

    kind: str
    session: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim that was won."""

    session: str
    epoch: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What earlier holders left to do: found out with the claim, for mostly it is nothing, and no part need look."""

    inbox: bool
    """Received stanzas that were not dealt with."""
    files: bool
    """Files to be fetched, now or later."""
    consumers: bool
    """Receivers of events are known, who may wait for some."""


@dataclass(frozen=True, slots=True)
class Won:
    """A session that was claimed."""

    lease: Lease
    row: SessionRow
    backlog: Backlog


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a session, as stored; `valid` is judged by database time in the same statement."""

    session: str
    instance: str
    epoch: int
    locked_at: float
    expires_at: float
    valid: bool
    url: str


@dataclass(frozen=True, slots=True)
class Peer:
    """An instance that gave a sign of life lately, this one included; `held`: how many sessions it holds."""

    id: str
    url: str
    labels: frozenset[str]
    held: int


@dataclass(frozen=True, slots=True)
class Attention:
    """What an instance must look at now."""

    free: Mapping[str, Json]
    """Sessions that should run, or have an order that nobody carried out, and that no instance holds; with config. Of
    many, some."""
    waiting: int
    """How many of these there are."""
    ordered: Sequence[str]
    """Sessions of this instance with an order that it has not carried out."""
    unsent: Sequence[str]
    """Sessions of this instance with messages that are due, overdue or long under way."""
    peers: Sequence[Peer]
    holders: Sequence[str]
    """The other instances that hold sessions now."""
    next_expiry: float | None
    """Seconds until the first lease of another instance ends, unless it is renewed; None without any."""


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A received stanza with its plaintext. `key` is `from|participant|id`, unique in its session.

    `attrs` are the stanza's attributes; `plaintext` is the padded-off protobuf of a message (else empty); `body` the
    same decoded to a map (bytes as base64 text in `{"$b": ...}`). `waiting` is a message that cannot be read (yet),
    `group` a notification about a group, with its children in `body`.
    """

    key: str
    kind: Literal["message", "receipt", "waiting", "group"]
    attrs: dict[str, str]
    plaintext: bytes
    body: Json
    seq: int = 0
    received_at: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineWrite:
    """What one engine transaction changes, all or nothing: ratchet, credentials and inbox together.

    `keys` maps `(type, id)` to the new value, None deletes; Baileys' credentials themselves are `("creds", "")`.
    """

    keys: Mapping[tuple[str, str], bytes | None] = field(default_factory=dict)
    inbox: Sequence[InboxRow] = ()


@dataclass(frozen=True, slots=True)
class MovedIn:
    """Credentials of a device that was linked by another program, with the account that they belong to."""

    keys: Mapping[tuple[str, str], bytes]
    """As in `EngineWrite`; `("creds", "")` is among them."""
    phone: str
    lid: str
    push_name: str


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as users see it: one per (session, chat, from_me, id). `chat` and `sender` are canonical JIDs."""

    id: str
    chat: str
    from_me: bool
    sender: str
    timestamp: float
    kind: str
    text: str
    ack: int
    body: Json
    """What the API needs beyond the columns (quoted, media, mentions, participant, push name ...)."""
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class AddonRow:
    """What somebody added to the message `target` of a chat. `id` is that of the stanza that brought it.

    `kind`: `reaction` (an empty `text` takes it back), `vote` (`body.options`), `answer` to an event, or, where the
    message itself is not there yet, `edited` and `revoked` (`body`: the change as a `MessageRow`'s fields) and
    `awaiting` (`body.inbox`: the row to process again). Addresses are canonical.
    """

    chat: str
    target: str
    kind: str
    sender: str
    from_me: bool
    id: str
    timestamp: float
    text: str
    body: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatRow:
    """A chat with its newest message."""

    id: str
    name: str
    timestamp: float
    unread: int
    last: MessageRow | None = None


@dataclass(frozen=True, slots=True)
class ContactRow:
    """One person, however addressed. `phone` is digits or empty; `lid` is `...@lid` or empty."""

    id: str
    phone: str
    lid: str
    name: str
    push_name: str


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message accepted for sending. `id` is WhatsApp's message id, chosen before the first attempt."""

    id: str
    session: str
    chat: str
    content: Json
    state: Literal["queued", "sending", "sent", "delivered", "read", "failed", "expired", "cancelled"]
    attempts: int
    created_at: float
    updated_at: float
    expires_at: float
    send_at: float
    """Not before; a retry moves it."""
    error: int
    message: str
    idempotency_key: str | None = None
    in_doubt: bool = False
    """Whether a try ended without an answer: WhatsApp may have the message."""
    seq: int = field(default=0, compare=False)
    """In order of acceptance."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message of the outbox, with what it may have to wait for."""

    row: OutboxRow
    behind: bool
    """An older one of its chat is not through yet."""
    answered: bool
    """A group, or somebody who wrote to us: may be written to while WhatsApp restricts the account."""
    new: bool
    """Nothing was exchanged with its chat yet."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """An entry of the event log. `chat` orders deliveries within a chat; empty for events of the session."""

    seq: int
    id: str
    session: str
    kind: str
    chat: str
    at: float
    payload: Json


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append; `id` and `seq` are given by the store."""

    kind: str
    payload: Json
    chat: str = ""


@dataclass(frozen=True, slots=True)
class ConsumerFacts:
    """A webhook as the store knows it. `receiver` is its host; `settings` changes whenever the webhook's do."""

    consumer: str
    receiver: str
    settings: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A consumer that an instance delivers from now on."""

    seq: int
    """Everything up to it is delivered, or is a row of its own."""
    settings: str
    stuck: frozenset[str]
    """Chats with rows that later events must queue behind."""


@dataclass(frozen=True, slots=True)
class Busy:
    """A consumer that another instance delivers, for `left` seconds unless it goes on. 0: the session has a holder."""

    owner: str
    left: float


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An event that one consumer has not got, though its cursor passed it.

    `failing_for`: seconds since it was first refused (0: never was). `part`: how many of its envelopes were taken.
    `told`: False for a dead one that no gap marker named yet.
    """

    event: EventRow
    state: Literal["waiting", "retrying", "parked", "dead"] = "waiting"
    attempts: int = 0
    failing_for: float = 0.0
    part: int = 0
    told: bool = True
    problem: str = ""
    status: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a consumer's events, stored in one transaction."""

    upto: int | None = None
    """Where the cursor moves to."""
    rows: Sequence[tuple[Undelivered, float | None]] = ()
    """Made or replaced, each with the seconds until it is tried (None: after another of its chat)."""
    done: Sequence[Undelivered] = ()
    """Delivered: their rows go."""
    told: Sequence[Undelivered] = ()
    """Dead ones that a gap marker named."""
    hold: float = NEVER
    """When another of its chat is made `waiting`, an event that was refused for longer is tried again at once."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """An event that was not delivered in order, as users see it. Times are Unix seconds."""

    id: int
    consumer: str
    receiver: str
    session: str
    event: str
    kind: str
    chat: str
    at: float
    state: Literal["waiting", "retrying", "parked", "dead"]
    attempts: int
    since: float | None
    """When it was first refused."""
    next_at: float | None
    status: int
    """What the receiver answered last; 0 if nothing."""
    problem: str


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One status change, explained: code, sentence, time, attempt, instance."""

    seq: int
    session: str
    at: float
    status: str
    code: str
    message: str
    attempt: int
    instance: str
    epoch: int
    detail: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """What a session still has to send: how many messages, and how long the oldest that is due has waited, in seconds
    (0 if none is due).
    """

    depth: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Received stanzas of a session that could not be stored as messages: how many, and when the newest came (Unix
    seconds).
    """

    count: int
    latest: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What waits in the store: queues by session (only those that are not empty), unprocessed inbox rows, and what was
    set aside, by session.
    """

    queues: Mapping[str, Queue]
    unprocessed: int
    unreadable: Mapping[str, Unreadable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alike:
    """How many sessions stand alike, and how: what `domain.status.status_now` asks of them."""

    desired: str
    phase: str
    code: str
    failed: bool
    live: bool
    held: bool
    verified: bool
    """Whether WhatsApp proved them alive within the deadline."""
    linked: bool
    count: int


@dataclass(frozen=True, slots=True)
class Processed:
    """What came of inbox rows, committed in one transaction by `Store.apply_inbox`."""

    done: Sequence[int] = ()
    """`seq` of the inbox rows that are dealt with."""
    messages: Sequence[MessageRow] = ()
    acks: Sequence[tuple[str, str, int]] = ()
    """(chat, message id, ack level); forward only: a lower level than the stored one changes nothing."""
    edits: Sequence[MessageRow] = ()
    """Changes: `id` names the message, `body` says `edited` or `revoked`, and `timestamp` is the change's own."""
    addons: Sequence[AddonRow] = ()
    awaiting: Sequence[AddonRow] = ()
    """Sealed stanzas whose target is not there: the inbox row in `body` is processed again when it comes."""
    chats: Sequence[ChatRow] = ()
    contacts: Sequence[ContactRow] = ()
    mappings: Sequence[tuple[str, str]] = ()
    """(lid, phone number JID) pairs learnt."""
    timers: Sequence[ChatTimer] = ()
    """Of disappearing messages, as they were set."""
    events: Sequence[NewEvent] = ()
    ignored: Sequence[int] = ()
    """`seq` of the inbox rows of which nothing is kept but their key."""
    unreadable: Sequence[tuple[int, str]] = ()
    """`seq` of the inbox rows of which nothing could be made, each with the kind of error; they are kept."""
