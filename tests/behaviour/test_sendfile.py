"""`sendfile` and `sock_sendfile`: what arrives, where the file stands afterwards, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import os
import socket
from asyncio import unix_events
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from .support import Loop, Recorder, open_descriptors, receive_all, receive_exactly, run, turns, until

# More than the buffers of both ends of a connection hold.
SIZE = 12_000_000
DATA = os.urandom(1 << 16) * (SIZE >> 16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def file(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        yield file


Sender = Callable[..., Awaitable[int]]


@contextlib.asynccontextmanager
async def sending(way: str) -> AsyncIterator[tuple[Sender, socket.socket]]:
    """Sends by one of the two methods; and the socket at the other end of a TCP connection."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    ours.setblocking(False)
    peer.setblocking(False)
    with ours, peer:
        if way == "sock_sendfile":
            yield lambda *args, **options: loop.sock_sendfile(ours, *args, **options), peer
            return
        transport, protocol = await loop.create_connection(Recorder, sock=ours)

        async def send(*args: Any, **options: Any) -> int:
            return await loop.sendfile(transport, *args, **options)

        send.transport = transport  # type: ignore[attr-defined]
        send.protocol = protocol  # type: ignore[attr-defined]
        try:
            yield send, peer
        finally:
            peer.close()
            if not transport.is_closing():
                transport.abort()
            await until(lambda: protocol.lost)


both_ways = pytest.mark.parametrize("way", ["sock_sendfile", "sendfile"])


@both_ways
def test_a_whole_file_arrives(loop: Loop, file: BinaryIO, way: str) -> None:
    async def main() -> None:
        async with sending(way) as (send, peer):
            received, sent = await asyncio.gather(receive_exactly(peer, len(DATA)), send(file))
            assert sent == len(DATA)
            assert received == DATA
            assert file.tell() == len(DATA)

    run(loop, main())


@both_ways
@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [
        (0, 1000, 1000),
        (5000, 1000, 1000),
        (5000, None, len(DATA) - 5000),
        (len(DATA) - 10, 1000, 10),
        (len(DATA), None, 0),
        (len(DATA) + 10, 10, 0),
    ],
)
def test_a_part_of_a_file(loop: Loop, file: BinaryIO, way: str, offset: int, count: int | None, expected: int) -> None:
    async def main() -> None:
        async with sending(way) as (send, peer):
            received, sent = await asyncio.gather(receive_exactly(peer, expected), send(file, offset, count))
            assert sent == expected
            assert received == DATA[offset : offset + expected]
            if expected:
                assert file.tell() == offset + expected

    run(loop, main())


@both_ways
def test_where_the_file_stands_if_nothing_was_sent(loop: Loop, file: BinaryIO, way: str) -> None:
    """Versions differ in this, and pyloop with them."""
    file.seek(7)

    async def main() -> None:
        async with sending(way) as (send, _peer):
            assert await send(file, len(DATA), None) == 0

    run(loop, main())
    step = unix_events._UnixSelectorEventLoop._sock_sendfile_update_filepos  # type: ignore[attr-defined]
    moves = "total_sent" not in inspect.signature(step).parameters
    assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == (len(DATA) if moves else 7)


@both_ways
def test_an_empty_file_is_sent_at_once(loop: Loop, tmp_path: Path, way: str) -> None:
    empty = tmp_path / "empty"
    empty.touch()

    async def main() -> None:
        with empty.open("rb") as file:
            async with sending(way) as (send, _peer):
                assert await send(file) == 0
                assert await send(file, 0, 10) == 0

    run(loop, main())


@both_ways
def test_what_the_kernel_cannot_send_is_read_and_sent(loop: Loop, way: str) -> None:
    async def main() -> None:
        async with sending(way) as (send, peer):
            file = io.BytesIO(DATA)
            received, sent = await asyncio.gather(receive_exactly(peer, len(DATA)), send(file))
            assert (sent, received) == (len(DATA), DATA)
            assert file.tell() == len(DATA)
            received, sent = await asyncio.gather(receive_exactly(peer, 100), send(file, 50, 100))
            assert (sent, received) == (100, DATA[50:150])
            assert file.tell() == 150
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await send(file, fallback=False)
        await loop.shutdown_default_executor()

    run(loop, main())


@both_ways
def test_a_file_of_another_kind_is_not_available(loop: Loop, way: str) -> None:
    """A pipe has a descriptor, and `os.sendfile()` does not take it."""

    async def main() -> None:
        ends = os.pipe()
        try:
            async with sending(way) as (send, _peer):
                with (
                    os.fdopen(ends[0], "rb", closefd=False) as file,
                    pytest.raises((asyncio.SendfileNotAvailableError, OSError)),
                ):
                    await send(file, 0, 10, fallback=False)
        finally:
            for end in ends:
                os.close(end)

    run(loop, main())


@both_ways
def test_wrong_arguments_are_refused(loop: Loop, path: Path, file: BinaryIO, way: str) -> None:
    async def main() -> None:
        async with sending(way) as (send, _peer):
            with path.open("r") as text, pytest.raises(ValueError, match="binary mode"):
                await send(text)
            for count in (0, -1):
                with pytest.raises(ValueError, match="count must be a positive integer"):
                    await send(file, 0, count)
            with pytest.raises(TypeError, match="count must be a positive integer"):
                await send(file, 0, "1")
            with pytest.raises(ValueError, match="offset must be a non-negative integer"):
                await send(file, -1)
            with pytest.raises(TypeError, match="offset must be a non-negative integer"):
                await send(file, 1.5)
            closed = path.open("rb")
            closed.close()
            with pytest.raises(ValueError, match="closed file"):
                await send(closed)

    run(loop, main())


def test_only_stream_sockets_send_files(loop: Loop, file: BinaryIO) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.setblocking(False)
        with pytest.raises(ValueError, match="only SOCK_STREAM type sockets are supported"):
            run(loop, loop.sock_sendfile(datagrams, file))


def test_a_blocking_socket_is_refused_in_debug_mode(loop: Loop, file: BinaryIO) -> None:
    loop.set_debug(True)
    with socket.socket() as blocking, pytest.raises(ValueError, match="the socket must be non-blocking"):
        run(loop, loop.sock_sendfile(blocking, file))


def test_a_closing_transport_sends_no_file(loop: Loop, file: BinaryIO) -> None:
    async def main() -> None:
        async with sending("sendfile") as (send, _peer):
            send.transport.close()  # type: ignore[attr-defined]
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await send(file)

    run(loop, main())


def test_a_transport_that_is_none_sends_no_file(loop: Loop, file: BinaryIO) -> None:
    class Unknown(asyncio.Transport):
        def is_closing(self) -> bool:
            return False

    with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
        run(loop, loop.sendfile(Unknown(), file))


def test_what_was_written_before_arrives_before(loop: Loop, file: BinaryIO) -> None:
    head, tail = b"head" * 500_000, b"tail"

    async def main() -> None:
        async with sending("sendfile") as (send, peer):
            transport = send.transport  # type: ignore[attr-defined]
            receiving = asyncio.ensure_future(receive_exactly(peer, len(head) + 1000 + len(tail)))
            transport.write(head)
            await send(file, 0, 1000)
            transport.write(tail)
            assert await receiving == head + DATA[:1000] + tail

    run(loop, main())


def test_writing_and_reading_rest_while_a_file_is_sent(loop: Loop, file: BinaryIO) -> None:
    async def main() -> None:
        async with sending("sendfile") as (send, peer):
            transport, protocol = send.transport, send.protocol  # type: ignore[attr-defined]
            task = asyncio.ensure_future(send(file))
            await turns(3)
            assert not task.done()
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                transport.write(b"x")
            assert not transport.is_reading()
            peer.send(b"hello")
            await turns(3)
            assert not protocol.received
            assert await receive_exactly(peer, len(DATA)) == DATA
            await task
            assert transport.is_reading()
            await until(lambda: protocol.received == b"hello")
            transport.write(b"more")
            assert await receive_exactly(peer, 4) == b"more"

    run(loop, main())


@pytest.mark.pyloop_only("asyncio stumbles over its table of transports, with a KeyError")
def test_a_second_file_is_refused_and_the_first_arrives(loop: Loop, file: BinaryIO) -> None:
    async def main() -> None:
        async with sending("sendfile") as (send, peer):
            transport = send.transport  # type: ignore[attr-defined]
            first = asyncio.ensure_future(send(file))
            await turns(3)
            for _ in range(2):
                with pytest.raises(RuntimeError, match="Empty waiter is already set"):
                    await send(file)
            assert await receive_exactly(peer, len(DATA)) == DATA
            assert await first == len(DATA)
            assert transport.is_reading()
            transport.write(b"after")
            assert await receive_exactly(peer, 5) == b"after"

    run(loop, main())


def test_a_transport_that_was_paused_stays_paused(loop: Loop, file: BinaryIO) -> None:
    async def main() -> None:
        async with sending("sendfile") as (send, peer):
            transport = send.transport  # type: ignore[attr-defined]
            transport.pause_reading()
            await asyncio.gather(receive_exactly(peer, len(DATA)), send(file))
            assert not transport.is_reading()

    run(loop, main())


@pytest.mark.pyloop_only("asyncio leaves the file where it was, though some of it is sent")
@both_ways
def test_a_cancelled_sendfile_leaves_the_file_where_it_stopped(loop: Loop, file: BinaryIO, way: str) -> None:
    async def main() -> None:
        async with sending(way) as (send, peer):
            task = asyncio.ensure_future(send(file))
            await turns(5)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns(3)
            sent = os.lseek(file.fileno(), 0, os.SEEK_CUR)
            assert 0 < sent < len(DATA)
            assert await receive_exactly(peer, sent) == DATA[:sent]
            # The rest can be sent afterwards.
            received, count = await asyncio.gather(receive_exactly(peer, len(DATA) - sent), send(file, sent))
            assert (received, count) == (DATA[sent:], len(DATA) - sent)

    run(loop, main())


@both_ways
def test_a_peer_that_goes_away_is_a_connection_error(loop: Loop, file: BinaryIO, way: str) -> None:
    async def main() -> None:
        async with sending(way) as (send, peer):
            task = asyncio.ensure_future(send(file))
            await turns(3)
            await receive_exactly(peer, 1000)
            peer.close()
            with pytest.raises(ConnectionError):
                await task
            sent = os.lseek(file.fileno(), 0, os.SEEK_CUR)
            assert 1000 <= sent < len(DATA)

    run(loop, main())


@pytest.mark.pyloop_only("asyncio forgets who waits for a transport that is aborted: the call never ends")
@pytest.mark.parametrize("ending", ["close", "abort"])
def test_closing_the_transport_ends_its_sendfile(loop: Loop, file: BinaryIO, ending: str) -> None:
    async def main() -> None:
        async with sending("sendfile") as (send, _peer):
            task = asyncio.ensure_future(send(file))
            await turns(5)
            getattr(send.transport, ending)()  # type: ignore[attr-defined]
            with pytest.raises(ConnectionError):
                await task

    run(loop, main())


@both_ways
def test_other_callbacks_run_between_the_parts_of_a_file(loop: Loop, file: BinaryIO, way: str) -> None:
    async def main() -> int:
        async with sending(way) as (send, peer):
            count = 0

            def tick() -> None:
                nonlocal count
                count += 1
                if not task.done():
                    loop.call_soon(tick)

            task = asyncio.ensure_future(send(file))
            tick()
            await asyncio.gather(receive_exactly(peer, len(DATA)), task)
            return count

    assert run(loop, main()) > 5


@both_ways
def test_a_thousand_files_leave_no_descriptors(loop: Loop, path: Path, way: str) -> None:
    async def main() -> None:
        async with sending(way) as (send, peer):
            with path.open("rb") as file:
                before = open_descriptors()
                for _ in range(1000):
                    await send(file, 0, 100)
                    await receive_exactly(peer, 100)
                assert open_descriptors() == before

    run(loop, main())


def test_a_unix_socket_sends_files_too(loop: Loop, file: BinaryIO) -> None:
    left, right = socket.socketpair()

    async def main() -> None:
        left.setblocking(False)
        right.setblocking(False)
        with right:
            with left:
                received, sent = await asyncio.gather(receive_exactly(right, len(DATA)), loop.sock_sendfile(left, file))
                assert (received, sent) == (DATA, len(DATA))
            assert await receive_all(right) == b""

    run(loop, main())
