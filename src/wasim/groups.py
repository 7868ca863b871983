"""Groups: who is in them, what they are called, who may do what. LID-addressed, as new groups on WhatsApp are."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from wasim.state import State


@dataclass(slots=True)
class Group:
    """One group. ``members`` maps each member's phone number to its role (``superadmin``, ``admin`` or empty)."""

    id: str
    subject: str
    creator: str
    created: int
    members: dict[str, str] = field(default_factory=dict)
    description: str = ""
    description_id: str = ""
    announcement: bool = False
    """Only admins may write."""
    locked: bool = False
    """Only admins may change subject and description."""
    ephemeral: int = 0
    """For how many seconds messages are kept; 0: for good."""
    invite: str = ""
    """The code of the invitation; empty until somebody asks for it."""

    def is_admin(self, phone: str) -> bool:
        """Whether a member may manage the others."""
        return bool(self.members.get(phone))


class Groups:
    """All groups, by address (``…@g.us``)."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._groups = {key: Group(**facts) for key, facts in state.load("group")}

    def find(self, jid: str) -> Group | None:
        """Give the group at an address, or None."""
        return self._groups.get(jid)

    def invited(self, code: str) -> Group | None:
        """Give the group that a code invites to, or None."""
        return next((group for group in self._groups.values() if code and group.invite == code), None)

    def of(self, phone: str) -> list[Group]:
        """Give the groups that ``phone`` is in."""
        return [group for group in self._groups.values() if phone in group.members]

    def save(self, group: Group) -> None:
        """Store a new or changed group."""
        self._groups[group.id] = group
        self._state.put("group", group.id, asdict(group))
