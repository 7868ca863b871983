"""The one gate that every value passes on its way into a database, so that nothing that a stranger sends is refused.

PostgreSQL's text holds no NUL, UTF-8 no lone surrogate, an integer column no more than 64 bits, and JSON neither of
these; SQLite takes NaN for NULL. What cannot be stored is replaced, always in the same way, so that what is looked up
by such a value is found. Statements pass it in `sql.Query` and by `guard`, JSON in `sql.dumps`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import event

REPLACEMENT: Final = "\ufffd"
"""Stands for each character that cannot be stored."""
MOST, LEAST = 2**63 - 1, -(2**63)
DEEPEST: Final = 200
"""Levels of JSON that are kept; below them is null. No phone sends so many."""
LONGEST_KEY: Final = 500
"""Characters of an identifier by which rows are found: PostgreSQL's indexes take no more than 2,700 bytes."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def storable(value: Any) -> Any:
    """A parameter of a statement as both databases can hold it; anything else than text and numbers as it is."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int:
        return value if LEAST <= value <= MOST else _bounded(value)
    if kind is float:
        return value if value == value else 0.0  # noqa: PLR0124 - not a number
    return value


def _text(value: str) -> str:
    if "\x00" in value:
        value = value.replace("\x00", REPLACEMENT)
    return value if value.isascii() else _SURROGATE.sub(REPLACEMENT, value)


def _bounded(value: int) -> int:
    return max(LEAST, min(MOST, value))


def storable_json(value: Any, depth: int = DEEPEST) -> Any:
    """A value of which JSON can be made: without lone surrogates, numbers beyond 64 bits, and endless depth. NUL stays:
    JSON text spells it out.
    """
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub(REPLACEMENT, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _bounded(value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth == 0:
        return None
    if isinstance(value, Mapping):
        return {storable_json(str(key)): storable_json(item, depth - 1) for key, item in value.items()}
    return [storable_json(item, depth - 1) for item in value]


def storable_key(identifier: str) -> str:
    """An identifier that an index can hold: a longer one is cut, and told from others by its hash."""
    if len(identifier) <= LONGEST_KEY:
        return identifier
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{identifier[:LONGEST_KEY]}~{digest}"


_IDENTIFIES = re.compile(r"(id|jid|lid|pn|from|participant|recipient|sender|author)$", re.IGNORECASE)


def storable_identifiers(value: Any, depth: int = DEEPEST) -> Any:
    """A received stanza's parts, in which no identifier is longer than an index holds: whatever is made of them later,
    and wherever it is stored, finds the same.
    """
    if depth and isinstance(value, Mapping):
        return {name: _member(str(name), item, depth - 1) for name, item in value.items()}
    if depth and isinstance(value, list):
        return [storable_identifiers(item, depth - 1) for item in value]
    return value


def _member(name: str, item: Any, depth: int) -> Any:
    if _IDENTIFIES.search(name) and isinstance(item, str):
        return storable_key(item)
    if _IDENTIFIES.search(name) and isinstance(item, list):
        return [_member(name, one, depth) for one in item]
    return storable_identifiers(item, depth)


def parameters(values: Any) -> Any:
    """Those of a statement, or of many."""
    if isinstance(values, Mapping):
        return {name: storable(value) for name, value in values.items()}
    if isinstance(values, list):
        return [parameters(one) for one in values]
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        return tuple(storable(value) for value in values)
    return values


def guard(engine: Any) -> None:
    """Let the parameters of each statement of this SQLAlchemy engine pass the gate."""

    def gate(_connection: Any, _cursor: Any, statement: str, given: Any, _context: Any, _many: bool) -> Any:
        return statement, parameters(given)

    event.listen(engine, "before_cursor_execute", gate, retval=True)
