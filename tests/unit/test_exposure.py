"""Whether others than this machine reach the API: noticed before the request is answered, and remembered."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.api.exposure import watched
from holdfast.domain.receivers import Exposure
from holdfast.domain.rows import Peer
from holdfast.runtime.exposure import Exposed
from tests.support.instances import memory_store
from tests.support.virtual import VirtualClock, run


def scope(**headers: str) -> Any:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "http_version": "1.1", "headers": named}


def test_the_request_that_came_from_elsewhere_is_answered_with_that_known_already() -> None:
    async def main(clock: VirtualClock) -> None:
        async with memory_store(clock) as store:
            exposure = Exposure()
            exposed = Exposed(store, exposure, "one")
            await exposed.load()
            seen: list[bool] = []

            async def app(*_: Any) -> None:
                seen.append(exposure.local)

            api: Any = watched(app, exposure, exposed.reached)
            await api(scope(host="127.0.0.1:3000"), None, None)
            await api({"type": "lifespan"}, None, None)
            await api(scope(host="127.0.0.1:3000", x_forwarded_for="203.0.113.9"), None, None)
            await api(scope(host="127.0.0.1:3000"), None, None)
            assert seen == [True, True, False, False]
            await clock.sleep(1)

            later = Exposure()
            await Exposed(store, later, "two").load()
            assert later.why == exposure.why, "an instance that starts later knows it"
            fixed = Exposure("HOLDFAST_HOST is 0.0.0.0")
            await Exposed(store, fixed, "three").load()
            assert fixed.why == "HOLDFAST_HOST is 0.0.0.0"

    run(main)


def test_an_instance_on_another_machine_is_reached_from_there() -> None:
    def peer(id_: str, url: str) -> Peer:
        return Peer(id_, url, frozenset(), 0)

    async def main(clock: VirtualClock) -> None:
        async with memory_store(clock) as store:
            exposure = Exposure()
            exposed = Exposed(store, exposure, "one")
            exposed.look_at([peer("one", "http://10.0.0.1:3000"), peer("two", "http://127.0.0.1:3001"), peer("x", "")])
            assert exposure.local
            exposed.look_at([peer("two", "http://10.0.0.2:3000")])
            assert not exposure.local
            await asyncio.sleep(0)

    run(main)
