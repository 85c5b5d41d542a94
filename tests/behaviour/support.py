"""What the behaviour tests share: bounded waiting, recording protocols, connected pairs, subprocesses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
Loop = asyncio.AbstractEventLoop
LoopFactory = Callable[[], Loop]

# How long a condition may take to come true on a busy machine. No passing test waits this long.
PATIENCE = 20.0


def run(loop: Loop, awaitable: Awaitable[T], seconds: float = PATIENCE) -> T:
    """Runs the loop until the awaitable is done; raises `TimeoutError` after the bound."""

    async def bounded() -> T:
        return await asyncio.wait_for(awaitable, seconds)

    return loop.run_until_complete(bounded())


def turn(loop: Loop, turns: int = 1) -> None:
    """Runs what is ready, and what that makes ready in turn, for the given number of iterations."""
    for _ in range(turns):
        loop.call_soon(loop.stop)
        loop.run_forever()


async def until(condition: Callable[[], object], what: str = "the condition", seconds: float = PATIENCE) -> None:
    """Waits for the condition to come true, and fails if it does not within the bound."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.001)


def run_until(loop: Loop, condition: Callable[[], object], what: str = "the condition") -> None:
    """Runs the loop until the condition holds."""
    loop.run_until_complete(until(condition, what))


async def turns(count: int = 1) -> None:
    """Gives the loop that many iterations."""
    for _ in range(count):
        await asyncio.sleep(0)


def collect_until_dead(*references: weakref.ref[Any]) -> None:
    """Collects garbage and asserts that none of the objects is alive any more."""
    for _ in range(3):
        gc.collect()
    alive = [reference() for reference in references if reference() is not None]
    assert not alive, f"still alive: {alive}; held by {[gc.get_referrers(item) for item in alive]}"


def descriptor_names() -> list[str]:
    """The numbers of this process's file descriptors, as text, with that of the listing itself."""
    return os.listdir("/dev/fd" if sys.platform == "darwin" else "/proc/self/fd")


def open_descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(descriptor_names())


@contextlib.contextmanager
def thread_running(target: Callable[[], object]) -> Iterator[threading.Thread]:
    """Runs the target in a thread, which must end within the bound after the block."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the thread did not end"


def run_in_thread(target: Callable[[], T]) -> T:
    """Returns what the target returns, or raises what it raises, in another thread."""
    outcome: list[Any] = []

    def body() -> None:
        try:
            outcome.extend((True, target()))
        except BaseException as error:
            outcome.extend((False, error))

    with thread_running(body):
        pass
    succeeded, value = outcome
    if not succeeded:
        raise value
    return value  # type: ignore[no-any-return]


FACTORY_SOURCE = {
    "asyncio": "import asyncio\nnew_loop = asyncio.SelectorEventLoop\n",
    "pyloop": "import asyncio, pyloop\nnew_loop = pyloop.new_event_loop\n",
}


def python(loop_name: str, source: str, *, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs a program in a fresh interpreter, with `new_loop` bound to the loop under test."""
    return subprocess.run(
        [sys.executable, *options, "-c", FACTORY_SOURCE[loop_name] + source],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected stream sockets that do not block."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    return left, right


def listening_socket(family: int = socket.AF_INET, backlog: int = 16) -> socket.socket:
    """A listening, non-blocking socket on a port that the kernel chose."""
    listener = socket.socket(family)
    listener.setblocking(False)
    listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    listener.listen(backlog)
    return listener


class Recorder(asyncio.Protocol):
    """Records its callbacks by name, with what they were given."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received = bytearray()
        self.transport: Any = None
        self.lost = False
        self.lost_with: BaseException | None = None
        self.keep_open_on_eof: bool | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.calls.append("connection_made")

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.calls[-1] != "data_received":
            self.calls.append("data_received")

    def eof_received(self) -> bool | None:
        self.calls.append("eof_received")
        return self.keep_open_on_eof

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("connection_lost")
        self.lost = True
        self.lost_with = exc


class BufferedRecorder(asyncio.BufferedProtocol):
    """Like `Recorder`, receiving into its own buffer."""

    def __init__(self, size: int = 1024) -> None:
        self.buffer = bytearray(size)
        self.size_hints: list[int] = []
        self.calls: list[str] = []
        self.received = bytearray()
        self.transport: Any = None
        self.lost = False
        self.lost_with: BaseException | None = None
        self.keep_open_on_eof: bool | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.calls.append("connection_made")

    def get_buffer(self, sizehint: int) -> Any:
        self.size_hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]
        if self.calls[-1] != "buffer_updated":
            self.calls.append("buffer_updated")

    def eof_received(self) -> bool | None:
        self.calls.append("eof_received")
        return self.keep_open_on_eof

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("connection_lost")
        self.lost = True
        self.lost_with = exc


@contextlib.asynccontextmanager
async def transport_over(
    protocol: asyncio.BaseProtocol, *, buffer_size: int | None = None
) -> AsyncIterator[tuple[Any, socket.socket]]:
    """A transport for the protocol over one end of a socket pair, and the other end, which does not block.

    The transport and the socket are closed at the end, if the block has not done it.
    """
    loop = asyncio.get_running_loop()
    ours, peer = socket_pair()
    if buffer_size is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_size)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size)
    transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
    try:
        yield transport, peer
    finally:
        peer.close()
        # Stock asyncio fails when a transport is aborted that has finished closing.
        if not transport.is_closing():
            transport.abort()
        await turns(3)


async def receive_all(peer: socket.socket) -> bytes:
    """What arrives at the socket until the end of the stream."""
    loop = asyncio.get_running_loop()
    parts = []
    while part := await loop.sock_recv(peer, 1 << 16):
        parts.append(part)
    return b"".join(parts)


async def receive_exactly(peer: socket.socket, count: int) -> bytes:
    """The next bytes that arrive at the socket, that many of them."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < count:
        part = await loop.sock_recv(peer, count - len(received))
        assert part, f"the stream ended after {len(received)} of {count} bytes"
        received += part
    return bytes(received)
