"""A thousand lives of every transport, well ended and badly, in debug mode and out of it: nothing is left behind.

Descriptors, threads and memory are counted; cycles are counted by what the garbage collector has to find.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import socket
import ssl
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from certificates import Authority
from ports import LOCALHOST, REFUSING_DATAGRAM_PORT, REFUSING_PORT, free_port

from .leak_support import FREE_THREADED, REPETITIONS, Growth, is_exempt, repetitions
from .support import PATIENCE, Loop, LoopFactory, Recorder, open_descriptors, run, socket_pair

if sys.version_info < (3, 11):
    # There a TLS transport that its peer ended, or whose handshake failed, warns even so.
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")

Life = Callable[[Loop], Awaitable[None]]

WARM_UP = 50
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: close() sends a reset


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Waits for the condition as its namesake does, without ever letting the loop rest: lives are short."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not condition():
        assert loop.time() < deadline, f"{what} did not come true within {PATIENCE} s"
        await asyncio.sleep(0)


# Classes are made once: free-threaded 3.13 keeps every class forever that is made after the first thread was started.
class Client(Recorder):
    pass


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


async def both_ends(
    loop: Loop, client: Any, server: Any, pair: tuple[socket.socket, socket.socket] | None = None, **options: Any
) -> tuple[Any, Any]:
    """Transports for two protocols that are connected to each other."""
    ours, theirs = pair or socket_pair()
    near, _ = await loop.create_connection(lambda: client, sock=ours)
    far, _ = await loop.connect_accepted_socket(lambda: server, theirs)
    return near, far


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets: what can be reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


async def lost(*protocols: Recorder) -> None:
    await until(lambda: all(protocol.lost for protocol in protocols), "the end of the connection")
    for protocol in protocols:
        protocol.transport = None  # The cycle of the test's own making.
        protocol.lost_with = None


async def exchanged(loop: Loop) -> None:
    client, server = Client(), Echo()
    near, _ = await both_ends(loop, client, server)
    near.write(b"hello")
    await until(lambda: client.received == b"hello")
    near.close()
    await lost(client, server)


async def half_closed(loop: Loop) -> None:
    client, server = Client(), Client()
    server.keep_open_on_eof = True
    near, far = await both_ends(loop, client, server)
    near.write(b"question")
    near.write_eof()
    await until(lambda: "eof_received" in server.calls)
    far.write(b"answer")
    far.close()
    await lost(client, server)
    assert client.received == b"answer"


async def aborted_with_much_to_send(loop: Loop) -> None:
    client, server = Client(), Client()
    near, far = await both_ends(loop, client, server)
    far.pause_reading()
    near.write(bytes(1_000_000))
    near.abort()
    far.abort()
    await lost(client, server)


async def reset_by_the_peer(loop: Loop) -> None:
    client = Client()
    ours, theirs = tcp_pair()
    near, _ = await loop.create_connection(lambda: client, sock=ours)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    near.write(b"too late")
    await lost(client)


async def refused(loop: Loop) -> None:
    with pytest.raises(ConnectionRefusedError):
        await loop.create_connection(Client, LOCALHOST, REFUSING_PORT)


async def cancelled_while_connecting(loop: Loop) -> None:
    ours, theirs = socket_pair()
    with theirs:
        task = asyncio.ensure_future(loop.create_connection(Client, sock=ours))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await task)[0].close()
    del task
    ours.close()


async def forgotten(loop: Loop) -> None:
    ours, theirs = socket_pair()
    with theirs, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        transport, protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.pause_reading()
        del transport, protocol, ours
        gc.collect(0)


async def a_server_and_its_clients(loop: Loop) -> None:
    served: list[Recorder] = []

    def factory() -> Recorder:
        served.append(Client())
        return served[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    clients = [(await loop.create_connection(Client, *address))[1] for _ in range(2)]
    clients[0].transport.close()
    clients[1].transport.abort()
    await until(lambda: len(served) == 2)
    await lost(*clients, *served)
    server.close()
    await server.wait_closed()


def raising(method: str) -> Life:
    """A life whose protocol raises in one of its methods."""

    def fail(*_args: Any) -> None:
        raise ValueError("on purpose")

    faulty = type("Faulty", (Client,), {method: fail})

    async def raises(loop: Loop) -> None:
        client = faulty()
        ours, theirs = socket_pair()
        with theirs:
            transport, _ = await loop.create_connection(lambda: client, sock=ours)
            transport.set_write_buffer_limits(high=0)
            with contextlib.suppress(OSError):
                theirs.send(b"data")
            transport.write(bytes(1_000_000))
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            transport.abort() if not transport.is_closing() else None
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            client.transport = None

    raises.__name__ = f"raises_in_{method}"
    return raises


class Refusing(asyncio.BufferedProtocol):
    ended = False

    def get_buffer(self, sizehint: int) -> Any:
        return b"not writable"

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended = True


async def a_buffer_that_is_refused(loop: Loop) -> None:
    protocol = Refusing()
    ours, theirs = socket_pair()
    with theirs:
        await loop.create_connection(lambda: protocol, sock=ours)
        theirs.send(b"data")
        await until(lambda: protocol.ended)


DATAGRAM_PORT = free_port(socket.SOCK_DGRAM)


class Hearing(asyncio.DatagramProtocol):
    heard = b""
    ended = False

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard = data

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended = True


async def datagrams(loop: Loop) -> None:
    # One address for all lives: pyloop keeps the tuples of a thousand addresses.
    transport, protocol = await loop.create_datagram_endpoint(Hearing, (LOCALHOST, DATAGRAM_PORT))
    transport.sendto(b"to oneself", transport.get_extra_info("sockname"))
    await until(lambda: protocol.heard == b"to oneself")
    transport.close()
    await until(lambda: protocol.ended)


class Failing(asyncio.DatagramProtocol):
    error: BaseException | None = None
    ended = False

    def error_received(self, exc: BaseException) -> None:
        self.error = exc

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended = True


async def datagrams_that_nobody_hears(loop: Loop) -> None:
    transport, protocol = await loop.create_datagram_endpoint(Failing, remote_addr=(LOCALHOST, REFUSING_DATAGRAM_PORT))
    transport.sendto(b"anybody?")
    await until(lambda: protocol.error is not None)
    protocol.error = None
    transport.abort()
    await until(lambda: protocol.ended)


async def a_pipe_read_to_its_end(loop: Loop) -> None:
    reading, writing = os.pipe()
    protocol = Client()
    await loop.connect_read_pipe(lambda: protocol, os.fdopen(reading, "rb", 0))
    os.write(writing, b"data")
    os.close(writing)
    await lost(protocol)
    assert protocol.received == b"data"


async def a_pipe_whose_reader_goes_away(loop: Loop) -> None:
    reading, writing = os.pipe()
    protocol = Client()
    transport, _ = await loop.connect_write_pipe(lambda: protocol, os.fdopen(writing, "wb", 0))
    transport.write(bytes(200_000))
    os.close(reading)
    await lost(protocol)


class Ended(asyncio.SubprocessProtocol):
    ended = False

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended = True


CAT = str(shutil.which("cat"))


async def a_child_that_exits(loop: Loop) -> None:
    transport, protocol = await loop.subprocess_exec(Ended, CAT)
    transport.get_pipe_transport(0).write(b"data")  # type: ignore[union-attr]
    transport.get_pipe_transport(0).close()  # type: ignore[union-attr]
    await until(lambda: protocol.ended)
    transport.close()


async def a_child_that_is_killed(loop: Loop) -> None:
    transport, protocol = await loop.subprocess_exec(Ended, CAT)
    transport.kill()
    await until(lambda: protocol.ended)
    transport.close()


async def no_such_program(loop: Loop) -> None:
    with pytest.raises(FileNotFoundError):
        await loop.subprocess_exec(Ended, "/no such program")


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = Authority()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client


TlsLife = Callable[[Loop, ssl.SSLContext, ssl.SSLContext], Awaitable[None]]


async def tls_exchanged(loop: Loop, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    client, server = Client(), Echo()
    ours, theirs = socket_pair()
    (near, _), _ = await asyncio.gather(
        loop.create_connection(lambda: client, sock=ours, ssl=client_context, server_hostname="localhost"),
        loop.connect_accepted_socket(lambda: server, theirs, ssl=server_context),
    )
    near.write(b"hello")
    await until(lambda: client.received == b"hello")
    near.close()
    await lost(client, server)


async def _failed_handshake(loop: Loop, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    client, server = Client(), Client()
    ours, theirs = socket_pair()
    found = await asyncio.gather(
        loop.create_connection(lambda: client, sock=ours, ssl=client_context, server_hostname="localhost"),
        loop.connect_accepted_socket(lambda: server, theirs, ssl=server_context),
        return_exceptions=True,
    )
    assert isinstance(found[0], ssl.SSLError)
    for transport in found[1:]:
        if isinstance(transport, tuple):
            transport[0].abort()
    del found


async def tls_certificate_refused(loop: Loop, server_context: ssl.SSLContext, _: ssl.SSLContext) -> None:
    await _failed_handshake(loop, server_context, STRANGER)


STRANGER = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody


async def tls_garbage_instead_of_a_greeting(loop: Loop, server_context: ssl.SSLContext, _: ssl.SSLContext) -> None:
    ours, theirs = socket_pair()
    with theirs:
        accepting = asyncio.ensure_future(loop.connect_accepted_socket(Client, ours, ssl=server_context))
        theirs.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(OSError):  # noqa: PT011 - ssl.SSLError or ConnectionError, by the running Python
            await accepting
        del accepting


async def tls_peer_gone_in_the_handshake(loop: Loop, _: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    ours, theirs = socket_pair()
    connecting = asyncio.ensure_future(
        loop.create_connection(Client, sock=ours, ssl=client_context, server_hostname="localhost")
    )
    await loop.sock_recv(theirs, 100_000)
    theirs.close()
    with pytest.raises(OSError):  # noqa: PT011 - as above
        await connecting
    del connecting


STREAMS: list[Life] = [
    exchanged,
    half_closed,
    aborted_with_much_to_send,
    reset_by_the_peer,
    refused,
    cancelled_while_connecting,
    forgotten,
    a_server_and_its_clients,
    *(
        raising(method)
        for method in ("connection_made", "data_received", "eof_received", "pause_writing", "connection_lost")
    ),
    a_buffer_that_is_refused,
]
OTHERS: list[Life] = [
    datagrams,
    datagrams_that_nobody_hears,
    a_pipe_read_to_its_end,
    a_pipe_whose_reader_goes_away,
    a_child_that_exits,
    a_child_that_is_killed,
    no_such_program,
]
TLS: list[TlsLife] = [
    tls_exchanged,
    tls_certificate_refused,
    tls_garbage_instead_of_a_greeting,
    tls_peer_gone_in_the_handshake,
]

# Starting a program takes long on a busy machine. So does collecting garbage, which free-threaded builds do in full.
FEWER = {"a_child_that_exits": 75, "a_child_that_is_killed": 75, "forgotten": 150}

debug_and_release = pytest.mark.parametrize("debug", [False, True], ids=["release", "debug"])


def named(lives: list[Any]) -> Any:
    return pytest.mark.parametrize("life", lives, ids=[life.__name__ for life in lives])


def leaves_nothing(loop: Loop, life: Callable[[], Awaitable[None]], most: int) -> None:
    """Lives that often, and asserts that descriptors, threads and memory are what they were."""
    loop.set_exception_handler(lambda _loop, _context: None)
    # The capture of the log keeps what is told of slow callbacks, in debug mode, when the machine stands still.
    loop.slow_callback_duration = 60  # type: ignore[attr-defined]
    times = repetitions(loop, most)

    async def main() -> tuple[int, int, int]:
        async def quiet() -> None:
            await until(lambda: open_descriptors() <= baseline, "the return to the first count of descriptors")
            gc.collect()

        baseline = open_descriptors()
        for _ in range(WARM_UP):
            await life()
        await quiet()
        threads = threading.active_count()
        growth = Growth(sys.getallocatedblocks)
        for _ in growth.series():
            for _ in range(times):
                await life()
            await quiet()
        return open_descriptors() - baseline, threading.active_count() - threads, growth.least()

    descriptors, threads, grown = run(loop, main(), seconds=55)
    assert descriptors == 0
    assert threads <= 0
    # A transport or protocol that stayed would be several blocks of memory per life. Free-threaded builds free some
    # of it late, when all threads are known to be done with it.
    assert is_exempt(loop) or grown < max(times if FREE_THREADED else times // 2, 200)


@debug_and_release
@named(STREAMS)
def test_a_thousand_streams_leave_nothing(loop: Loop, life: Life, debug: bool) -> None:
    loop.set_debug(debug)
    leaves_nothing(loop, lambda: life(loop), FEWER.get(life.__name__, REPETITIONS))  # type: ignore[attr-defined]


@debug_and_release
@named(OTHERS)
def test_a_thousand_other_transports_leave_nothing(loop: Loop, life: Life, debug: bool) -> None:
    loop.set_debug(debug)
    leaves_nothing(loop, lambda: life(loop), FEWER.get(life.__name__, REPETITIONS))  # type: ignore[attr-defined]


@debug_and_release
@named(TLS)
def test_a_thousand_tls_connections_leave_nothing(
    loop: Loop, life: TlsLife, debug: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    loop.set_debug(debug)
    leaves_nothing(loop, lambda: life(loop, *contexts), REPETITIONS)


def garbage(factory: LoopFactory, life: Life, lives: int) -> int:
    """How many objects only the garbage collector can free after that many lives."""
    loop = factory()
    loop.set_exception_handler(lambda _loop, _context: None)

    async def main(count: int) -> None:
        for _ in range(count):
            await life(loop)

    try:
        loop.run_until_complete(main(20))
        gc.collect()
        gc.disable()
        loop.run_until_complete(main(lives))
        return gc.collect()
    finally:
        gc.enable()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@pytest.mark.pyloop_only("compares with stock asyncio itself")
@named([life for life in STREAMS if life is not forgotten] + OTHERS[:4])
def test_no_life_makes_more_work_for_the_garbage_collector_than_asyncios(loop_factory: LoopFactory, life: Life) -> None:
    lives = 50
    assert garbage(loop_factory, life, lives) <= garbage(asyncio.SelectorEventLoop, life, lives) + lives // 10
