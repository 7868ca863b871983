"""Opens votes in polls: they are sealed under the poll's own secret, which only its chat knows.

As Baileys 7.0.0-rc14 does (lib/Utils/process-message.js `decryptPollVote`): HKDF-SHA256 without salt over the secret,
with poll id, creator, voter and "Poll Vote" as info; AES-256-GCM, poll id and voter as associated data. Either side may
have gone by phone number or by LID, so each pair is tried.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from itertools import product

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdfast.domain.addons import SealedVote
from holdfast.domain.messages import Interpreted, about
from holdfast.domain.rows import AddonRow, MessageRow, NewEvent

_SELECTED = b"\x0a\x20"
"""`PollVoteMessage.selectedOptions`: field 1, 32 bytes, the SHA-256 of an option's name."""


def opened(vote: SealedVote, poll: MessageRow | None) -> Interpreted:
    """The vote as an addon of its poll and an event; only an event where it cannot be opened."""
    author = (poll.sender if poll else (vote.creators or [""])[0], vote.target_from_me)
    payload = about(vote.message, vote.target, author)
    chosen = _chosen(vote, poll) if poll else None
    if chosen is None:
        return Interpreted(0, events=(NewEvent("poll.vote.failed", payload, vote.message.chat),))
    row = vote.message
    addon = AddonRow(
        row.chat, vote.target, "vote", row.sender, row.from_me, row.id, row.timestamp, "", {"options": chosen}
    )
    return Interpreted(0, addons=(addon,), events=(NewEvent("poll.vote", {**payload, "options": chosen}, row.chat),))


def _chosen(vote: SealedVote, poll: MessageRow) -> list[str] | None:
    """The names of the options; None where the secret is not known or does not fit."""
    try:
        secret = base64.b64decode(poll.body.get("secret") or "")
    except binascii.Error:
        return None
    if len(secret) != 32 or len(vote.iv) != 12:
        return None
    creators = dict.fromkeys([*vote.creators, poll.sender])
    for creator, voter in product(creators, vote.voters):
        plain = _opened(vote, secret, creator, voter)
        if plain is not None:
            return _names(plain, (poll.body.get("poll") or {}).get("options") or [])
    return None


def _opened(vote: SealedVote, secret: bytes, creator: str, voter: str) -> bytes | None:
    info = f"{vote.target}{creator}{voter}Poll Vote".encode()
    key = HKDF(SHA256(), 32, None, info).derive(secret)
    try:
        return AESGCM(key).decrypt(vote.iv, vote.payload, f"{vote.target}\0{voter}".encode())
    except InvalidTag:
        return None


def _names(plain: bytes, options: Sequence[str]) -> list[str]:
    """In the poll's order; a choice that the poll does not have is left out."""
    hashes = set(_hashes(plain))
    return [name for name in options if hashlib.sha256(name.encode()).digest() in hashes]


def _hashes(plain: bytes) -> Iterator[bytes]:
    at = 0
    while plain[at : at + 2] == _SELECTED:
        yield plain[at + 2 : at + 34]
        at += 34
