"""Writes docs/why-did-it-disconnect.md from the table of disconnects; a test holds that they agree."""

from __future__ import annotations

from pathlib import Path

from holdfast.domain import disconnects
from holdfast.domain.disconnects import ALL, Disconnect, Kind

PAGE = Path(__file__).resolve().parents[1] / "docs" / "why-did-it-disconnect.md"

THEN = {
    Kind.TERMINAL: "FAILED with `needs_qr`. Credentials are cleared, conversations stay; nothing connects by itself.",
    Kind.RETRY: "Tried again after 1, 2, 4 s ... up to 5 minutes; after three FAILED is shown, and slow tries go on.",
    Kind.NOW: "Connected anew at once.",
    Kind.CONFLICT: "Stays away for 1, 2, 4 ... minutes; from the third time in a row FAILED with `conflict`. No fight.",
    Kind.BAN: "FAILED until the ban ends, with the credentials kept; then resumed.",
    Kind.OUTDATED: "WhatsApp's present version is looked up and used; if that is refused too, tried every hour.",
    Kind.BROKEN: "One clean reconnect; again within 10 minutes: FAILED with `needs_qr`.",
    Kind.HALT: "FAILED, without a further try, until Connect or a restart of Holdfast; the link stays.",
}
HEAD = """# Why did it disconnect?

Each status carries a code (`reason`) and a sentence (`message`); the timeline of a session keeps them all: in the
dashboard, with `holdfast sessions NAME`, at `/api/holdfast/sessions/NAME/timeline`. This page is made from the table
that Holdfast itself decides by (`domain/disconnects.py`).

| code | the sentence | what told us | what Holdfast does | what to do |
|---|---|---|---|---|
"""
TAIL = """
Beside these: `restricted` (WORKING, but WhatsApp refuses messages to new people, 463: they wait until the end that it
names), `flapping` (any of the above, again and again: longer pauses, forgiven after 5 stable minutes), `quiet` (nothing
was delivered for long: logged in anew to see what waits), `needs_pairing` (never linked: Connect), `moved` (to another
engine: Connect), `stopped`, `restoring`, `connecting`, `pairing`, `authenticated` and `working`.
"""


def cause(row: Disconnect) -> str:
    """WhatsApp's numbers and what the engine calls it."""
    codes = [str(code) for code, found in sorted(disconnects.BY_CODE.items()) if found is row]
    tags = [f"`{tag}`" for tag, found in sorted(disconnects.BY_TAG.items()) if found is row]
    return ", ".join([*codes, *tags])


def page() -> str:
    """The page's text."""
    rows = [
        f"| `{row.code}` | {row.sentence} | {cause(row)} | {THEN[row.kind]} | {row.advice or 'Nothing.'} |\n"
        for row in sorted(ALL, key=lambda row: (list(Kind).index(row.kind), row.code))
    ]
    return HEAD + "".join(rows) + TAIL


if __name__ == "__main__":
    PAGE.write_text(page())
