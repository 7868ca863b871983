"""Who is let in: the API key, the key for figures, and the sessions of the dashboard.

A generated key is shared through the store, where only its hash is. `holdfast rotate-key` replaces it there; every
instance reads it again at the latest `REREAD` seconds after it was read, and before it judges the next request.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from holdfast.domain.access import fits, key_hash, session_hash
from holdfast.domain.errors import StoreUnavailable, TooManyWrongKeys, Unauthorized
from holdfast.domain.key_guesses import KeyGuesses, shown_address
from holdfast.ports.clock import Clock
from holdfast.ports.store import Store

log = structlog.get_logger(__name__)

API_KEY_HASH = "api_key_hash"
LIFETIME = 7 * 86_400.0
"""Seconds after which a session of the dashboard expires."""
REREAD = 5.0
REREAD_FOR_WRONG = 1.0
"""Seconds after which the hash of a generated key is read again: always, and before a key is refused."""


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Hashes of the keys that the settings give; empty where they give none."""

    api_key: str = ""
    metrics_key: str = ""


class Access:
    """See the module. Methods that ask the store raise `StoreUnavailable`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: AccessSettings,
        guesses: KeyGuesses,
        on_wrong_key: Callable[[str], None] = lambda _where: None,
    ) -> None:
        self._store, self._clock = store, clock
        self._generated = not settings.api_key
        self._expected = settings.api_key
        self._metrics = settings.metrics_key
        self._guesses = guesses
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._on_wrong_key = on_wrong_key

    async def start(self) -> str | None:
        """Agree with all instances of the store on a key, where the settings give none. Returns the key if it was
        generated just now: it is known to nobody else.
        """
        if not self._generated:
            return None
        fresh = self._token(24)
        self._expected = await self._store.put_setting(API_KEY_HASH, key_hash(fresh), only_if_absent=True)
        self._read_at = self._clock.boot()
        return fresh if self._expected == key_hash(fresh) else None

    # --- keys -----------------------------------------------------------------------------------------------------
    async def is_key(self, key: str | bytes) -> bool:
        """Whether that is the API key."""
        await self._read_again(REREAD)
        if fits(key, self._expected):
            return True
        await self._read_again(REREAD_FOR_WRONG)  # it may be the new key
        return fits(key, self._expected)

    def is_metrics_key(self, key: bytes) -> bool:
        """Whether that is the key for figures."""
        return fits(key, self._metrics)

    async def _read_again(self, age: float) -> None:
        if not self._generated or self._clock.boot() - self._read_at < age:
            return
        async with self._reading:
            if self._clock.boot() - self._read_at < age:
                return
            try:
                stored = await self._store.setting(API_KEY_HASH)
            except StoreUnavailable:  # the key that was right is; asked again with the next request
                return
            self._read_at = self._clock.boot()
            if stored and stored != self._expected:
                self._expected = stored
                log.warning(
                    "API key rotated: the new key is accepted from now on, the old one is refused, and everybody must "
                    "sign in again", action="access", code="key_rotated",
                )  # fmt: skip

    # --- sessions of the dashboard ----------------------------------------------------------------------------------
    async def sign_in(self) -> str:
        """Open a session: its id, for the cookie."""
        session_id = self._token(32)
        await self._store.add_dashboard_session(self._hashed(session_id.encode()), LIFETIME)
        return session_id

    async def is_signed_in(self, session_id: bytes) -> bool:
        """Whether that session is open."""
        await self._read_again(REREAD)
        return await self._store.dashboard_session_stands(self._hashed(session_id))

    async def sign_out(self, session_id: bytes) -> None:
        """End that session, at every instance."""
        await self._store.end_dashboard_session(self._hashed(session_id))

    def _hashed(self, session_id: bytes) -> str:
        return session_hash(session_id, self._expected)

    def _token(self, nbytes: int) -> str:
        return base64.urlsafe_b64encode(self._clock.token(nbytes)).rstrip(b"=").decode()

    # --- guessing ---------------------------------------------------------------------------------------------------
    def wrong_key(self, where: str, address: str) -> Unauthorized | TooManyWrongKeys:
        """Count a wrong key or signature that `address` presented. Returns what it is answered."""
        self._on_wrong_key(where)
        judged = self._guesses.wrong(address, self._clock.boot())
        if judged.logged:
            log.warning(
                "wrong key refused", action="access", code="wrong_key", where=where, address=shown_address(address),
                wait=round(judged.wait), unlogged=judged.unlogged,
            )  # fmt: skip
        if not judged.wait:
            return Unauthorized()
        wait = max(1, round(judged.wait + 0.5))
        return TooManyWrongKeys(
            f"Too many wrong keys came from this address. Wait {wait} s before the next attempt; the right key is "
            "accepted at once.",
            retry_after=wait,
        )
