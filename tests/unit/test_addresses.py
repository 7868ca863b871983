"""Who is named inside a message is found by the field's name; texts stay as they were written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.addresses import by_number, lids_in

ANA_LID, ANA = "111222333@lid", "40700000002@s.whatsapp.net"


def test_every_field_that_holds_addresses_is_found() -> None:
    body = {
        "mentions": [ANA_LID, "555@lid"],
        "quoted": {"participant": "111222333:7@lid", "text": ANA_LID},
        "message": {
            "conversation": ANA_LID,
            "extendedTextMessage": {"text": ANA_LID, "contextInfo": {"mentionedJid": [ANA_LID], "remoteJid": ANA_LID}},
            "orderMessage": {"sellerJid": "111222333:99@hosted.lid", "orderTitle": ANA_LID},
        },
        "order": {"seller": ANA_LID, "title": ANA_LID},
    }
    assert set(lids_in(body)) == {ANA_LID, "555@lid"}
    shown = by_number(body, {ANA_LID: ANA})
    assert shown == {
        "mentions": [ANA, "555@lid"],
        "quoted": {"participant": ANA, "text": ANA_LID},
        "message": {
            "conversation": ANA_LID,
            "extendedTextMessage": {"text": ANA_LID, "contextInfo": {"mentionedJid": [ANA], "remoteJid": ANA}},
            "orderMessage": {"sellerJid": ANA, "orderTitle": ANA_LID},
        },
        "order": {"seller": ANA, "title": ANA_LID},
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.text() | st.just(ANA_LID),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "participant", "mentions", "x"]), inner),
)


@given(value=VALUES)
def test_what_is_not_known_stays(value: object) -> None:
    assert by_number(value, {}) == value
    known = by_number(value, {ANA_LID: ANA})
    assert list(lids_in(known)) == []
