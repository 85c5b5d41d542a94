"""The `sock_*` coroutines, and what cancelling them leaves behind."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Iterator

import pytest
from ports import LOCALHOST, REFUSING_DATAGRAM_PORT, REFUSING_PORT

from .support import Loop, listening_socket, receive_all, receive_exactly, run, socket_pair, turns

Pair = tuple[socket.socket, socket.socket]
recvfrom = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="sock_recvfrom and sock_sendto are new in CPython 3.11"
)


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket_pair()
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def datagram_pair() -> Iterator[Pair]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for one in sockets:
        one.setblocking(False)
        one.bind(("127.0.0.1", 0))
    yield sockets[0], sockets[1]
    for one in sockets:
        one.close()


def test_recv_returns_what_is_there(loop: Loop, pair: Pair) -> None:
    left, right = pair
    right.send(b"hello")
    data = run(loop, loop.sock_recv(left, 100))
    assert data == b"hello"
    assert type(data) is bytes


def test_recv_waits_for_data(loop: Loop, pair: Pair) -> None:
    left, right = pair

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recv(left, 100))
        await turns(3)
        assert not task.done()
        right.send(b"late")
        assert await task == b"late"

    run(loop, main())


def test_recv_returns_nothing_at_the_end(loop: Loop, pair: Pair) -> None:
    pair[1].close()
    assert run(loop, loop.sock_recv(pair[0], 100)) == b""


def test_recv_takes_no_more_than_asked_for(loop: Loop, pair: Pair) -> None:
    pair[1].send(b"abcdef")

    async def main() -> list[bytes]:
        return [await loop.sock_recv(pair[0], 2) for _ in range(3)]

    assert run(loop, main()) == [b"ab", b"cd", b"ef"]


def test_recv_refuses_a_negative_size(loop: Loop, pair: Pair) -> None:
    with pytest.raises(ValueError, match="negative buffersize"):
        run(loop, loop.sock_recv(pair[0], -1))


def test_recv_into_fills_the_buffer(loop: Loop, pair: Pair) -> None:
    left, right = pair
    buffer = bytearray(b"........")

    async def main() -> None:
        right.send(b"abc")
        assert await loop.sock_recv_into(left, buffer) == 3
        task = asyncio.ensure_future(loop.sock_recv_into(left, memoryview(buffer)[3:5]))
        await turns(3)
        right.send(b"defgh")
        assert await task == 2

    run(loop, main())
    assert buffer == b"abcde..."


def test_recv_into_refuses_what_is_no_writable_buffer(loop: Loop, pair: Pair) -> None:
    pair[1].send(b"x")
    for wrong in (b"constant", "text", None):
        with pytest.raises((TypeError, BufferError)):
            run(loop, loop.sock_recv_into(pair[0], wrong))  # type: ignore[arg-type]


def test_sendall_sends_everything(loop: Loop, pair: Pair) -> None:
    left, right = pair
    data = bytes(range(256)) * 20_000

    async def main() -> None:
        received, _ = await asyncio.gather(receive_exactly(right, len(data)), loop.sock_sendall(left, data))
        assert received == data

    run(loop, main())


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=["bytes", "bytearray", "memoryview"])
def test_sendall_takes_any_buffer(loop: Loop, pair: Pair, make: type) -> None:
    async def main() -> None:
        assert await loop.sock_sendall(pair[0], make(b"data")) is None  # type: ignore[func-returns-value]
        assert await loop.sock_recv(pair[1], 100) == b"data"
        assert await loop.sock_sendall(pair[0], make(b"")) is None  # type: ignore[func-returns-value]

    run(loop, main())


def test_sendall_refuses_text(loop: Loop, pair: Pair) -> None:
    with pytest.raises(TypeError):
        run(loop, loop.sock_sendall(pair[0], "text"))  # type: ignore[arg-type]


def test_sendall_to_a_closed_peer_fails(loop: Loop, pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(BrokenPipeError):
        run(loop, loop.sock_sendall(pair[0], b"x"))


def test_sendall_notices_that_the_peer_goes_away(loop: Loop, pair: Pair) -> None:
    left, right = pair

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_sendall(left, bytes(10_000_000)))
        await turns(3)
        assert not task.done()
        right.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await task

    run(loop, main())


def test_connect_and_accept(loop: Loop) -> None:
    async def main() -> None:
        with listening_socket() as listener, socket.socket() as client:
            client.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            assert await loop.sock_connect(client, listener.getsockname()) is None  # type: ignore[func-returns-value]
            accepted, address = await accepting
            with accepted:
                assert address == client.getsockname()
                assert accepted.gettimeout() == 0
                assert accepted.get_inheritable() is False
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(accepted, 10) == b"hello"

    run(loop, main())


def test_connect_resolves_names(loop: Loop) -> None:
    async def main() -> None:
        with listening_socket() as listener, socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
            assert client.getpeername() == listener.getsockname()
        await loop.shutdown_default_executor()

    run(loop, main())


def test_connect_over_unix_sockets(loop: Loop, tmp_path: object) -> None:
    path = f"{tmp_path}/socket"

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.setblocking(False)
            client.setblocking(False)
            listener.bind(path)
            listener.listen()
            await loop.sock_connect(client, path)
            accepted, _ = await loop.sock_accept(listener)
            accepted.close()

    run(loop, main())


def test_a_refused_connection_is_an_error(loop: Loop) -> None:
    with socket.socket() as client:
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            run(loop, loop.sock_connect(client, (LOCALHOST, REFUSING_PORT)))


def test_accepting_where_nobody_listens_is_an_error(loop: Loop, pair: Pair) -> None:
    with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is looked at
        run(loop, loop.sock_accept(pair[0]))
    assert refused.value.errno == errno.EINVAL


@recvfrom
@pytest.mark.parametrize(("size", "error"), [(-1, ValueError), ("1", TypeError), (10**30, OverflowError)])
def test_a_wrong_size_of_a_datagram_is_an_error(
    loop: Loop, datagram_pair: Pair, size: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(loop, loop.sock_recvfrom(datagram_pair[0], size))  # type: ignore[arg-type]


@recvfrom
@pytest.mark.parametrize(
    ("buffer", "size", "error"),
    [(bytearray(4), -1, ValueError), (bytearray(4), 5, ValueError), (b"1234", 0, TypeError)],
)
def test_a_wrong_buffer_for_a_datagram_is_an_error(
    loop: Loop, datagram_pair: Pair, buffer: object, size: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(loop, loop.sock_recvfrom_into(datagram_pair[0], buffer, size))  # type: ignore[arg-type]


@recvfrom
def test_receiving_from_a_listener_is_an_error(loop: Loop) -> None:
    with listening_socket() as listener:
        listener.setblocking(False)
        with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is looked at
            run(loop, loop.sock_recvfrom(listener, 1))
    assert refused.value.errno == errno.ENOTCONN


@recvfrom
def test_a_peer_that_refuses_datagrams_is_an_error(loop: Loop, datagram_pair: Pair) -> None:
    left, _ = datagram_pair
    left.connect((LOCALHOST, REFUSING_DATAGRAM_PORT))
    left.send(b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        run(loop, loop.sock_recvfrom(left, 1))


def test_a_closed_socket_is_an_error(loop: Loop, pair: Pair) -> None:
    left, _ = pair
    left.close()
    for attempt in (loop.sock_recv(left, 1), loop.sock_recv_into(left, bytearray(1)), loop.sock_sendall(left, b"x")):
        with pytest.raises((OSError, ValueError)):
            run(loop, attempt)


# Cancellation


def test_a_cancelled_recv_loses_no_data(loop: Loop, pair: Pair) -> None:
    left, right = pair

    async def main() -> None:
        for number in range(50):
            task = asyncio.ensure_future(loop.sock_recv(left, 100))
            await turns(2)
            if number % 2:
                right.send(b"x")
            else:
                loop.call_soon(right.send, b"x")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await loop.sock_recv(left, 100) == b"x"

    run(loop, main())


def test_a_recv_cancelled_at_the_moment_of_arrival_loses_no_data(loop: Loop, pair: Pair) -> None:
    left, right = pair

    async def main() -> None:
        for delay in range(6):
            task = asyncio.ensure_future(loop.sock_recv(left, 100))
            await turns(2)
            right.send(b"x")
            await turns(delay)
            task.cancel()
            try:
                received = await task
            except asyncio.CancelledError:
                received = b""
                # What a done future held when the task was cancelled is the caller's loss on stock asyncio too,
                # so the peer sends once more: the next receiver must get the new data, and not hang.
            right.send(b"y")
            assert b"y" in received + await loop.sock_recv(left, 100)

    run(loop, main())


def test_a_cancelled_recv_watches_no_more(loop: Loop, pair: Pair) -> None:
    left, _ = pair

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recv(left, 100))
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns(2)
        assert loop.remove_reader(left) is False

    run(loop, main())


def test_a_cancelled_sendall_watches_no_more(loop: Loop, pair: Pair) -> None:
    left, _ = pair

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_sendall(left, bytes(10_000_000)))
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns(2)
        assert loop.remove_writer(left) is False

    run(loop, main())


def test_a_cancelled_accept_leaves_the_connection_for_the_next(loop: Loop) -> None:
    async def main() -> None:
        with listening_socket() as listener, socket.socket() as client:
            client.setblocking(False)
            task = asyncio.ensure_future(loop.sock_accept(listener))
            await turns(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await loop.sock_connect(client, listener.getsockname())
            accepted, _ = await loop.sock_accept(listener)
            accepted.close()

    run(loop, main())


def test_a_cancelled_connect_watches_no_more(loop: Loop) -> None:
    async def main() -> None:
        # A listener whose backlog is full makes the next connection wait.
        with listening_socket(backlog=0) as listener, socket.socket() as first, socket.socket() as second:
            for client in (first, second):
                client.setblocking(False)
            await loop.sock_connect(first, listener.getsockname())
            task = asyncio.ensure_future(loop.sock_connect(second, listener.getsockname()))
            await turns(3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns(2)
            assert loop.remove_writer(second) is False

    run(loop, main())


def test_timeouts_around_recv_work(loop: Loop, pair: Pair) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.sock_recv(pair[0], 1), 0.001)
        pair[1].close()
        assert await receive_all(pair[0]) == b""

    run(loop, main())


# Datagrams


@recvfrom
def test_recvfrom_and_sendto(loop: Loop, datagram_pair: Pair) -> None:
    left, right = datagram_pair

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recvfrom(left, 100))
        await turns(2)
        assert await loop.sock_sendto(right, b"datagram", left.getsockname()) == 8
        assert await task == (b"datagram", right.getsockname())

    run(loop, main())


@recvfrom
def test_recvfrom_into(loop: Loop, datagram_pair: Pair) -> None:
    left, right = datagram_pair
    buffer = bytearray(8)

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recvfrom_into(left, buffer))
        await turns(2)
        await loop.sock_sendto(right, b"four", left.getsockname())
        assert await task == (4, right.getsockname())
        await loop.sock_sendto(right, b"five!", left.getsockname())
        assert await loop.sock_recvfrom_into(left, buffer, 2) == (2, right.getsockname())

    run(loop, main())
    assert bytes(buffer[:4]) == b"fiur"


@recvfrom
def test_a_cancelled_recvfrom_loses_no_datagram(loop: Loop, datagram_pair: Pair) -> None:
    left, right = datagram_pair

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recvfrom(left, 100))
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await loop.sock_sendto(right, b"kept", left.getsockname())
        assert (await loop.sock_recvfrom(left, 100))[0] == b"kept"

    run(loop, main())
