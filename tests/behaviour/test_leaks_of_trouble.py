"""Bad input and trouble, a thousand times each: refused or reported every time, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import resource
import socket
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from .leak_support import (
    FREE_THREADED,
    ORACLE_REPETITIONS,
    REPETITIONS,
    allowed,
    is_exempt,
    repetitions,
    traced_memory,
)
from .support import (
    Loop,
    LoopFactory,
    Recorder,
    listening_socket,
    open_descriptors,
    run,
    run_in_thread,
    socket_pair,
    turns,
    until,
)

WARM_UP = 50
# Bytes that a trouble may leave; a leaked handle, future or transport would come to a multiple of it. A free-threaded
# interpreter frees some memory late: three thousand resets leave no more there than a thousand, 80 kB.
SHARE = 128 if FREE_THREADED else 64

Trouble = Callable[[Loop], Awaitable[None]]


async def callbacks_that_cannot_be_called(loop: Loop) -> None:
    loop.set_debug(True)
    try:
        for schedule in (loop.call_soon, loop.call_soon_threadsafe, lambda callback: loop.call_later(1, callback)):
            with pytest.raises(TypeError):
                schedule(3)
    finally:
        loop.set_debug(False)


async def coroutines_as_callbacks(loop: Loop) -> None:
    async def coroutine() -> None: ...

    loop.set_debug(True)
    given = coroutine()
    try:
        with pytest.raises(TypeError):
            loop.call_soon(given)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            loop.call_later(1, coroutine)
    finally:
        given.close()
        loop.set_debug(False)


async def descriptors_that_are_none(loop: Loop) -> None:
    closed = socket.socket()
    number = closed.fileno()
    closed.close()
    # No descriptor, a negative one, and one that was closed.
    for wrong in ("text", -1, 1 << 40, closed):
        with pytest.raises((ValueError, TypeError, OverflowError, OSError)):
            loop.add_reader(wrong, print)
    for unknown in (number, 1_000_000):
        with pytest.raises(OSError, match="Bad file descriptor"):
            loop.add_writer(unknown, print)


async def a_running_loop_run_again(loop: Loop) -> None:
    with pytest.raises(RuntimeError, match="already running"):
        loop.run_forever()
    waiting = loop.create_future()
    with pytest.raises(RuntimeError, match="already running"):
        loop.run_until_complete(waiting)
    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        loop.close()
    waiting.cancel()


async def an_address_that_does_not_resolve(loop: Loop) -> None:
    # A numeric host is asked for, so nobody is asked but the C library.
    with pytest.raises(socket.gaierror):
        await loop.create_connection(Recorder, "no number", 80, flags=socket.AI_NUMERICHOST)


async def a_port_in_use(loop: Loop) -> None:
    with listening_socket() as listener, pytest.raises(OSError, match="address already in use"):
        await loop.create_server(Recorder, *listener.getsockname(), reuse_address=False)


async def contradictory_arguments(loop: Loop) -> None:
    with pytest.raises(ValueError, match="host and port was not specified"):
        await loop.create_connection(Recorder)
    with pytest.raises(ValueError, match="Neither host/port nor sock"):
        await loop.create_server(Recorder)
    left, right = socket_pair()
    with left, right, pytest.raises(ValueError, match="can not be specified at the same time"):
        await loop.create_connection(Recorder, "127.0.0.1", 1, sock=left)


async def a_factory_that_raises(loop: Loop) -> None:
    def factory() -> asyncio.Protocol:
        raise LookupError("no protocol")

    left, right = socket_pair()
    with left, right, pytest.raises(LookupError):
        await loop.create_connection(factory, sock=left)


async def writing_after_close(loop: Loop) -> None:
    left, right = socket_pair()
    with right:
        transport, protocol = await loop.create_connection(Recorder, sock=left)
        transport.close()
        transport.write(b"late")
        transport.close()
        await until(lambda: protocol.lost)
        transport.write(b"later")
        with pytest.raises(TypeError):
            transport.write("text")  # type: ignore[arg-type]


async def writing_after_eof(loop: Loop) -> None:
    left, right = socket_pair()
    with right:
        transport, protocol = await loop.create_connection(Recorder, sock=left)
        transport.write_eof()
        with pytest.raises(RuntimeError):
            transport.write(b"late")
        transport.close()
        await until(lambda: protocol.lost)


class Raising(Recorder):
    """Raises in the callback that is set."""

    where = ""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.where == "data_received":
            raise LookupError("in data_received")

    def eof_received(self) -> bool | None:
        if self.where == "eof_received":
            raise LookupError("in eof_received")
        return super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.where == "connection_lost":
            raise LookupError("in connection_lost")


def protocols_that_raise(where: str) -> Trouble:
    async def trouble(loop: Loop) -> None:
        loop.set_exception_handler(lambda _loop, _context: None)
        left, right = socket_pair()
        with right:
            _, protocol = await loop.create_connection(Raising, sock=left)
            protocol.where = where
            right.send(b"x")
            await until(lambda: protocol.received)
            right.close()
            await until(lambda: protocol.lost)
            await turns(1)
        protocol.transport = None

    trouble.__name__ = f"a_protocol_that_raises_in_{where}"
    return trouble


async def a_peer_that_resets_during_a_large_write(loop: Loop) -> None:
    with listening_socket() as listener:
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
        accepted, _ = await loop.sock_accept(listener)
        transport.write(bytes(500_000))
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        accepted.close()
        await until(lambda: protocol.lost)
        protocol.transport = None


async def cancelled_operations(loop: Loop) -> None:
    left, right = socket_pair()
    with left, right, listening_socket() as listener:
        tasks = [
            asyncio.ensure_future(operation)
            for operation in (
                loop.sock_recv(left, 10),
                loop.sock_recv_into(right, bytearray(10)),
                loop.sock_sendall(left, bytes(1_000_000)),
                loop.sock_accept(listener),
            )
        ]
        await turns(2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def a_connection_refused(loop: Loop) -> None:
    with socket.socket() as bound, socket.socket() as client:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            await loop.sock_connect(client, bound.getsockname())


async def wrong_arguments_of_socket_operations(loop: Loop) -> None:
    left, right = socket_pair()
    with left, right:
        for attempt in (
            loop.sock_recv(left, -1),
            loop.sock_recv(left, "1"),  # type: ignore[arg-type]
            loop.sock_recv_into(left, b"constant"),  # type: ignore[arg-type]
            loop.sock_sendall(left, "text"),  # type: ignore[arg-type]
            loop.sock_recv(3, 1),  # type: ignore[arg-type]
        ):
            with pytest.raises((TypeError, ValueError, AttributeError, BufferError)):
                await attempt
    with pytest.raises(OSError, match="Bad file descriptor"):
        await loop.sock_recv(left, 1)


async def calls_from_the_wrong_thread(loop: Loop) -> None:
    def refused() -> None:
        with pytest.raises(RuntimeError):
            loop.call_soon(print)
        with pytest.raises(RuntimeError):
            loop.call_later(1, print)

    loop.set_debug(True)
    try:
        run_in_thread(refused)
    finally:
        loop.set_debug(False)


every_trouble = pytest.mark.parametrize(
    "trouble",
    [
        callbacks_that_cannot_be_called,
        coroutines_as_callbacks,
        descriptors_that_are_none,
        an_address_that_does_not_resolve,
        a_port_in_use,
        contradictory_arguments,
        a_factory_that_raises,
        writing_after_close,
        writing_after_eof,
        protocols_that_raise("data_received"),
        protocols_that_raise("eof_received"),
        protocols_that_raise("connection_lost"),
        a_peer_that_resets_during_a_large_write,
        cancelled_operations,
        a_connection_refused,
        wrong_arguments_of_socket_operations,
        calls_from_the_wrong_thread,
    ],
    ids=lambda trouble: trouble.__name__,
)


@every_trouble
def test_a_thousand_troubles_leave_nothing(loop: Loop, trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="asyncio")
    check(loop, trouble)
    caplog.clear()


forgets_the_run = pytest.mark.pyloop_only("asyncio of 3.13.0 forgets who runs when a second run is refused")


@forgets_the_run
def test_running_a_running_loop_a_thousand_times_leaves_nothing(loop: Loop) -> None:
    check(loop, a_running_loop_run_again)


def check(loop: Loop, trouble: Trouble) -> None:
    """Fails if a thousand repetitions of the trouble leave descriptors or memory behind."""
    times = repetitions(loop)

    async def repeat(count: int) -> None:
        for _ in range(count):
            await trouble(loop)
        await turns(3)
        gc.collect()

    async def main() -> tuple[int, int]:
        await repeat(WARM_UP)
        baseline = open_descriptors()
        with traced_memory() as growth:
            for _ in growth.series():
                await repeat(times)
        left = open_descriptors() - baseline
        await loop.shutdown_default_executor()
        return left, growth.least()

    left, grown = run(loop, main(), seconds=50)
    assert left == 0
    assert is_exempt(loop) or grown < allowed(times, SHARE)


def measured(trouble: Callable[[], None], times: int) -> tuple[int, int]:
    """Descriptors and bytes left by so many repetitions of a trouble outside of a run."""
    for _ in range(WARM_UP):
        trouble()
    gc.collect()
    baseline = open_descriptors()
    with traced_memory() as growth:
        for _ in growth.series():
            for _ in range(times):
                trouble()
            gc.collect()
    return open_descriptors() - baseline, growth.least()


def test_calls_on_a_closed_loop_leave_nothing(loop: Loop) -> None:
    times = repetitions(loop)
    loop.close()

    def trouble() -> None:
        with pytest.raises(RuntimeError):
            loop.call_soon(print)
        with pytest.raises(RuntimeError):
            loop.call_later(1, print)
        with pytest.raises(RuntimeError):
            loop.call_soon_threadsafe(print)
        with pytest.raises(RuntimeError):
            loop.run_forever()
        with pytest.raises(RuntimeError):
            loop.add_reader(0, print)
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            loop.run_until_complete(coroutine)
        coroutine.close()

    left, grown = measured(trouble, times)
    assert left == 0
    assert is_exempt(loop) or grown < allowed(times, SHARE)


@forgets_the_run
def test_a_second_loop_in_a_thread_leaves_nothing(loop: Loop, loop_factory: LoopFactory) -> None:
    times = repetitions(loop)

    async def main() -> tuple[int, int]:
        def trouble() -> None:
            other = loop_factory()
            try:
                with pytest.raises(RuntimeError, match="another loop is running"):
                    other.run_forever()
            finally:
                other.close()

        return measured(trouble, times)

    left, grown = run(loop, main(), seconds=50)
    assert left == 0
    assert is_exempt(loop) or grown < allowed(times, SHARE)


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
def test_loops_that_are_dropped_and_never_closed_leave_nothing(loop_factory: LoopFactory, loop_name: str) -> None:
    times = ORACLE_REPETITIONS if loop_name == "asyncio" else REPETITIONS

    def trouble() -> None:
        loop = loop_factory()
        loop.call_soon(print)
        loop.call_later(3600, print)
        del loop
        if next(number) % every == 0:
            gc.collect(0)

    # Free-threaded builds collect all garbage each time: a thousand times take most of the minute that a test has.
    number, every = itertools.count(), 5 if FREE_THREADED else 1
    left, grown = measured(trouble, times)
    assert left == 0
    assert (loop_name == "asyncio" and FREE_THREADED) or grown < allowed(times, SHARE)


@pytest.mark.skipif(sys.platform != "linux", reason="relies on how Linux counts descriptors")
def test_accepting_without_descriptors_leaves_nothing(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running out of descriptors again and again: each time the server goes on once there are some."""
    times = repetitions(loop, REPETITIONS // 2)
    # Shortened from one second.
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.001)
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: reports.append(context))

    async def cycle(address: Any, served: list[Recorder]) -> None:
        with socket.socket() as client, no_descriptors_left():
            client.setblocking(False)
            await loop.sock_connect(client, address)
            await until(lambda: reports)
        await until(lambda: served)
        await until(lambda: served[-1].lost)
        served.pop().transport = None
        reports.clear()

    async def main() -> tuple[int, int]:
        served: list[Recorder] = []

        def protocol() -> Recorder:
            served.append(Recorder())
            return served[-1]

        server = await loop.create_server(protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        for _ in range(WARM_UP):
            await cycle(address, served)
        gc.collect()
        baseline = open_descriptors()
        with traced_memory() as growth:
            for _ in growth.series():
                for _ in range(times):
                    await cycle(address, served)
                reports.clear()
                gc.collect()
        left = open_descriptors() - baseline
        server.close()
        await server.wait_closed()
        return left, growth.least()

    left, grown = run(loop, main(), seconds=50)
    assert left == 0
    assert is_exempt(loop) or grown < allowed(times, SHARE)


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Uses up the descriptors that this process may have, which are few for the time of the block."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    hogs = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hogs[0] + 4, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                hogs.append(os.dup(hogs[0]))
        yield
    finally:
        for hog in hogs:
            os.close(hog)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_children_forked_in_a_running_loop_leave_nothing(loop: Loop) -> None:
    times = repetitions(loop)

    async def main() -> tuple[int, int]:
        def trouble() -> None:
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)

        return measured(trouble, times)

    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on, if other threads are alive
        left, grown = run(loop, main(), seconds=50)
    assert left == 0
    assert is_exempt(loop) or grown < allowed(times, SHARE)
