"""`ports.gateway.Gateway` for one instance: orders go into the store, facts come from it, live calls to the engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import Any

from holdfast.domain import state as s
from holdfast.domain.accounts import AccountRow
from holdfast.domain.errors import BadRequest, WrongNumber, WrongStatus
from holdfast.domain.identity import canonical_phone, valid_session_name
from holdfast.domain.jids import mask
from holdfast.ports.engine import Engine
from holdfast.ports.gateway import PairingView, SessionView
from holdfast.ports.store import DeliveryRow, Json
from holdfast.runtime.actor import Actor
from holdfast.runtime.conversations import Conversations
from holdfast.runtime.housing import Housing
from holdfast.runtime.orders import ORDER_WAIT
from holdfast.runtime.remotes import RemoteNews
from holdfast.runtime.sending import PEER_TIMEOUT

STILL_LISTED = (
    "The session was not connected, so WhatsApp could not be told: the phone still lists this device. "
    "Remove it there: WhatsApp, Settings, Linked devices."
)
"""What a logout says that deleted the credentials and could not unlink the device."""
_ASKING = frozenset({"STARTING", "SCAN_QR_CODE", "FAILED"})

PEER_CALL = 15.0
"""Seconds that a live call on another instance may take."""


class LocalGateway(Conversations, Housing, RemoteNews):
    """What the faces may ask of this instance; see the port for outcomes and errors."""

    # --- sessions -----------------------------------------------------------------------------------------------
    async def create(self, name: str | None, config: Json, *, start: bool, engine: str = "") -> SessionView:
        """See the port."""
        name = valid_session_name(name or f"session_{self._clock.token(8).hex()}")
        engine, config = self._housed(name, self._configured(config, {}), engine)
        row = await self._store.create_session(name, engine, config, "stopped")
        await self._delivery.configure(row)
        if start:
            return await self.start(row.name)
        return self._view(row, None)

    async def update(self, name: str, config: Json) -> SessionView:
        """See the port."""
        before = await self._row(name)
        config = self._stays(before, self._configured(config, before.config))
        row = await self._store.update_config(before.name, config)
        await self._delivery.configure(row)
        await self._supervisor.poke(row)
        await self._hint(row.name, "wake")
        return self._view(row, (await self._store.holders([row.name])).get(row.name))

    async def delete(self, name: str) -> None:
        """See the port."""
        row = await self._store.session(name)
        if row is None:
            return
        if row.name in self._supervisor.actors or row.has_credentials:
            await self._order(row.name, "stopped", "logout")
            await self._supervisor.end(row.name)
        await self._store.delete_session(row.name)
        await self._engines[row.engine].forget(row.name, row.config)
        self._delivery.forget(row.name)
        self._hub.session_changed(row.name)

    # --- webhooks -----------------------------------------------------------------------------------------------
    async def deliveries(
        self,
        *,
        states: Collection[str] = (),
        session: str | None = None,
        consumer: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[DeliveryRow]:
        """See the port."""
        name = None if session is None else (await self._row(session)).name
        return await self._store.deliveries(states=states, session=name, consumer=consumer, limit=limit, before=before)

    async def replay(self, id: int) -> DeliveryRow:
        """See the port. Whichever instance delivers it sees it soon; if it is this one, now."""
        row = await self._store.replay_delivery(id)
        await self._delivery.look()
        return row

    async def replay_all(
        self, *, states: Collection[str] = (), session: str | None = None, consumer: str | None = None
    ) -> int:
        """See the port."""
        name = None if session is None else (await self._row(session)).name
        count = await self._store.replay_deliveries(states=states, session=name, consumer=consumer)
        await self._delivery.look()
        return count

    # --- orders -------------------------------------------------------------------------------------------------
    async def start(self, name: str) -> SessionView:
        """See the port."""
        return await self._order(name, "running", "start")

    async def stop(self, name: str) -> SessionView:
        """See the port."""
        return await self._order(name, "stopped", "stop")

    async def restart(self, name: str) -> SessionView:
        """See the port."""
        return await self._order(name, "running", "restart")

    async def logout(self, name: str) -> SessionView:
        """See the port."""
        row, before = await self._row(name), await self.session(name)
        relink = row.desired == "running"
        account = await self._store.account(AccountRow(row.name))
        own_number_only = account is not None and account.phone is not None
        after = await self._order(row.name, None, "logout", relink=relink, new_number=not own_number_only)
        if relink and after.status == "STOPPED":  # its connection is being closed
            after = await self.wait_status(row.name, until=_ASKING, timeout=ORDER_WAIT)
        unlinked = not before.linked or before.status == "WORKING"
        return after if unlinked else replace(after, notes=(STILL_LISTED,))

    async def clear_auth(self, name: str) -> SessionView:
        """See the port."""
        row = await self._row(name)
        view = await self._order(row.name, None, "logout")
        if (await self._row(row.name)).has_credentials:  # whoever holds the session did not do it in time
            await self._store.clear_credentials(row.name)
        return await self.pair(row.name) if row.desired == "running" else view

    # --- pairing ------------------------------------------------------------------------------------------------
    async def pair(self, name: str, *, phone: str | None = None, new_number: bool = False) -> SessionView:
        """See the port."""
        digits = None if phone is None else canonical_phone(phone)
        if digits is not None and not new_number:
            _same_number(await self._state(name), digits)
        return await self._order(name, "running", "pair", phone=digits, new_number=new_number)

    async def _state(self, name: str) -> s.State:
        return s.State.from_json((await self._row(name)).state)

    async def pairing(self, name: str, *, wait: float = 0.0) -> PairingView:
        """See the port."""
        view = await self.session(name)

        async def shown() -> bool:
            nonlocal view
            view = await self.session(name)
            if view.status not in ("STARTING", "SCAN_QR_CODE"):
                return True
            actor = self._supervisor.actors.get(view.name)
            if actor is None:
                return view.status == "SCAN_QR_CODE"  # on another instance
            on_show = bool(actor.pairing.qr or actor.pairing.code)
            return on_show and view.status == "SCAN_QR_CODE"  # the QR comes a moment before its state is stored

        await self._until(f"session:{view.name}", shown, wait)
        if view.status != "SCAN_QR_CODE":
            raise WrongStatus(session=view.name, status=view.status, expected=["SCAN_QR_CODE"])

        async def here(actor: Actor) -> PairingView:
            shown, until = actor.pairing, actor.state.pairing_until or self._clock.now()
            return PairingView(shown.qr, shown.qr_expires_at, shown.code, until)

        told = await self._live(view.name, here, "pairing", {"wait": wait}, timeout=wait + PEER_TIMEOUT)
        return told if isinstance(told, PairingView) else PairingView(**told)

    async def request_code(self, name: str, phone: str) -> str:
        """See the port."""
        digits = canonical_phone(phone)
        view = await self.session(name)
        state = await self._state(name)
        if not state.new_number:
            _same_number(state, digits)
        if view.status == "STARTING":
            view = await self.wait_status(name, until=frozenset({"SCAN_QR_CODE", "WORKING", "FAILED"}), timeout=10.0)
        if view.status != "SCAN_QR_CODE":
            raise WrongStatus(session=view.name, status=view.status, expected=["SCAN_QR_CODE"])

        async def here(actor: Actor) -> str:
            actor.pairing.code = await self._engine(view).request_code(view.name, actor.state.connection, digits)
            return actor.pairing.code

        return str(await self._live(view.name, here, "request_code", {"phone": digits}, timeout=PEER_CALL))

    def _engine(self, view: SessionView) -> Engine:
        return self._engines[view.engine]

    async def call(self, name: str, method: str, args: Mapping[str, Any]) -> Any:
        """See the port."""
        view = await self.session(name)
        if view.status != "WORKING":
            raise WrongStatus(session=view.name, status=view.status, expected=["WORKING"])

        if chat := args.get("chat"):
            args = {**args, "chat": await self._store.address_of(view.name, str(chat))}

        async def here(actor: Actor) -> Any:
            return await self._engine(view).call(view.name, actor.state.connection, method, args)

        answer = await self._live(view.name, here, "call", {"method": method, "args": dict(args)}, timeout=PEER_CALL)
        if method == "mark_read" and args["messages"]:
            await self._store.mark_seen(view.name, str(args["chat"]), [str(one["id"]) for one in args["messages"]])
        return answer

    # --- what other instances ask -------------------------------------------------------------------------------
    async def answer(self, method: str, args: Mapping[str, Any]) -> Any:
        """A peer's request, answered by this instance alone. Raises `BadRequest` for what this version knows not."""
        if method == "offer":
            self._supervisor.take([str(name) for name in args["names"]])
            return None
        name = str(args["session"])
        if method == "wake":
            return await self._woken(name)
        if method == "pairing":
            return asdict(await self.pairing(name, wait=float(args["wait"])))
        if method == "request_code":
            return await self.request_code(name, str(args["phone"]))
        if method == "call":
            return await self.call(name, str(args["method"]), dict(args["args"]))
        if method == "told":
            return await self.take_told(name, dict(args["envelope"]))
        if method == "settled":
            return await self.settled(name, str(args["id"]), float(args["wait"]))
        raise BadRequest(f"This instance knows no '{method}'.")

    async def _woken(self, name: str) -> None:
        row = await self._row(name)
        await self._supervisor.poke(row)
        if (sender := self._sender_of(row.name)) is not None:
            sender.wake()


def _same_number(state: s.State, digits: str) -> None:
    """Raises `WrongNumber` if the session belongs to another number than that."""
    if state.phone and state.phone != digits:
        raise WrongNumber(
            f"This session belongs to {mask(state.phone)}, not to {mask(digits)}. "
            "Link the same number, or confirm that the session is to change its number."
        )
