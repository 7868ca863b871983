"""Leases as tests take them: one at a time, with the answer for that one."""

from __future__ import annotations

from holdfast.ports.store import Holder, Lease, Store, Won


async def take_lease(store: Store, session: str, instance: str, ttl: float) -> Lease | Holder | None:
    """Claim one session. The `Lease` if it was won, the `Holder` in the way if not, None without such a session."""
    answer = (await store.claim([session], instance, ttl)).get(session)
    return answer.lease if isinstance(answer, Won) else answer
