"""One sidecar process: spawned, spoken to, watched, and ended.

It dies with its parent, because its standard input ends then; and it is killed when it stops answering pings, so that
a hung process leaves no socket behind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import psutil
import structlog

from holdfast.domain import errors
from holdfast.engines.baileys import codec
from holdfast.ports.clock import Clock

log = structlog.get_logger(__name__)

OnRequest = Callable[["Sidecar", str, Any], Awaitable[Any]]
OnNote = Callable[["Sidecar", str, Any], None]
OnExit = Callable[["Sidecar", str], None]

_LOG_FIELDS = frozenset({"session", "kind", "place"})
_LOG_LEVELS = frozenset({"debug", "info", "warning", "error"})
_FATAL = b"FATAL ERROR: "
"""How V8 announces that it is out of memory, before it aborts the process."""

_ERRORS: Mapping[str, type[errors.HoldfastError]] = {
    error.code: error
    for error in (
        errors.BadRequest,
        errors.CallFailed,
        errors.EngineUnavailable,
        errors.InvalidMessage,
        errors.MediaGone,
        errors.MediaTooLarge,
        errors.NotConnected,
        errors.NotOnWhatsApp,
        errors.PairingRefused,
        errors.Refused,
        errors.SendInDoubt,
        errors.StaleEpoch,
        errors.StoreUnavailable,
        errors.StoreFull,
        errors.StoreReadOnly,
        errors.DataDirNotWritable,
        errors.StoreDamaged,
    )
}


class CredentialsUnreadable(errors.HoldfastError):
    """The saved credentials of this session cannot be read."""

    code = "credentials_broken"


class SidecarGone(errors.HoldfastError):
    """The engine process ended before it answered."""

    code = "engine_crashed"


class Sidecar(asyncio.SubprocessProtocol):
    """See the module. Made by `spawn`; `on_exit` is called exactly once, when the process is gone."""

    def __init__(self, clock: Clock, on_request: OnRequest, on_note: OnNote, on_exit: OnExit) -> None:
        self.pid = 0
        self.gone = asyncio.Event()
        self.boot_offset = float("-inf")
        """Sidecar's boot clock minus ours, at least: deadlines told with it never come out later than meant."""
        self.answered_at = clock.boot()
        self.out_of_memory = False
        """Whether it was ended, or ended itself, for using more memory than it may."""
        self._clock = clock
        self._on_request, self._on_note, self._on_exit = on_request, on_note, on_exit
        self._decoder = codec.Decoder()
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 1
        self._out: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stderr = bytearray()
        self._why = ""
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        inherit_fds: Sequence[int],
        clock: Clock,
        on_request: OnRequest,
        on_note: OnNote,
        on_exit: OnExit,
    ) -> Sidecar:
        """Start the process. Raises `EngineUnavailable` when the system refuses."""
        sidecar = cls(clock, on_request, on_note, on_exit)
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: sidecar, *command, env=dict(env), cwd=cwd, pass_fds=tuple(inherit_fds)
            )
        except OSError as error:
            raise errors.EngineUnavailable(
                f"Node could not be started ({error.strerror}). Run `holdfast doctor` on this machine."
            ) from error
        return sidecar

    # --- asyncio's callbacks ------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        # uvloop's transports have asyncio's methods without being of its classes.
        process = cast(asyncio.SubprocessTransport, transport)
        self._transport = process
        self.pid = process.get_pid() or 0
        self._stdin = cast(asyncio.WriteTransport, process.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Frames on standard output, log lines on standard error. What a dead process still had to say is void: its
        sessions may be open elsewhere by then.
        """
        if self.gone.is_set():
            return
        if fd == 2:
            self._read_log(data)
            return
        try:
            for frame in self._decoder.feed(data):
                self._take(frame)
        except codec.WireError as error:
            self.kill(f"the engine process spoke nonsense ({error})")

    def process_exited(self) -> None:
        """The process is gone, and with it every socket of its."""
        if self.gone.is_set():
            return
        code = self._transport.get_returncode() if self._transport else None
        self.gone.set()
        if self._watch:
            self._watch.cancel()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(SidecarGone())
        self._pending.clear()
        for task in self._tasks:
            task.cancel()
        if self._transport:
            self._transport.close()
        self._on_exit(self, self._why or f"the engine process ended (exit code {code})")

    # --- speaking -----------------------------------------------------------------------------------------------
    async def request(self, method: str, args: Any, timeout: float) -> Any:
        """Ask, and return the answer.

        Raises `SidecarGone`, `TimeoutError`, or the error of `domain.errors` that the sidecar named.
        """
        if self.gone.is_set():
            raise SidecarGone
        number = self._next_id
        self._next_id += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        self._put([codec.REQUEST, number, method, args])
        try:
            async with asyncio.timeout(timeout):
                return await future
        finally:
            self._pending.pop(number, None)

    def tell(self, name: str, value: Any) -> None:
        """Tell without waiting for anything."""
        self._put([codec.NOTE, name, value])

    def _put(self, frame: list[Any]) -> None:
        if self.gone.is_set():
            return
        self._out.append(codec.encode(frame))
        if len(self._out) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        batch, self._out = self._out, []
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(b"".join(batch))

    def _take(self, frame: list[Any]) -> None:
        kind = frame[0]
        if kind == codec.REQUEST:
            task = asyncio.get_running_loop().create_task(self._answer(frame[1], frame[2], frame[3]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind == codec.NOTE:
            if frame[1] == "pong":
                self._on_pong(frame[2][1])
            else:
                self._on_note(self, frame[1], frame[2])
        elif (future := self._pending.get(frame[1])) is not None and not future.done():
            if kind == codec.RESULT:
                future.set_result(frame[2])
            else:
                future.set_exception(_error(frame[2], frame[3], frame[4]))

    async def _answer(self, number: int, method: str, args: Any) -> None:
        try:
            frame = [codec.RESULT, number, await self._on_request(self, method, args)]
        except errors.HoldfastError as error:
            frame = [codec.FAILURE, number, error.code, error.sentence, 0]
        except Exception as error:
            log.exception("a request of the sidecar failed", action="sidecar", method=method)
            frame = [codec.FAILURE, number, "error", type(error).__name__, 0]
        self._put(frame)

    # --- watching -----------------------------------------------------------------------------------------------
    def on_started(self, boot: float) -> None:
        """The sidecar answered its first request at `boot` of its own boot clock."""
        self._on_pong(boot)

    def watch(self, every: float, hang_timeout: float, memory_limit: int) -> None:
        """Ping the pipe from now on, and kill the process when nothing comes back for `hang_timeout` seconds, or when
        it uses more than `memory_limit` bytes: sooner than it, or the whole machine, runs out of them.
        """
        self._watch = asyncio.get_running_loop().create_task(self._ping(every, hang_timeout, memory_limit))

    def memory(self) -> int:
        """Its resident memory in bytes; 0 if it is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    async def _ping(self, every: float, hang_timeout: float, memory_limit: int) -> None:
        while True:
            asked_at = self._clock.boot()
            self.tell("ping", asked_at)
            answered = False
            while not answered:
                await self._clock.sleep(every)
                if self._exceeds(memory_limit):
                    return
                # Measured from when we asked, not from the last answer: a host that was suspended must not kill it.
                answered = self.answered_at >= asked_at
                if not answered and self._clock.boot() - asked_at > hang_timeout:
                    self.kill("the engine process did not answer any more")
                    return

    def _exceeds(self, memory_limit: int) -> bool:
        memory = self.memory()
        if memory > memory_limit:
            self.out_of_memory = True
            used, limit = memory // 1_000_000, memory_limit // 1_000_000
            self.kill(f"the engine process used {used} MB of memory, and may use {limit} MB")
        return self.out_of_memory

    def _on_pong(self, their_boot: float) -> None:
        now = self._clock.boot()
        self.answered_at = now
        self.boot_offset = max(self.boot_offset, their_boot - now)

    def _read_log(self, data: bytes) -> None:
        self._stderr += data
        *lines, rest = self._stderr.split(b"\n")
        self._stderr = bytearray(rest[:65536])
        for line in lines:
            if line.startswith(_FATAL) and b"heap" in line:
                self.out_of_memory = True
                self._why = "the engine process ran out of memory"
            elif line.startswith(b'{"holdfast":1,'):
                self._log_line(bytes(line))

    def _log_line(self, line: bytes) -> None:
        try:
            facts = json.loads(line)
        except ValueError:
            return
        level = facts.get("level")
        if level in _LOG_LEVELS:
            known = {name: facts[name] for name in _LOG_FIELDS if name in facts}
            getattr(log, level)(str(facts.get("event", "")), action="sidecar", sidecar=self.pid, **known)

    # --- ending -------------------------------------------------------------------------------------------------
    def kill(self, why: str) -> None:
        """End it at once; the kernel closes its sockets."""
        self._why = self._why or why
        if self._transport and not self.gone.is_set():
            self._transport.kill()

    async def stop(self, grace: float) -> None:
        """Close its standard input, upon which it exits; kill it if it does not within `grace` seconds."""
        self._why = self._why or "the engine process was stopped"
        if self._stdin is not None:
            self._flush()
            self._stdin.close()
        try:
            async with asyncio.timeout(grace):
                await self.gone.wait()
        except TimeoutError:
            self.kill("the engine process did not stop")
            await self.gone.wait()


def _error(code: str, sentence: str, number: int) -> errors.HoldfastError:
    if code == CredentialsUnreadable.code:
        return CredentialsUnreadable()
    return _ERRORS.get(code, errors.CallFailed)(sentence, **({"error": number} if number else {}))
