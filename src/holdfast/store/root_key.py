"""The Noise root key of the WhatsApp that the stored credentials belong to.

It is recorded in the transaction that stores the first credentials. From then on an instance with another root key can
neither claim a session nor store credentials, whatever it checked at its start: of two instances that start at once
with different keys, the one whose session is linked first decides. With no credentials left, the record counts for
nothing, and the next start removes it.

Sessions on WAHA servers are left out: what is stored as their credentials is only which device WAHA has linked.
"""

from __future__ import annotations

from sqlalchemy import Connection

from holdfast.domain.errors import WrongWhatsApp
from holdfast.domain.whatsapp import WhatsApp, shown_root_key
from holdfast.store import settings
from holdfast.store.sql import Query

ROOT_KEY = "whatsapp.root_key"
URL = "whatsapp.url"

_LINKED = Query(
    "SELECT 1 FROM session s WHERE s.engine <> 'waha' AND EXISTS (SELECT 1 FROM credential k "
    "WHERE k.session_name = s.name AND k.type = 'creds' AND k.id = '') LIMIT 1"
)
_STANDS_AND_LINKED = Query(
    "SELECT (SELECT value FROM setting WHERE key = ?), EXISTS (SELECT 1 FROM credential "
    "WHERE session_name = ? AND type = 'creds' AND id = '')"
)
_ENGINE = Query("SELECT engine FROM session WHERE name = ?")
_SHARE = Query("SELECT value FROM setting WHERE key = ? FOR SHARE")
_LOCK = Query("SELECT value FROM setting WHERE key = ? FOR UPDATE")
_REMOVE = Query("DELETE FROM setting WHERE key IN (?, ?)")


def settle(c: Connection, ours: WhatsApp, *, adopt: bool, change: bool) -> str | None:
    """See `ports.store.Store.settle_root_key`."""
    row = _LOCK.first(c, ROOT_KEY)  # whoever stores the first credentials waits, or is waited for
    if _LINKED.first(c) is None:
        _REMOVE.run(c, ROOT_KEY, URL)
        return None
    stands = None if row is None else str(row[0])
    if stands is None and adopt:
        stands = settings.put(c, ROOT_KEY, ours.root_key, only_if_absent=True)
    elif stands is not None and change:
        stands = settings.put(c, ROOT_KEY, ours.root_key)
    if stands != ours.root_key:
        raise refusal(stands, ours)
    return _moved(c, ours)


def known(c: Connection) -> str | None:
    """The root key that the stored credentials belong to; None without credentials, or without a record."""
    return settings.get(c, ROOT_KEY) if _LINKED.first(c) is not None else None


def check(c: Connection, ours: WhatsApp) -> None:
    """Before a session is claimed. Raises `WrongWhatsApp`."""
    stands = settings.get(c, ROOT_KEY)
    if stands not in (None, ours.root_key):
        raise refusal(stands, ours)


def record(c: Connection, name: str, ours: WhatsApp) -> None:
    """Before credentials of a session are stored, in the same transaction. Raises `WrongWhatsApp`."""
    stands, linked = _STANDS_AND_LINKED.first(c, ROOT_KEY, name)
    if linked and stands == ours.root_key:
        return
    if (found := _ENGINE.first(c, name)) is not None and found[0] == "waha":
        return
    settings.put(c, ROOT_KEY, ours.root_key, only_if_absent=True)
    if ours.url:
        settings.put(c, URL, ours.url, only_if_absent=True)
    (stands,) = _SHARE.first(c, ROOT_KEY)
    if stands != ours.root_key:
        raise refusal(stands, ours)


def refusal(stands: str | None, ours: WhatsApp) -> WrongWhatsApp:
    """`stands`: the recorded root key; None if there is none, and none may be adopted."""
    if stands is None:
        return WrongWhatsApp(
            "This database has linked sessions, and no record of the WhatsApp that they belong to. Start "
            "`holdfast serve` on it once, with the settings under which they were linked."
        )
    return WrongWhatsApp(
        "The sessions in this database are linked to a different WhatsApp than HOLDFAST_WHATSAPP_ROOT_KEY names "
        f"(theirs: {shown_root_key(stands)}; here: {shown_root_key(ours.root_key)}). Connected to this one they would "
        "be logged out, and their credentials deleted. Use their root key, or give this instance a database of its "
        "own. If the root key of the same WhatsApp has changed, start once with `holdfast serve --change-root-key`."
    )


def _moved(c: Connection, ours: WhatsApp) -> str | None:
    """The recorded URL, if ours differs; ours is recorded from now on."""
    if not ours.url:
        return None
    before = settings.get(c, URL)
    if before != ours.url:
        settings.put(c, URL, ours.url)
    return before if before not in (None, ours.url) else None
