"""F.26: page limits: defaults that are small, explicit limits that are honoured, and a link to what was cut."""

from __future__ import annotations

from urllib.parse import urljoin

from tests.support.processes import KEY
from verify.harness import World, check

COUNT = 130


@check("F.26", "an explicit limit is honoured up to PAGE_LIMIT, and a Link leads to the rest", PAGE_LIMIT="100")
async def limits(world: World) -> str:
    await world.link()
    for number in range(COUNT):
        await world.inject(f"n{number}")
    chat = "/api/shop/chats/all/messages"
    while len(await world.holdfast.ask("GET", f"{chat}?offset={COUNT - 1}")) < 1:
        pass
    sizes = {path: await _sizes(world, path) for path in (chat, f"{chat}?limit=1000", f"{chat}?limit=65")}
    assert list(sizes.values()) == [[50, 50, 30], [100, 30], [65, 65]], sizes
    return f"{COUNT} messages: pages of 50 by default, of 100 for limit=1000, the rest by Link"


async def _sizes(world: World, path: str) -> list[int]:
    sizes: list[int] = []
    url = world.holdfast.url + path
    while url:
        async with world.holdfast.http.get(url, headers={"X-Api-Key": KEY}) as answer:
            sizes.append(len(await answer.json()))
            following = answer.links.get("next")
            url = urljoin(str(answer.url), str(following["url"])) if following else ""
    return sizes
