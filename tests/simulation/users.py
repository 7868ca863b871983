"""What people do: order sessions about, send, and scan QR codes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from holdfast.domain.errors import HoldfastError, StoreUnavailable
from holdfast.domain.terms import Terms
from tests.simulation.instances import Instance
from tests.simulation.whatsapp import WhatsApp

ORDERS = ("start", "stop", "restart", "logout", "pair")
WEIGHTS = (6, 4, 5, 2, 1)
CHATS = 3


class Users:
    """All people of a run."""

    def __init__(self, rand: random.Random, whatsapp: WhatsApp, instances: Sequence[Instance]) -> None:
        self._rand = rand
        self._whatsapp = whatsapp
        self._instances = instances
        self._messages = 0

    async def run(self, names: Sequence[str]) -> None:
        """Do something now and then, until cancelled."""
        rand = self._rand
        while True:
            await asyncio.sleep(rand.expovariate(2.5))
            name, kind = rand.choice(names), rand.random()
            if kind < 0.4:
                self._messages += 1
                self.ask("send", name, f"m{self._messages}", f"4071234{rand.randrange(CHATS):04d}@c.us")
                if self._messages % 8 == 0:
                    self.ask("cancel", name)
            elif kind < 0.65:
                for socket in list(self._whatsapp.connected.get(name, ())):
                    self._whatsapp.deliver(socket)
            elif kind < 0.8:
                self.ask(rand.choices(ORDERS, WEIGHTS)[0], name)
            else:
                self._help(rand.sample(names, len(names)))

    def _help(self, names: Sequence[str]) -> None:
        """Somebody wants one of these to work: scans its QR code, or orders it to start."""
        for name in names:
            if self._whatsapp.scan(name):
                return
            if not self._whatsapp.connected.get(name):
                self.ask("start", name)
                return

    def ask(self, what: str, name: str, *facts: str) -> None:
        """Ask one instance, any that runs."""
        running = [one for one in self._instances if one.running and not one.process.paused]
        if running:
            instance = self._rand.choice(running)
            self._whatsapp.log("user", what, name, *facts, instance.name)
            instance.process.task(self._do(instance, what, name, *facts))

    async def _do(self, instance: Instance, what: str, name: str, *facts: str) -> None:
        gateway = instance.node.gateway
        try:
            if what == "send":
                text, chat = facts
                brief = int(text[1:]) % 5 == 0
                terms = Terms(expires_in=2.0, queue=True) if brief else None
                await gateway.send(name, chat, {"type": "text", "text": text}, idempotency_key=text, terms=terms)
            elif what == "cancel":
                for one in (await gateway.queue(name))[:1]:
                    await gateway.cancel(name, one.row.id)
            else:
                await getattr(gateway, what)(name)
        except StoreUnavailable:
            self._whatsapp.log("user", "no answer", what, name, *facts)
            if what == "send":
                self._whatsapp.later(1.0, self.ask, what, name, *facts)
        except HoldfastError as error:
            self._whatsapp.log("user", "refused", what, name, *facts, error.code)
