"""`ports.accounts.Accounts`: whose a session is, and getting it back for a person who asks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import structlog

from holdfast.domain.accounts import (
    AccountRow,
    legacy_names,
    legacy_names_of_phone,
    new_name,
    other_name,
    recovery,
    second_name,
    seconds_until_again,
)
from holdfast.domain.errors import AccountNotFound, AccountTaken, BadRequest, SessionExists, WrongStatus
from holdfast.domain.identity import account_name, canonical_phone, legacy_key
from holdfast.domain.jids import mask
from holdfast.ports.accounts import Account, Recovered
from holdfast.ports.gateway import Gateway, SessionView
from holdfast.ports.remote import Remote
from holdfast.ports.store import Json, SessionRow
from holdfast.runtime.actor import Deps

log = structlog.get_logger(__name__)

AGAIN_EVERY = 60.0
"""Seconds between two pairings, or two tries against another program, that `recover` begins."""
SETTLE = 10.0
"""Seconds that a recovery may take to come to something."""
LATELY = 100
"""Entries of the timeline that are looked at."""
_SETTLED = frozenset({"WORKING", "SCAN_QR_CODE", "FAILED", "STOPPED"})
_PAIRED = frozenset({"pairing"})
_REPLACED = frozenset({"replaced", "conflict"})


class LocalAccounts:
    """See the port for outcomes and errors."""

    def __init__(self, gateway: Gateway, deps: Deps, namespace: str) -> None:
        self._gateway = gateway
        self._store = deps.store
        self._engines = deps.engines
        self._engine = deps.engine
        self._clock = deps.clock
        self._namespace = namespace
        self._again_every = AGAIN_EVERY * deps.times.factor
        self._process = psutil.Process()

    # --- whose ----------------------------------------------------------------------------------------------------
    async def add(
        self,
        *,
        phone: str | None = None,
        company: str | None = None,
        user: str | None = None,
        name: str = "",
        aliases: Sequence[str] = (),
    ) -> Account:
        """See the port."""
        digits = None if phone is None else canonical_phone(phone)
        asked = AccountRow("", company or None, user or None, digits, name)
        if not (asked.phone or asked.company_id or asked.user_id):
            raise BadRequest("Name a phone, a company or a user.")
        session = await self._session_of(asked)
        again = digits is not None and session == second_name(digits, self._namespace)
        stable = [account_name(digits, self._namespace)] if digits and not again else []
        return await self._save(asked, session, [*aliases, *stable])

    async def _save(self, asked: AccountRow, session: str, aliases: Sequence[str]) -> Account:
        wanted = AccountRow(session, asked.company_id, asked.user_id, asked.phone, asked.name)
        try:
            row, fresh = await self._store.save_account(wanted, self._engine, aliases)
        except AccountTaken:
            # Two users with one short name: the later one gets a longer.
            if asked.phone or asked.company_id or asked.user_id is None or session == other_name(asked.user_id):
                raise
            return await self._save(asked, other_name(asked.user_id), aliases)
        if fresh:
            phone = mask(row.phone) if row.phone else None
            log.info("account added", action="account", session=row.session, canonical_phone=phone)
            await self._gateway.update(row.session, {})  # its receivers and its instance hear of it
        return Account(row, await self._gateway.session(row.session), fresh)

    async def _session_of(self, asked: AccountRow) -> str:
        """Where the account is, or is to be: what is known first, then what an older scheme made, then a new name."""
        known = await self._store.account(asked)
        if known is not None:
            return known.session
        for name in await self._earlier_names(asked):
            if await self._store.session(name) is not None and not await self._has_another_phone(name, asked):
                return name
        name = new_name(asked, self._namespace)
        if asked.phone and await self._store.session(name) is not None:
            return second_name(asked.phone, self._namespace)
        return name

    async def _has_another_phone(self, name: str, asked: AccountRow) -> bool:
        """Whether the account has changed its number since it got its name."""
        known = await self._store.account(AccountRow(name))
        return bool(known and known.phone and asked.phone and known.phone != asked.phone)

    async def _earlier_names(self, asked: AccountRow) -> list[str]:
        names = []
        if asked.phone:
            names += [account_name(asked.phone, self._namespace), *legacy_names_of_phone(asked.phone)]
            names += [name for name in await self._store.linked(asked.phone) if legacy_key(name)]
        if asked.company_id:
            names.append(new_name(AccountRow("", asked.company_id), self._namespace))
        return names

    async def find(self, *, id: str | None = None, company: str | None = None, user: str | None = None) -> Account:
        """See the port."""
        if id:
            row = await self._by_id(id)
        elif company or user:
            row = await self._by_owner(company, user)
        else:
            raise BadRequest("Name the account: accountId, company_id or user_id.")
        return Account(row, await self._gateway.session(row.session))

    async def _by_id(self, id: str) -> AccountRow:
        session = await self._store.session(id)
        if session is None:
            session = await self._of_older_scheme(id)
        if session is None:
            raise AccountNotFound(f"There is no account '{id}'. Add it with POST /api/whatsapp/add-account.")
        return await self._store.account(AccountRow(session.name)) or AccountRow(session.name)

    async def _of_older_scheme(self, id: str) -> SessionRow | None:
        for name in legacy_names(id, self._namespace):
            found = await self._store.session(name)
            if found is not None:
                with contextlib.suppress(SessionExists):  # from now on every path knows that id
                    await self._store.add_alias(id, found.name)
                return found
        return None

    async def _by_owner(self, company: str | None, user: str | None) -> AccountRow:
        """By what was added; a session that nobody added and that has the company's id as its name is the company's."""
        row = await self._store.account(AccountRow("", company or None, None if company else user))
        if row is not None:
            return row
        session = await self._store.session(company) if company else None
        if session is not None and company:
            known = await self._store.account(AccountRow(session.name))
            if known is None or known.company_id is None:
                return known or AccountRow(session.name, company)
        what = f"company '{company}'" if company else f"user '{user}'"
        raise AccountNotFound(f"The {what} has no account. Connect it with POST /api/whatsapp/connect.")

    async def all(self) -> list[Account]:
        """See the port."""
        views = {view.name: view for view in await self._gateway.sessions()}
        return [Account(row, views[row.session]) for row in await self._store.accounts() if row.session in views]

    # --- back to work ---------------------------------------------------------------------------------------------
    async def recover(self, name: str) -> Recovered:
        """See the port."""
        before = await self._gateway.session(name)
        if before.status == "WORKING":
            return Recovered(before, before, "The session works; nothing was touched.")
        if before.status == "SCAN_QR_CODE":
            return Recovered(before, before, "A QR code is on show already; scan it.")
        if not before.linked and before.status != "STARTING":
            held_off = await self._held_off(before, _PAIRED)
            if held_off:
                return Recovered(before, before, f"{before.message} A new QR code can be had in {held_off:.0f} s.")
        elif before.reason in _REPLACED:
            held_off = await self._held_off(before, _REPLACED)
            if held_off:
                return Recovered(before, before, f"{before.message} The next try can be had in {held_off:.0f} s.")
        await self._gateway.start(before.name)
        return await self._settled(before, "Session auto-recovery completed")

    async def restart(self, name: str) -> Recovered:
        """See the port."""
        before = await self._gateway.session(name)
        if before.needs_qr:
            return await self.recover(name)
        if before.status == "STARTING" and before.next_attempt_at is None:
            return await self._settled(before, "The session was connecting already")
        await self._gateway.restart(before.name)
        return await self._settled(before, "Session restart completed")

    async def relink(self, name: str) -> SessionView:
        """See the port."""
        view = await self._gateway.session(name)
        if view.status == "SCAN_QR_CODE":
            return view
        if view.linked:
            raise WrongStatus(
                f"{view.message} A new QR code would unlink it: log it out first "
                f"(POST /api/sessions/{view.name}/logout) if that is meant.",
                session=view.name,
                status=view.status,
            )
        return await self._gateway.start(view.name)

    async def _held_off(self, view: SessionView, codes: frozenset[str]) -> float:
        rows = await self._gateway.timeline(view.name, LATELY)
        return seconds_until_again(rows, codes, self._clock.now(), self._again_every)

    async def _settled(self, before: SessionView, done: str) -> Recovered:
        after = await self._gateway.wait_status(before.name, until=_SETTLED, timeout=SETTLE)
        if after.status == "WORKING":
            return Recovered(before, after, f"{done}.")
        if after.status == "SCAN_QR_CODE":
            return Recovered(before, after, f"{done}; scan the QR code to link the account again.")
        return Recovered(before, after, after.message)

    # --- facts ----------------------------------------------------------------------------------------------------
    async def facts(self, name: str) -> Json:
        """See the port."""
        view = await self._gateway.session(name)
        told = self._told(view.engine, view.config)
        counts = await self._store.outbox_counts(view.name)
        return {
            "recovery": recovery(await self._gateway.timeline(view.name, LATELY)),
            "breaker": _breaker(told),
            "queue": _queue(told, counts.get("sending", 0), counts.get("queued", 0)),
        }

    async def health(self, engine: str, config: Json | None = None) -> Json:
        """See the port."""
        engine = engine or self._engine
        told = self._told(engine, config or {})
        waiting = sum(queue.depth for queue in (await self._store.figures()).queues.values())
        sidecars = [int(process["memory"]) for process in told.get("processes", ())]
        return {
            "engine": engine,
            "reachable": bool(told.get("reachable", True)),
            "breaker": _breaker(told),
            "queue": _queue(told, 0, waiting),
            "memory": {"instance": self._process.memory_info().rss, "sidecars": sidecars},
        }

    def _told(self, engine: str, config: Json) -> Mapping[str, Any]:
        """What the engine tells of itself, and of the server that a session of that configuration lives on."""
        found = self._engines[engine]
        told = found.facts()
        server = found.server_of(config) if isinstance(found, Remote) else ""
        return {**told, **told["servers"][server]} if server in told.get("servers", {}) else told


def _breaker(told: Mapping[str, Any]) -> Json:
    """As the engine tells it. One that asks no remote server has none, and nothing ever opens it."""
    return dict(told.get("breaker") or {"state": "closed", "failures": 0})


def _queue(told: Mapping[str, Any], active: int, waiting: int) -> Json:
    """As the engine tells it; one that queues no requests has the outbox before it."""
    return dict(told.get("queue") or {"active": active, "waiting": waiting})
