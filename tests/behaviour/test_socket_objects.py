"""The `sock_*` coroutines and the objects they are given: subclasses, stand-ins, watchers of the same descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import inspect
import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from .support import Loop, Recorder, listening_socket, receive_exactly, run, socket_pair, transport_over, turns, until

Pair = tuple[socket.socket, socket.socket]
OPERATIONS = ("sock_recv", "sock_recv_into", "sock_sendall", "sock_connect", "sock_accept")
DATAGRAM_OPERATIONS = ("sock_recvfrom", "sock_recvfrom_into", "sock_sendto")
ALL_OPERATIONS = OPERATIONS + (DATAGRAM_OPERATIONS if sys.version_info >= (3, 11) else ())
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "sock_recv": (1,),
    "sock_recv_into": (bytearray(1),),
    "sock_recvfrom": (1,),
    "sock_recvfrom_into": (bytearray(1),),
    "sock_sendall": (b"x",),
    "sock_sendto": (b"x", ("127.0.0.1", 9)),
    "sock_connect": (("127.0.0.1", 9),),
    "sock_accept": (),
}

every_operation = pytest.mark.parametrize("operation", ALL_OPERATIONS)


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket_pair()
    yield left, right
    left.close()
    right.close()


class Watched(socket.socket):
    """A socket that notes which of its methods are called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls: list[str] = []

    def recv(self, *args: Any) -> bytes:
        self.calls.append("recv")
        return super().recv(*args)

    def recv_into(self, *args: Any) -> int:  # type: ignore[override]
        self.calls.append("recv_into")
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        self.calls.append("send")
        return super().send(*args)

    def accept(self) -> tuple[socket.socket, Any]:
        self.calls.append("accept")
        return super().accept()


def as_watched(sock: socket.socket) -> Watched:
    watched = Watched(sock.family, sock.type, sock.proto, sock.detach())
    watched.setblocking(False)
    return watched


@every_operation
def test_operations_are_coroutine_functions(loop: Loop, operation: str) -> None:
    assert inspect.iscoroutinefunction(getattr(loop, operation))


@every_operation
def test_tls_sockets_are_refused(loop: Loop, operation: str) -> None:
    with (
        socket.socket() as plain,
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(
            plain, server_hostname="nowhere", do_handshake_on_connect=False
        ) as wrapped,
    ):
        with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
            run(loop, getattr(loop, operation)(wrapped, *ARGUMENTS[operation]))


@every_operation
def test_blocking_sockets_are_refused_in_debug_mode(loop: Loop, operation: str) -> None:
    loop.set_debug(True)
    with socket.socket() as blocking, pytest.raises(ValueError, match="the socket must be non-blocking"):
        run(loop, getattr(loop, operation)(blocking, *ARGUMENTS[operation]))


def test_a_socket_with_a_timeout_waits_by_itself(loop: Loop, pair: Pair) -> None:
    pair[0].settimeout(0.001)
    with pytest.raises(TimeoutError if sys.version_info >= (3, 10) else socket.timeout):
        run(loop, loop.sock_recv(pair[0], 1))


def test_a_subclass_is_asked_by_its_own_methods(loop: Loop, pair: Pair) -> None:
    left, right = as_watched(pair[0]), pair[1]
    buffer = bytearray(3)

    async def main() -> None:
        await loop.sock_sendall(left, b"out")
        assert await receive_exactly(right, 3) == b"out"
        task = asyncio.ensure_future(loop.sock_recv(left, 3))
        await turns(3)
        right.send(b"in!")
        assert await task == b"in!"
        right.send(b"too")
        assert await loop.sock_recv_into(left, buffer) == 3
        assert buffer == b"too"

    with left:
        run(loop, main())
    assert left.calls[0] == "send"
    assert {"recv", "recv_into"} <= set(left.calls)


def test_a_listener_of_a_subclass_accepts_by_its_own_method(loop: Loop) -> None:
    async def main() -> None:
        with as_watched(listening_socket()) as listener, socket.socket() as client:
            client.setblocking(False)
            task = asyncio.ensure_future(loop.sock_accept(listener))
            await turns(2)
            await loop.sock_connect(client, listener.getsockname())
            accepted, address = await task
            with accepted:
                assert address == client.getsockname()
            assert "accept" in listener.calls

    run(loop, main())


def test_methods_that_were_replaced_are_used(loop: Loop, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def recv(self: socket.socket, size: int, flags: int = 0) -> bytes:
        seen.append(size)
        return b"patched"

    monkeypatch.setattr(socket.socket, "recv", recv, raising=True)
    assert run(loop, loop.sock_recv(pair[0], 17)) == b"patched"
    assert seen == [17]


class StandIn:
    """Something that is no socket, with the methods of one."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.refusals = 2

    def fileno(self) -> int:
        return self.sock.fileno()

    def gettimeout(self) -> float:
        return 0.0

    def recv(self, size: int) -> bytes:
        if self.refusals:
            self.refusals -= 1
            raise BlockingIOError(errno.EAGAIN, "not yet")
        return self.sock.recv(size)

    def send(self, data: Any) -> int:
        return self.sock.send(bytes(data[:2]))


def test_anything_with_the_methods_of_a_socket_will_do(loop: Loop, pair: Pair) -> None:
    stand_in: Any = StandIn(pair[0])
    pair[1].send(b"data")

    async def main() -> None:
        assert await loop.sock_recv(stand_in, 4) == b"data"
        await loop.sock_sendall(stand_in, b"abcde")
        assert await receive_exactly(pair[1], 5) == b"abcde"

    run(loop, main())


def test_an_object_without_methods_is_refused(loop: Loop) -> None:
    for attempt in (loop.sock_recv(object(), 1), loop.sock_sendall(object(), b"x")):  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            run(loop, attempt)


@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, 1 << 20])
def test_recv_of_any_size(loop: Loop, pair: Pair, size: int) -> None:
    pair[1].send(b"abc")
    assert run(loop, loop.sock_recv(pair[0], size)) == b"abc"[:size]


@pytest.mark.parametrize("wrong", [None, "1", 1.0, object()])
def test_recv_refuses_what_is_no_size(loop: Loop, pair: Pair, wrong: Any) -> None:
    with pytest.raises(TypeError):
        run(loop, loop.sock_recv(pair[0], wrong))


def test_recv_takes_what_has_an_index(loop: Loop, pair: Pair) -> None:
    class Two:
        def __index__(self) -> int:
            return 2

    pair[1].send(b"abc")
    assert run(loop, loop.sock_recv(pair[0], Two())) == b"ab"  # type: ignore[arg-type]


def test_a_pending_error_of_the_socket_is_raised_to_the_receiver(loop: Loop) -> None:
    async def main() -> None:
        with listening_socket() as listener, socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            accepted, _ = await loop.sock_accept(listener)
            task = asyncio.ensure_future(loop.sock_recv(client, 1))
            await turns(2)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            accepted.close()
            with pytest.raises(ConnectionResetError) as raised:
                await task
            assert raised.value.errno == errno.ECONNRESET
            assert raised.value.strerror

    run(loop, main())


# Buffers


def test_a_buffer_can_be_resized_again_after_a_cancelled_sendall(loop: Loop, pair: Pair) -> None:
    data = bytearray(5_000_000)

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_sendall(pair[0], data))
        await turns(3)
        assert not task.done()
        with pytest.raises(BufferError):
            data.append(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gc.collect()
        data.append(1)

    run(loop, main())


def test_a_buffer_can_be_resized_while_recv_into_waits(loop: Loop, pair: Pair) -> None:
    buffer = bytearray(1)

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recv_into(pair[0], buffer))
        await turns(3)
        buffer.extend(b"...")
        pair[1].send(b"four")
        assert await task == 4
        buffer.clear()

    run(loop, main())


def test_sendall_refuses_a_buffer_with_gaps(loop: Loop, pair: Pair) -> None:
    with pytest.raises((BufferError, ValueError, TypeError)):
        run(loop, loop.sock_sendall(pair[0], memoryview(b"abcdef")[::2]))


# The descriptor's other watchers


def test_a_reader_that_is_added_takes_the_descriptor_from_a_waiting_recv(loop: Loop, pair: Pair) -> None:
    left, right = pair
    calls: list[bytes] = []

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recv(left, 10))
        await turns(2)
        loop.add_reader(left, lambda: calls.append(left.recv(10)))
        right.send(b"to the reader")
        await until(lambda: calls)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        # The cancelled task has not taken the reader away.
        right.send(b"again")
        await until(lambda: len(calls) > 1)
        assert loop.remove_reader(left) is True

    run(loop, main())


def test_a_waiting_recv_takes_the_descriptor_from_a_reader(loop: Loop, pair: Pair) -> None:
    left, right = pair
    calls: list[int] = []

    async def main() -> None:
        loop.add_reader(left, calls.append, 1)
        task = asyncio.ensure_future(loop.sock_recv(left, 10))
        await turns(2)
        right.send(b"data")
        assert await task == b"data"
        assert not calls
        await turns(2)
        assert loop.remove_reader(left) is False

    run(loop, main())


def test_a_reader_can_be_removed_under_a_waiting_recv(loop: Loop, pair: Pair) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recv(pair[0], 10))
        await turns(2)
        assert loop.remove_reader(pair[0]) is True
        pair[1].send(b"x")
        await turns(5)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])

    run(loop, main())


def test_both_directions_of_a_socket_wait_at_once(loop: Loop, pair: Pair) -> None:
    left, right = pair
    data = bytes(2_000_000)

    async def main() -> None:
        receiving = asyncio.ensure_future(loop.sock_recv(left, 10))
        sending = asyncio.ensure_future(loop.sock_sendall(left, data))
        await turns(3)
        assert not receiving.done()
        assert not sending.done()
        right.send(b"back")
        assert await receiving == b"back"
        assert not sending.done()
        assert await receive_exactly(right, len(data)) == data
        await sending
        await turns(1)
        assert loop.remove_reader(left) is False
        assert loop.remove_writer(left) is False

    run(loop, main())


def test_a_writer_stays_when_a_recv_of_its_socket_ends(loop: Loop, pair: Pair) -> None:
    left, right = pair
    calls: list[int] = []

    async def main() -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                left.send(bytes(10_000))
        loop.add_writer(left, calls.append, 1)
        task = asyncio.ensure_future(loop.sock_recv(left, 10))
        await turns(2)
        right.send(b"x")
        assert await task == b"x"
        assert not calls
        with contextlib.suppress(BlockingIOError):
            while True:
                right.recv(1 << 20)
        await until(lambda: calls)
        assert loop.remove_writer(left) is True

    run(loop, main())


def test_a_transport_keeps_its_socket_to_itself(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, _):
            wrapped = transport.get_extra_info("socket")
            duplicate = socket.socket(fileno=wrapped.fileno())
            try:
                duplicate.setblocking(False)
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await loop.sock_recv(duplicate, 1)
            finally:
                duplicate.detach()

    run(loop, main())


def test_an_operation_on_a_closed_loop_fails(loop: Loop, pair: Pair) -> None:
    task = loop.sock_recv(pair[0], 1)
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        task.send(None)


def test_a_loop_can_be_closed_under_a_waiting_operation(loop: Loop, pair: Pair) -> None:
    operation = loop.sock_recv(pair[0], 1)

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        operation.send(None)

    loop.run_until_complete(main())
    loop.close()
    operation.close()


def test_the_number_of_a_closed_socket_serves_the_next(loop: Loop) -> None:
    async def main() -> None:
        for _ in range(5):
            left, right = socket_pair()
            with left, right:
                task = asyncio.ensure_future(loop.sock_recv(left, 10))
                await turns(2)
                right.send(b"x")
                assert await task == b"x"

    run(loop, main())
