"""What a test wants a phone's message to look like on the wire, beyond what a phone writes by itself.

The phone puts it into its stanza as ``<wasim-disguise>``; the server applies it to what it delivers and removes it. A
companion cannot: the element of a socket's stanza is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wasim.accounts import Device
from wasim.wire.nodes import Node

TAG = "wasim-disguise"


@dataclass(frozen=True, slots=True)
class Disguise:
    """Attributes that replace the server's; an empty value removes one.

    ``stanza`` is what the recipients see, ``own`` what the sender's other devices see, ``enc`` goes on each ciphertext,
    ``nodes`` are further elements of the stanza.
    """

    stanza: Mapping[str, str]
    own: Mapping[str, str]
    enc: Mapping[str, str]
    nodes: Sequence[Node]

    @property
    def is_hosted(self) -> bool:
        """Whether it comes from the device that Meta hosts for the account, which has keys of its own."""
        return any("@hosted" in self.stanza.get(name, "") for name in ("from", "participant"))

    def put_on(self, message: Node) -> Node:
        """Return the stanza with everything that the server needs to know."""
        if not (self.stanza or self.own or self.enc or self.nodes):
            return message
        _mark(message.children(), self.enc)
        attrs = message.attrs | {name: value for name, value in self.stanza.items() if name in ("type", "edit")}
        worn = Node(TAG, {}, [Node("stanza", dict(self.stanza)), Node("own", dict(self.own))])
        return Node(message.tag, attrs, [*message.children(), *self.nodes, worn])


def _mark(parts: Sequence[Node], attrs: Mapping[str, str]) -> None:
    for part in parts:
        if part.tag == "enc":
            part.attrs.update(attrs)
        _mark(part.children(), attrs)


def disguised(sender: Device, target: Device, attrs: Mapping[str, str], node: Node) -> dict[str, str]:
    """Return a delivered stanza's attributes as the test wants ``target`` to see them."""
    worn = node.child(TAG) if not sender.id else None
    chosen = worn.child("own" if target.phone == sender.phone else "stanza") if worn else None
    merged = {**attrs, **(chosen.attrs if chosen else {})}
    return {name: value for name, value in merged.items() if value}
