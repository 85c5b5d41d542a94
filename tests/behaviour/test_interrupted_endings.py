"""Transports whose end is interrupted, or that live on after it: none touches who has their number next."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from .support import Loop, Recorder, listening_socket, run, socket_pair, turn, turns, until


class Successor:
    """Opens sockets until one has the number, and tells whether that is still open and unread."""

    def __init__(self, number: int) -> None:
        self._spare: list[socket.socket] = []
        while True:
            left, right = socket_pair()
            self._spare += [left, right]
            if number in (left.fileno(), right.fileno()):
                break
            assert len(self._spare) < 200, "the number is given out again"
        self.mine, self.other = (left, right) if left.fileno() == number else (right, left)

    def check(self) -> None:
        """Fails if somebody has closed, written to or read from the descriptor."""
        with pytest.raises(BlockingIOError):
            self.other.recv(10)
        self.mine.send(b"to the other")
        assert self.other.recv(100) == b"to the other"
        self.other.send(b"to mine")
        assert self.mine.recv(100) == b"to mine"

    def close(self) -> None:
        for sock in self._spare:
            sock.close()


class InterruptedWhenLost(Recorder):
    """Is interrupted in `connection_lost`."""

    leaving: type[BaseException] = KeyboardInterrupt

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        raise self.leaving("in connection_lost")


class InterruptedSocket(socket.socket):
    """Is interrupted when it has just been closed."""

    def close(self) -> None:
        was_open = self.fileno() >= 0
        super().close()
        if was_open:
            raise KeyboardInterrupt("in close")


def poke(transport: Any) -> None:
    """Does to a transport that has ended whatever a program may do."""
    for method, arguments in (
        ("write", (b"secret",)),
        ("writelines", ([b"secret", b"more"],)),
        ("close", ()),
        ("abort", ()),
        ("pause_reading", ()),
        ("resume_reading", ()),
        ("get_write_buffer_size", ()),
        ("get_extra_info", ("socket",)),
        ("get_extra_info", ("peername",)),
        ("is_closing", ()),
        ("is_reading", ()),
        ("write_eof", ()),
        ("write", (b"secret",)),
    ):
        # asyncio's own transports stumble over what they have let go of; a crash or a write would be worse.
        with contextlib.suppress(OSError, RuntimeError, AttributeError, TypeError):
            getattr(transport, method)(*arguments)
    assert repr(transport)


def run_interrupted(loop: Loop, leaving: type[BaseException] = KeyboardInterrupt) -> None:
    """Runs until the interrupt comes out."""
    loop.call_later(20, loop.stop)
    with pytest.raises(leaving):
        loop.run_forever()


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("ending", ["close", "abort"])
def test_an_interrupt_in_connection_lost_closes_the_descriptor_once(
    loop: Loop, reports: list[Any], ending: str, leaving: type[BaseException]
) -> None:
    left, right = socket_pair()
    transport, protocol = run(loop, loop.create_connection(InterruptedWhenLost, sock=left))
    protocol.leaving = leaving
    number = left.fileno()
    getattr(transport, ending)()
    run_interrupted(loop, leaving)
    assert left.fileno() == -1
    successor = Successor(number)
    poke(transport)
    turn(loop, 5)
    successor.check()
    protocol.transport = None
    del transport
    gc.collect()
    turn(loop, 2)
    successor.check()
    successor.close()
    right.close()


def test_an_interrupt_in_the_close_of_the_socket_does_not_close_it_again(loop: Loop, reports: list[Any]) -> None:
    plain, right = socket_pair()
    left = InterruptedSocket(plain.family, plain.type, plain.proto, plain.detach())
    left.setblocking(False)
    transport, protocol = run(loop, loop.create_connection(Recorder, sock=left))
    number = left.fileno()
    transport.close()
    run_interrupted(loop)
    successor = Successor(number)
    poke(transport)
    turn(loop, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio's transport takes itself for unclosed
        protocol.transport = None
        del transport
        gc.collect()
    turn(loop, 2)
    successor.check()
    successor.close()
    right.close()


@pytest.mark.pyloop_only("asyncio makes the socket object when it accepts, not when it is asked for")
def test_an_interrupt_while_the_socket_object_is_made_leaves_one_owner(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> tuple[Any, Recorder, socket.socket, Any]:
        accepted: list[Recorder] = []

        def factory() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        await until(lambda: accepted)
        return accepted[0].transport, accepted[0], client, server

    def interrupted(_sock: socket.socket, _flag: bool) -> None:
        raise KeyboardInterrupt("in setblocking")

    transport, protocol, client, server = run(loop, main())
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "setblocking", interrupted)
        with pytest.raises(KeyboardInterrupt):
            transport.get_extra_info("socket")
    gc.collect()
    # The connection has survived, and the object is made the next time.
    transport.write(b"alive")
    turn(loop, 2)
    assert client.recv(10) == b"alive"
    number = transport.get_extra_info("socket").fileno()
    transport.close()
    turn(loop, 3)
    assert protocol.lost
    successor = Successor(number)
    poke(transport)
    turn(loop, 3)
    protocol.transport = None
    del transport
    gc.collect()
    successor.check()
    successor.close()
    client.close()
    server.close()
    run(loop, server.wait_closed())


# Transports that live on after their finalizer


def opened(loop: Loop, how: str) -> tuple[Any, socket.socket]:
    """A transport that nobody else refers to, over a socket object or over an accepted descriptor; and its peer."""

    async def over_a_socket() -> tuple[Any, socket.socket]:
        left, right = socket_pair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
        transport.pause_reading()
        return transport, right

    async def accepted() -> tuple[Any, socket.socket]:
        transports: list[Any] = []

        class Noting(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                transports.append(transport)

        with listening_socket() as listener:
            server = await loop.create_server(Noting, sock=listener)
            client = socket.create_connection(listener.getsockname())
            client.setblocking(False)
            await until(lambda: transports)
            server.close()
            await turns(3)
            transports[0].pause_reading()
        return transports.pop(), client

    return run(loop, over_a_socket() if how == "connected" else accepted())


def resurrected_by_a_warning(transport_of: Callable[[], Any]) -> Any:
    """The record of the warning about an unclosed transport refers to it."""
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        holder = [transport_of()]
        holder.clear()
        gc.collect()
    sources = [record.source for record in recorded if "unclosed transport" in str(record.message)]
    assert len(sources) == 1
    return sources[0]


class Keeper:
    """Brings back the transport that it belongs to."""

    kept: ClassVar[list[Any]] = []
    transport: Any = None

    def __del__(self) -> None:
        self.kept.append(self.transport)


def resurrected_by_a_finalizer(transport_of: Callable[[], Any]) -> Any:
    """An object in the transport's cycle stores the transport away while both are collected."""
    Keeper.kept.clear()

    def forget() -> None:
        transport = transport_of()
        transport.keeper = Keeper()
        transport.keeper.transport = transport

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        forget()
        gc.collect()
    assert len(Keeper.kept) == 1
    return Keeper.kept.pop()


@pytest.mark.parametrize("how", ["connected", "accepted"])
@pytest.mark.parametrize("resurrected", [resurrected_by_a_warning, resurrected_by_a_finalizer])
def test_a_transport_used_after_its_finalizer_reaches_nobody(
    loop: Loop,
    reports: list[Any],
    caplog: pytest.LogCaptureFixture,
    how: str,
    resurrected: Callable[[Callable[[], Any]], Any],
) -> None:
    numbers: list[int] = []
    peers: list[socket.socket] = []

    def transport_of() -> Any:
        transport, peer = opened(loop, how)
        peers.append(peer)
        numbers.append(int(repr(transport).partition("fd=")[2].split()[0].rstrip(">")))
        turn(loop, 2)
        return transport

    transport = resurrected(transport_of)
    successor = Successor(numbers[0])
    poke(transport)
    turn(loop, 5)
    successor.check()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del transport
        gc.collect()
    turn(loop, 3)
    successor.check()
    successor.close()
    peers[0].close()
    caplog.clear()
