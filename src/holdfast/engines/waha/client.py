"""Asks one WAHA server: few requests at once, few in line, bounded in time, and none while it fails all the time.

Only what may be done twice is tried again by itself. An answer of 4xx is the server's word on the request and no
failure of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from holdfast.domain.breaker import Breaker
from holdfast.domain.pacing import backoff
from holdfast.engines.waha.errors import WahaBusy, WahaRefused, WahaUnavailable
from holdfast.engines.waha.options import WahaOptions, WahaServer
from holdfast.ports.clock import Clock

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger(__name__)

ANSWER_LIMIT = 32 * 1024 * 1024
"""Bytes of an answer that are read, at most."""
FIRST_PAUSE = 0.5
"""Seconds before the second try of a request."""
Json = dict[str, Any]


class _Line:
    """At most `at_once` pass; `waiting` more stand in line, those who look at the sessions first."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free, self._room = at_once, waiting
        self._at_once = at_once
        self._queue: deque[asyncio.Future[None]] = deque()
        self._looks: deque[asyncio.Future[None]] = deque()

    @property
    def active(self) -> int:
        """How many are under way."""
        return self._at_once - self._free

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._queue) + len(self._looks)

    @contextlib.asynccontextmanager
    async def turn(self, *, look: bool) -> AsyncIterator[None]:
        """Raises `WahaBusy` where the line is full; a look always finds a place."""
        if self._free > 0:
            self._free -= 1
        elif not look and len(self._queue) >= self._room:
            raise WahaBusy
        else:
            await self._stand(self._looks if look else self._queue)
        try:
            yield
        finally:
            self._leave()

    async def _stand(self, line: deque[asyncio.Future[None]]) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._leave()  # its turn had come
            else:
                line.remove(mine)
            raise

    def _leave(self) -> None:
        for line in (self._looks, self._queue):
            while line:
                if not (first := line.popleft()).done():
                    first.set_result(None)
                    return
        self._free += 1


class WahaClient:
    """See the module. Errors: `WahaUnavailable`, `WahaBusy`, `WahaRefused`."""

    def __init__(self, server: WahaServer, options: WahaOptions, clock: Clock) -> None:
        self.server = server
        self._clock = clock
        self._factor = options.time_factor
        self._timeout = options.timeout * options.time_factor
        self._tries = options.tries
        rest = options.breaker.rest * options.time_factor
        self._times = replace(options.breaker, rest=rest)
        self._breaker = Breaker()
        self._line = _Line(options.at_once, options.waiting)
        self._http: aiohttp.ClientSession | None = None
        self._problem = ""
        self._log = log.bind(server=server.name)

    async def stop(self) -> None:
        """Close its connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def facts(self) -> Json:
        """For operators: whether it answers, its breaker and its line."""
        word = self._breaker.word(self._clock.boot(), self._times)
        return {
            "reachable": self._breaker.failures == 0,
            "breaker": {"state": word, "failures": self._breaker.failures},
            "queue": {"active": self._line.active, "waiting": self._line.waiting},
        }

    # --- asking -------------------------------------------------------------------------------------------------
    async def get(self, path: str, query: Mapping[str, Any] | None = None, *, look: bool = False) -> Any:
        """The decoded answer; tried again if it fails, except for a look: the next one comes anyway."""
        return await self._ask("GET", path, query or {}, None, tries=1 if look else self._tries, look=look)

    async def delete(self, path: str) -> Any:
        """Tried again if it fails: what is gone stays gone."""
        return await self._ask("DELETE", path, {}, None, tries=self._tries)

    async def post(self, path: str, body: Json | None = None, *, again: bool = False) -> Any:
        """`again`: to do it twice does no harm, so it is tried again if it fails."""
        return await self._ask("POST", path, {}, body or {}, tries=self._tries if again else 1)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, Any], body: Json | None, *, tries: int, look: bool = False
    ) -> Any:
        for attempt in range(1, tries + 1):
            try:
                return await self._once(method, path, query, body, look=look)
            except WahaUnavailable:
                if attempt == tries or self._breaker.is_open(self._clock.boot(), self._times):
                    raise
                await self._clock.sleep(backoff(attempt, self._clock.random(), first=FIRST_PAUSE) * self._factor)
        raise AssertionError("unreachable")

    async def _once(self, method: str, path: str, query: Mapping[str, Any], body: Json | None, *, look: bool) -> Any:
        self._refuse_if_open()
        async with self._line.turn(look=look):
            self._refuse_if_open()
            self._breaker = self._breaker.passing()
            try:
                answer = await self._exchange(method, path, query, body)
            except WahaUnavailable as error:
                self._failed(error)
                raise
            except WahaRefused:
                self._breaker = self._breaker.succeeded()
                raise
            except BaseException:
                self._breaker = self._breaker.given_up()
                raise
            if self._breaker.opened_at is not None:
                self._log.info("the WAHA server answers again", action="waha", code="breaker_closed")
            self._breaker = self._breaker.succeeded()
            return answer

    def _refuse_if_open(self) -> None:
        if self._breaker.is_open(self._clock.boot(), self._times):
            raise WahaUnavailable(
                f"The WAHA server '{self.server.name}' failed {self._breaker.failures} times in a row "
                f"({self._problem}), and is asked again after {self._times.rest:g} s."
            )

    def _failed(self, error: WahaUnavailable) -> None:
        was_open = self._breaker.opened_at is not None
        self._breaker = self._breaker.failed(self._clock.boot(), self._times)
        self._problem = str(error.facts.get("problem", ""))
        if self._breaker.opened_at is not None and not was_open:
            self._log.warning(
                "the WAHA server fails; it is left alone for a while",
                action="waha",
                code="breaker_open",
                problem=self._problem,
            )

    async def _exchange(self, method: str, path: str, query: Mapping[str, Any], body: Json | None) -> Any:
        import aiohttp  # noqa: PLC0415 - slow to load, and only needed where there is a WAHA server

        http = self._open()
        params = {name: _text(value) for name, value in query.items() if value is not None}
        connected = False
        try:
            url = self.server.url + path
            async with http.request(method, url, params=params, json=body, allow_redirects=False) as answer:
                connected = True
                raw = await _read(answer)
                return self._judge(answer, raw)
        except TimeoutError:
            raise self._unavailable(f"no whole answer within {self._timeout:g} s", asked=True) from None
        except aiohttp.ClientConnectorError as error:
            raise self._unavailable(_reason(error), asked=False) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = "its answer broke off" if connected else "the connection broke off"
            raise self._unavailable(f"{problem} ({type(error).__name__})", asked=True) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._http is None:
            import aiohttp  # noqa: PLC0415 - see above

            headers = {"Accept": "application/json", "User-Agent": "Holdfast"}
            if self.server.api_key:
                headers["X-Api-Key"] = self.server.api_key
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._http

    def _judge(self, answer: aiohttp.ClientResponse, raw: bytes) -> Any:
        status = answer.status
        if status >= 500:
            raise self._unavailable(f"it answers {status}", asked=True)
        if 300 <= status < 400:
            where = answer.headers.get("Location", "")
            hint = " Write https:// in its URL." if where.startswith("https://") else ""
            raise WahaRefused(
                f"The WAHA server '{self.server.name}' leads elsewhere ({status}): no redirect is followed.{hint}",
                status=status,
            )
        try:
            body = json.loads(raw) if raw.strip() else None
        except ValueError:
            if status < 300:
                raise self._unavailable("it answers with something that is no JSON", asked=True) from None
            body = None
        if status >= 400:
            raise WahaRefused(self._refusal(status, body), status=status, body=body)
        return body

    def _refusal(self, status: int, body: Any) -> str:
        said = (body.get("message") or body.get("error")) if isinstance(body, dict) else None
        words = "; ".join(map(str, said)) if isinstance(said, list) else str(said or "no reason was given")
        return f"The WAHA server '{self.server.name}' refused the request ({status}): {words[:300]}"

    def _unavailable(self, problem: str, *, asked: bool) -> WahaUnavailable:
        sentence = f"The WAHA server '{self.server.name}' cannot be used now: {problem}."
        return WahaUnavailable(sentence, asked=asked, problem=problem)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > ANSWER_LIMIT:
            raise ValueError("the answer is too long")
        parts.append(chunk)
    return b"".join(parts)


def _reason(error: aiohttp.ClientConnectorError) -> str:
    import aiohttp  # noqa: PLC0415 - see above

    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "its certificate is not valid, or it does not speak TLS"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    return "nothing listens at its address"
