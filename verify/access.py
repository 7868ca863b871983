"""Who gets in: keys, dashboard sessions, other sites' pages, and guessing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import aiohttp

from tests.support.commands import alone as settings_alone
from tests.support.commands import one_sentence, run
from tests.support.processes import Holdfast, Wasim
from verify.harness import alone

BLANK = ("", " ", "\t ")


async def _sign_in(http: aiohttp.ClientSession, url: str, key: str) -> int:
    """The status that the login form's answer has."""
    async with http.post(f"{url}/login", data={"key": key}, allow_redirects=False) as answer:
        return answer.status


@alone("A.3", "an empty key opens nothing, and a short one is refused at start")
async def no_empty_key() -> str:
    tried = 0
    for blank in BLANK:
        with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
            folder = Path(name)
            unset = {f"HOLDFAST_{key}": blank for key in ("API_KEY", "METRICS_KEY", "WEBHOOK_HMAC_KEY")}
            async with (
                Wasim(folder) as wasim,
                Holdfast(wasim, folder, **unset) as holdfast,
                aiohttp.ClientSession() as http,
            ):
                for key in BLANK:
                    assert await _sign_in(http, holdfast.url, key) == 401, f"the form takes {key!r}"
                    for path in ("/api/sessions", "/metrics", "/api/holdfast/events?x-api-key="):
                        async with http.get(holdfast.url + path, headers={"X-Api-Key": key}) as answer:
                            assert answer.status == 401, f"{path} takes {key!r}: {answer.status}"
                    tried += 4
                made = (folder / "api-key").read_text().strip()
                assert await _sign_in(http, holdfast.url, made) == 303, "the generated key does not sign in"
                async with http.get(f"{holdfast.url}/api/sessions", headers={"X-Api-Key": made}) as answer:
                    assert answer.status == 200, "the generated key opens nothing"
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as name:
        said = await run("serve", env=settings_alone(Path(name), HOLDFAST_API_KEY="elevenchars"))
        assert "at least 12" in one_sentence(said), said
    return f"{tried} tries with an empty key"
