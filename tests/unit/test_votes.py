"""Votes in polls: sealed by wasim's phone code, opened by Holdfast's; whichever addresses both sides used."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from holdfast.domain.addons import Sealed, with_addons
from holdfast.domain.messages import interpret, message_to_json
from holdfast.domain.rows import InboxRow, MessageRow
from holdfast.domain.waha import message as shaped
from holdfast.runtime.sealed import opened
from wasim.phone_more import seal_vote

ME = {"phone": "40712345678", "lid": "999999@lid"}
OWN, OWN_LID = "40712345678@s.whatsapp.net", "999999@lid"
ANA, ANA_LID = "40722000111@s.whatsapp.net", "111@lid"
SECRET = bytes(range(32))


def stored(body: dict[str, Any], **attrs: str) -> InboxRow:
    return InboxRow("k", "message", {"id": "3EB0P", "t": "1700000000", **attrs}, b"raw", body, 7)


def poll(**attrs: str) -> MessageRow:
    body = {
        "pollCreationMessageV3": {"name": "Tea?", "options": [{"optionName": "yes"}, {"optionName": "no"}]},
        "messageContextInfo": {"messageSecret": {"$b": base64.b64encode(SECRET).decode()}},
    }
    [row] = interpret(stored(body, **attrs), ME).messages
    return row


def ballot(creator: str, voter: str, options: list[str], *, mine: bool, **attrs: str) -> Sealed:
    """A vote in the poll 3EB0P; `mine`: the voter made the poll."""
    sealed = {
        k: {"$b": base64.b64encode(v).decode()} for k, v in seal_vote(SECRET, "3EB0P", creator, voter, options).items()
    }
    body = {"pollUpdateMessage": {"pollCreationMessageKey": {"id": "3EB0P", "fromMe": mine}, "vote": sealed}}
    [vote] = interpret(stored(body, **{**attrs, "id": "3EB0V"}), ME).sealed
    return vote


@pytest.mark.parametrize("creator", [ANA, ANA_LID])
@pytest.mark.parametrize("voter", [ANA, ANA_LID])
def test_their_vote_in_their_poll(creator: str, voter: str) -> None:
    vote = ballot(creator, voter, ["no"], mine=True, **{"from": "111:0@lid", "sender_pn": ANA})
    result = opened(vote, poll(**{"from": ANA}), ME)
    [addon], [event] = result.addons, result.events
    assert (addon.kind, addon.target, addon.body) == ("vote", "3EB0P", {"options": ["no"]})
    assert (event.kind, event.payload["options"], event.payload["target_from_me"]) == ("poll.vote", ["no"], False)


@pytest.mark.parametrize("creator", [OWN, OWN_LID])
def test_their_vote_in_our_poll(creator: str) -> None:
    vote = ballot(creator, ANA_LID, ["yes", "no"], mine=False, **{"from": ANA_LID})
    ours = poll(**{"from": OWN_LID, "recipient": ANA_LID})
    [event] = opened(vote, ours, ME).events
    assert (event.payload["options"], event.payload["target_from_me"]) == (["yes", "no"], True)


def test_what_cannot_be_opened_is_told() -> None:
    vote = ballot(ANA, ANA, ["no"], mine=True, **{"from": ANA})
    known = poll(**{"from": ANA})
    broken = replace(known, body={**known.body, "secret": base64.b64encode(bytes(32)).decode()})
    for found in (None, broken, replace(known, body={})):
        result = opened(vote, found, ME)
        assert (result.addons, [event.kind for event in result.events]) == ((), ["poll.vote.failed"])
    assert [event.kind for event in opened(replace(vote, iv=b""), known, ME).events] == ["poll.vote.failed"]


def test_a_choice_that_the_poll_does_not_have_is_left_out() -> None:
    vote = ballot(ANA, ANA, ["perhaps", "yes"], mine=True, **{"from": ANA})
    assert opened(vote, poll(**{"from": ANA}), ME).events[0].payload["options"] == ["yes"]


def test_votes_are_counted_and_the_secret_is_shown_to_nobody() -> None:
    row = poll(**{"from": ANA})
    addons = [opened(ballot(ANA, ANA, ["no"], mine=True, **{"from": ANA}), row, ME).addons[0]]
    told = shaped(message_to_json(with_addons(row, addons)), ME)
    assert told["_data"]["poll"]["options"] == [
        {"name": "yes", "votes": 0, "voters": []},
        {"name": "no", "votes": 1, "voters": ["40722000111@c.us"]},
    ]
    assert base64.b64encode(SECRET).decode() not in str(told)
