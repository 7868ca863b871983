"""What a phone gives its companions: the app state key, and to a new one the history."""

from __future__ import annotations

import asyncio
import logging
import secrets

from wasim import jid as jids
from wasim.jid import Jid
from wasim.phone_book import Memory
from wasim.phone_contacts import Contacts, PhoneError
from wasim.phone_content import Body, history
from wasim.ports import PhoneNetwork
from wasim.wire.nodes import Node
from wasim.wire.schema import APP_STATE_KEY_SHARE

INITIAL_BOOTSTRAP, PUSH_NAME = 0, 4
"""``HistorySync.syncType``."""
KEY_ID = b"\x00\x00\x00\x00\x00\x01"

logger = logging.getLogger(__name__)


class Welcome:
    """See the module. All companions of an account get the same app state key."""

    def __init__(self, pn: str, memory: Memory, contacts: Contacts, network: PhoneNetwork) -> None:
        self._pn = pn
        self._memory = memory
        self._contacts = contacts
        self._network = network
        facts = network.load()
        self._welcomed: set[int] = set(facts.get("welcomed") or [])
        self._app_state_key = facts.get("app_state_key") or secrets.token_bytes(32)
        network.store("app_state_key", self._app_state_key)
        self._tasks: set[asyncio.Task[None]] = set()

    def greet(self, device: int) -> None:
        """A companion is logged in and its keys are there: it gets the key and the history, unless it had them."""
        if device not in self._welcomed:
            self._welcomed.add(device)
            self._network.store("welcomed", sorted(self._welcomed))
            task = asyncio.get_running_loop().create_task(self._greet(device))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _greet(self, device: int) -> None:
        try:
            await self.share_app_state_key(device)
            await self.send_history(device)
        except PhoneError as error:  # unlinked again meanwhile, for example
            logger.warning("companion %d was not welcomed: %s", device, error)

    async def share_app_state_key(self, device: int) -> None:
        """Send a companion the key that seals app state."""
        stamp = int(self._network.now())
        data = {"keyData": self._app_state_key, "fingerprint": {"rawId": 1, "currentIndex": 0}, "timestamp": stamp}
        share = {"keys": [{"keyId": {"keyId": KEY_ID}, "keyData": data}]}
        await self.send(device, {"protocolMessage": {"type": APP_STATE_KEY_SHARE, "appStateSyncKeyShare": share}})

    async def send_history(self, device: int) -> None:
        """Send a companion the conversations and names, as far as the phone remembers them."""
        names = [{"id": jid, "pushname": name} for jid, name in self._memory.names.items()]
        await self.send(
            device, history(INITIAL_BOOTSTRAP, {"conversations": list(self._memory.chats().values())})
        )  # fmt: skip
        await self.send(device, history(PUSH_NAME, {"pushnames": names}))

    async def send(self, device: int, body: Body) -> None:
        """Send a companion what is between it and its phone."""
        own = jids.parse(self._pn)
        assert own is not None
        target = Jid(own.user, own.server, device)
        await self._contacts.ensure_sessions([target])
        attrs = {"to": str(target), "id": f"3A{secrets.token_hex(9).upper()}", "type": "protocol", "category": "peer"}
        await self._network.send(Node("message", attrs, [self._contacts.encrypt(target, body)]))
