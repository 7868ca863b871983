"""Addresses inside messages: mentions, quoted authors, keys and whatever else names a person by LID (pure).

WhatsApp writes LIDs into messages; users know people by number. Fields that hold addresses are found by their names,
so that a text which looks like an address stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from holdfast.domain import jids

_FIELD = re.compile(
    r"[Jj]ids?$|participant$|[Rr]eceivers$|^(mentions|seller|chat|to|sender|author|owner|invoker|revoked_by|requestFrom)$"
)
_LID = re.compile(r"[0-9]+(_[0-9]+)?(:[0-9]+)?@(lid|hosted\.lid)")


def lids_in(value: Any, field: str = "") -> Iterator[str]:
    """Every LID in a field that holds addresses, without its device."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from lids_in(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from lids_in(part, field)
    elif isinstance(value, str) and _FIELD.search(field) and _LID.fullmatch(value):
        yield jids.bare(value)


def by_number(value: Any, known: Mapping[str, str], field: str = "") -> Any:
    """The same with LIDs replaced by what `known` says (LID -> number's address)."""
    if isinstance(value, Mapping):
        return {name: by_number(part, known, name) for name, part in value.items()}
    if isinstance(value, list):
        return [by_number(part, known, field) for part in value]
    if isinstance(value, str) and _FIELD.search(field) and _LID.fullmatch(value):
        return known.get(jids.bare(value), value)
    return value
