"""Linking a companion, by QR or by code (``lib/Socket/socket.js`` and ``messages-recv.js`` of Baileys 7.0.0-rc14).

By QR: the server hands out refs, the companion shows them with its keys, the phone scans and signs the companion's
identity, the companion checks that and signs in turn, and is sent off to log in (515). By code: companion and phone
first agree on the secret that the QR would have carried, by an exchange of keys wrapped with the code.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import inspect
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from wasim import devices
from wasim import jid as jids
from wasim.accounts import MAX_COMPANIONS, Account, Device
from wasim.connection import Connection
from wasim.hub import Hub
from wasim.ports import QrData
from wasim.wire.adv import device_key_index
from wasim.wire.messages import schema, to_json
from wasim.wire.nodes import Node
from wasim.wire.protobuf import decode

DEVICE_PROPS = schema("DeviceProps")

REF_SECONDS = (60.0, 20.0, 20.0, 20.0, 20.0, 20.0)
"""How long each ref is valid, in the order in which they are shown: 160 s in all, then the socket is closed."""


class PairingError(ValueError):
    """A pairing that cannot go on; the message says why."""


class PairingPhone(Protocol):
    """What the pairing asks of a phone."""

    def link_device(self, qr: QrData) -> Any:
        """Sign the companion; give the content of ``<device-identity>`` in pair-success."""
        ...

    def confirm_device(self, identity: bytes) -> Any:
        """Check the companion's own signature.

        :raises ValueError: if it is wrong
        """
        ...

    def enter_code(self, code: str, wrapped_ephemeral: bytes) -> Any:
        """Open the companion's hello with the code; give the wrapped primary ephemeral key and the identity key."""
        ...

    def finish_code(self, wrapped_bundle: bytes, companion_identity: bytes) -> Any:
        """Open the companion's key bundle; give the secret that both derive.

        :raises ValueError: if the code was wrong
        """
        ...


class Pairings:
    """All sockets that wait to be linked."""

    def __init__(
        self, hub: Hub, phone_of: Callable[[Account], Awaitable[PairingPhone]], ref_seconds: tuple[float, ...]
    ) -> None:
        self.hub = hub
        self.phone_of = phone_of
        self.ref_seconds = ref_seconds
        self.waiting: list[PairingSession] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Awaitable[None]) -> None:
        """Run the asynchronous part of a pairing, kept until it is done."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def scan(self, text: str, phone: str | None) -> Account:
        """Let a phone scan a QR.

        :param phone: digits; None for a new random number
        :raises PairingError: for a QR that is none, is expired or does not belong to a waiting socket
        """
        qr = read_qr(text)
        session = next((s for s in self.waiting if s.has_ref(qr.ref)), None)
        if session is None:
            raise PairingError("no socket waits with this QR; it was used, its socket closed, or it is from elsewhere")
        session.check(qr)
        account = self.hub.accounts.create(phone or self._random_phone())
        self.hub.journal.note("scanned", jid=str(account.pn), ref=qr.ref[:12])
        await session.link(account, qr)
        return account

    async def enter_code(self, code: str, phone: str) -> Account:
        """Let the owner of ``phone`` type a pairing code.

        :raises PairingError: if no socket asked for a code for this phone
        """
        session = next((s for s in reversed(self.waiting) if s.code_phone == phone), None)
        if session is None:
            raise PairingError(f"no socket waits for a code of {phone}")
        account = self.hub.accounts.create(phone)
        await session.enter_code(account, code.replace("-", "").strip().upper())
        return account

    def _random_phone(self) -> str:
        while True:
            phone = f"407{self.hub.rng.randrange(10**8):08d}"
            if self.hub.accounts.find(f"{phone}@{jids.PN}") is None:
                return phone

    async def close(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def read_qr(text: str) -> QrData:
    """Read a QR's text, with or without the address in front that Baileys 7.0.0-rc14 puts there.

    :raises PairingError: if it is none
    """
    parts = text.strip().split("#", 1)[-1].split(",")
    if len(parts) not in (4, 5):
        raise PairingError("a pairing QR has four or five parts: ref, Noise key, identity key, secret, platform")
    try:
        noise, identity, secret = (base64.b64decode(part, validate=True) for part in parts[1:4])
    except binascii.Error:
        raise PairingError("a key in the QR is not base64") from None
    if not len(noise) == len(identity) == len(secret) == 32:
        raise PairingError("the keys in a pairing QR have 32 bytes each")
    return QrData(parts[0], noise, identity, secret, parts[4] if len(parts) == 5 else "")


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


class PairingSession:
    """One socket that waits to be linked."""

    names: tuple[str, ...] = ()

    def __init__(
        self, hub: Hub, pairings: Pairings, connection: Connection, noise: bytes, registration: dict[str, Any]
    ) -> None:
        self._hub = hub
        self._pairings = pairings
        self._connection = connection
        self._noise = noise
        self._registration = registration
        self._refs: dict[str, float] = {}
        self._phone: PairingPhone | None = None
        self._device: Device | None = None
        self._pair_success_id = ""
        self._hello = b""
        self._code_ref = ""
        self._account: Account | None = None
        self.code_phone = ""
        pairings.waiting.append(self)
        connection.live = True
        self._offer()

    def _offer(self) -> None:
        now, refs = self._hub.now(), []
        for seconds in self._pairings.ref_seconds:
            now += seconds
            ref = "2@" + base64.b64encode(secrets.token_bytes(48)).decode()
            self._refs[ref] = now
            refs.append(Node("ref", {}, ref.encode()))
        attrs = {"from": jids.SERVER, "type": "set", "id": self._hub.stanza_id(), "xmlns": "md"}
        self._connection.send(Node("iq", attrs, [Node("pair-device", {}, refs)]))
        self._hub.journal.note("pairing-offered", refs=len(refs))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(sum(self._pairings.ref_seconds), self._expire)

    def _expire(self) -> None:
        if self._device is None:
            self._hub.journal.note("pairing-expired")
            self._connection.end(None, "all refs expired")

    def on_close(self) -> None:
        """Forget the socket and its refs."""
        self._timer.cancel()
        if self in self._pairings.waiting:
            self._pairings.waiting.remove(self)

    # -- the phone's side

    def has_ref(self, ref: str) -> bool:
        """Tell whether ``ref`` was handed out to this socket."""
        return ref in self._refs

    def check(self, qr: QrData) -> None:
        """Hold a scanned QR to what the socket said.

        :raises PairingError: if it is expired or shows other keys
        """
        if self._hub.now() > self._refs[qr.ref]:
            raise PairingError("the ref in this QR is expired; the client should show a newer one")
        if qr.noise != self._noise or qr.identity != self._registration["eIdent"]:
            raise PairingError("the keys in the QR are not the keys of the socket")
        if self._device is not None:
            raise PairingError("this socket is being linked already")

    async def link(self, account: Account, qr: QrData) -> None:
        """Let the phone sign the companion, and send it what it signed.

        :raises PairingError: if the account has all its companions
        """
        if len(account.companions) >= MAX_COMPANIONS:
            raise PairingError(f"the account has {MAX_COMPANIONS} linked devices already; unlink one first")
        self._phone = await self._pairings.phone_of(account)
        identity = await _result(self._phone.link_device(qr))
        data = identity.bytes() if isinstance(identity, Node) else bytes(identity)
        registration = self._registration
        self._device = Device(
            account.phone, account.lid_user, account.next_device, registration["eIdent"], self._noise,
            int.from_bytes(registration["eRegid"], "big"), device_key_index(data), qr.platform,
        )  # fmt: skip
        self._device.push_name = account.name
        self._account = account
        account.next_device += 1
        self._hub.accounts.save(account)
        self._pair_success_id = self._hub.stanza_id()
        parts = [
            Node("device-identity", {}, data),
            Node("device", {"jid": str(self._device.pn), "lid": str(self._device.lid)}),
            Node("platform", {"name": "android"}),
            Node("biz", {"name": account.name}),
        ]
        attrs = {"from": jids.SERVER, "type": "set", "id": self._pair_success_id, "xmlns": "md"}
        attrs["t"] = str(int(self._hub.now()))
        self._connection.send(Node("iq", attrs, [Node("pair-success", {}, parts)]))
        shown = to_json(DEVICE_PROPS, decode(DEVICE_PROPS, registration.get("deviceProps", b"")))
        self._hub.journal.note("pair-success", jid=str(self._device.pn), device_props=shown)

    async def enter_code(self, account: Account, code: str) -> None:
        """Let the phone open the companion's hello with ``code``, and send its own."""
        self._phone = await self._pairings.phone_of(account)
        wrapped, identity = await _result(self._phone.enter_code(code, self._hello))
        self._account = account
        content = Node(
            "link_code_companion_reg",
            {"stage": "primary_hello"},
            [
                Node("link_code_pairing_wrapped_primary_ephemeral_pub", {}, wrapped),
                Node("primary_identity_pub", {}, identity),
                Node("link_code_pairing_ref", {}, self._code_ref.encode()),
            ],
        )
        attrs = {"from": jids.SERVER, "type": "link_code_companion_reg", "id": self._hub.stanza_id()}
        self._connection.send(Node("notification", attrs | {"t": str(int(self._hub.now()))}, [content]))
        self._hub.journal.note("code-entered", jid=str(account.pn))

    # -- the companion's side

    def on_node(self, node: Node) -> None:
        """Take one stanza of the companion."""
        kind, stanza_id = node.attrs.get("type"), node.attrs.get("id", "")
        code = node.child("link_code_companion_reg")
        if node.tag == "iq" and kind == "result" and stanza_id == self._pair_success_id:
            self._pairings.spawn(self._confirm(node))
        elif node.tag == "iq" and kind == "error" and stanza_id == self._pair_success_id:
            self._refuse("the companion refused the phone's signature")
        elif node.tag == "iq" and kind == "set" and code is not None:
            self._on_code(node, code)
        elif node.tag == "iq" and kind in ("get", "set"):
            self._answer(node, [])

    def _answer(self, iq: Node, content: list[Node], kind: str = "result") -> None:
        attrs = {"from": jids.SERVER, "type": kind, "id": iq.attrs.get("id", "")}
        self._connection.send(Node("iq", attrs, content or None))

    def _refuse(self, reason: str) -> None:
        self._hub.journal.note("pairing-refused", reason=reason)
        self._connection.end(Node("failure", {"reason": "401"}), f"pairing refused: {reason}")

    async def _confirm(self, node: Node) -> None:
        sign = node.child("pair-device-sign")
        identity = sign.child("device-identity") if sign else None
        device, account, phone = self._device, self._account, self._phone
        if identity is None or device is None or account is None or phone is None:
            self._refuse("pair-device-sign without a device identity")
            return
        try:
            if identity.attrs.get("key-index") != str(device.key_index):
                raise PairingError("the companion signed another key index")
            await _result(phone.confirm_device(identity.bytes()))
        except ValueError as error:
            self._refuse(f"the companion's signature is wrong: {error}")
            return
        self._hub.accounts.add_device(account, device, self._hub.now())
        self._hub.state.commit()
        self._hub.journal.note("paired", jid=str(device.pn), platform=device.platform)
        devices.announce(self._hub, account, "add", device)
        self._connection.end(devices.stream_error({"code": "515"}), "linked: log in now")

    def _on_code(self, iq: Node, code: Node) -> None:
        stage, phone = code.attrs.get("stage"), jids.phone_number(code.attrs.get("jid", ""))
        if stage == "companion_hello" and phone:
            hello = code.child("link_code_pairing_wrapped_companion_ephemeral_pub")
            noise = code.child("companion_server_auth_key_pub")
            if hello is None or len(hello.bytes()) != 80 or noise is None or noise.bytes() != self._noise:
                self._bad(iq, "companion_hello needs 80 bytes of wrapped key and the socket's own Noise key")
                return
            if fault := self._hub.faults.take("refuse_code", (phone, f"{phone}@{jids.PN}")):
                self._bad(iq, "fault refuse_code", str(fault.options.get("code", 429)), "rate-overlimit")
                return
            self.code_phone, self._hello = phone, hello.bytes()
            self._code_ref = "3@" + base64.b64encode(secrets.token_bytes(16)).decode()
            ref = Node("link_code_pairing_ref", {}, self._code_ref.encode())
            self._answer(iq, [Node("link_code_companion_reg", {"stage": "companion_hello"}, [ref])])
            self._hub.journal.note("code-asked", jid=f"{phone}@{jids.PN}")
        elif stage == "companion_finish" and self._phone is not None:
            self._pairings.spawn(self._finish_code(iq, code))
        else:
            self._bad(iq, f"unexpected stage {stage!r}")

    def _bad(self, iq: Node, reason: str, code: str = "400", text: str = "bad-request") -> None:
        self._hub.journal.note("refused", tag="link_code_companion_reg", reason=reason, code=int(code))
        self._answer(iq, [Node("error", {"code": code, "text": text})], "error")

    async def _finish_code(self, iq: Node, code: Node) -> None:
        bundle, identity, ref = (
            code.child(name)
            for name in ("link_code_pairing_wrapped_key_bundle", "companion_identity_public", "link_code_pairing_ref")
        )
        if not (bundle and identity and ref) or self._phone is None or self._account is None:
            self._bad(iq, "companion_finish is incomplete")
            return
        if ref.text() != self._code_ref or identity.bytes() != self._registration["eIdent"]:
            self._bad(iq, "companion_finish names another ref or identity key")
            return
        try:
            secret = await _result(self._phone.finish_code(bundle.bytes(), identity.bytes()))
            self._answer(iq, [])
            await self.link(self._account, QrData(ref.text(), self._noise, identity.bytes(), secret, "code"))
        except ValueError as error:
            self._bad(iq, f"the phone refused: {error}")
