"""Writing to stream transports: every kind of buffer, flow control, and what comes too late."""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import socket
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .support import (
    Loop,
    Recorder,
    listening_socket,
    receive_all,
    receive_exactly,
    run,
    socket_pair,
    transport_over,
    turns,
    until,
)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=["bytes", "bytearray", "memoryview"])
def test_every_buffer_can_be_written(loop: Loop, make: type) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            assert transport.write(make(b"data")) is None
            assert await receive_exactly(peer, 4) == b"data"

    run(loop, main())


@pytest.mark.parametrize(
    "view",
    [memoryview(bytes(range(200)))[10:150], memoryview(bytes(range(100)))[::2], memoryview(b"abcdefgh").cast("H")],
    ids=["slice", "step", "shorts"],
)
def test_unusual_views_are_sent_as_their_bytes(loop: Loop, view: memoryview) -> None:
    """Through `writelines`, which joins: a single unusual view fails in some versions of stock asyncio."""

    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            transport.writelines([bytes(view), b"end"])
            expected = view.tobytes() + b"end"
            assert await receive_exactly(peer, len(expected)) == expected

    run(loop, main())


def test_a_view_of_wide_items_is_sent_whole(loop: Loop) -> None:
    numbers = array.array("I", range(1000))

    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            transport.write(memoryview(numbers))
            assert await receive_exactly(peer, 4000) == numbers.tobytes()

    run(loop, main())


@pytest.mark.pyloop_only("stock asyncio from CPython 3.12 on keeps a view of the caller's buffer")
def test_a_buffer_changed_after_the_write_is_sent_as_it_was(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder(), buffer_size=4096) as (transport, peer):
            data = bytearray(b"a" * 300_000)
            transport.write(data)
            data[:] = b"b" * 300_000
            data.clear()
            assert await receive_exactly(peer, 300_000) == b"a" * 300_000

    run(loop, main())


@pytest.mark.parametrize("wrong", ["text", None, 5, object(), [b"x"]])
def test_what_is_no_buffer_is_refused(loop: Loop, wrong: Any) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            with pytest.raises(TypeError, match=r"bytes-like|bytes, bytearray, or memoryview"):
                transport.write(wrong)
            transport.write(b"unharmed")
            assert await receive_exactly(peer, 8) == b"unharmed"

    run(loop, main())


def test_an_empty_write_sends_nothing(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            transport.write(b"")
            assert transport.get_write_buffer_size() == 0
            transport.writelines([])
            assert transport.get_write_buffer_size() == 0
            transport.close()
            assert await receive_all(peer) == b""

    run(loop, main())


@pytest.mark.pyloop_only("stock asyncio from CPython 3.12 on spins for ever on a list of empty buffers")
def test_a_list_of_empty_buffers_sends_nothing(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            transport.writelines([b"", b""])
            assert transport.get_write_buffer_size() == 0
            transport.writelines([b"", b"x", b""])
            transport.close()
            assert await receive_all(peer) == b"x"

    run(loop, main())


def test_many_writes_arrive_in_order(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            expected = b""
            for number in range(5000):
                part = b"%d," % number
                transport.write(part)
                expected += part
                if number % 100 == 0:
                    await turns(1)
            assert await receive_exactly(peer, len(expected)) == expected

    run(loop, main())


def test_writelines_takes_any_iterable_of_buffers(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
            transport.writelines(iter([b"d", b"e"]))
            transport.writelines(b"%d" % number for number in range(3))
            assert await receive_exactly(peer, 8) == b"abcde012"

    run(loop, main())


def test_writelines_of_more_parts_than_one_system_call_takes(loop: Loop) -> None:
    parts = [b"%05d" % number for number in range(5000)]

    async def main() -> None:
        async with transport_over(Recorder(), buffer_size=4096) as (transport, peer):
            transport.writelines(parts)
            assert await receive_exactly(peer, 25_000) == b"".join(parts)

    run(loop, main())


def test_writelines_refuses_what_is_no_buffer(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, _):
            with pytest.raises(TypeError):
                transport.writelines([b"x", "text"])

    run(loop, main())


def test_a_write_in_connection_made_is_sent(loop: Loop) -> None:
    class Greeter(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"hello")

    async def main() -> None:
        async with transport_over(Greeter()) as (_, peer):
            assert await receive_exactly(peer, 5) == b"hello"

    run(loop, main())


def test_a_write_just_before_the_run_ends_is_sent(loop: Loop) -> None:
    async def main() -> tuple[Any, Any, Any]:
        protocol = Recorder()
        with listening_socket() as listener:
            transport, _ = await loop.create_connection(lambda: protocol, *listener.getsockname())
            accepted, _ = await loop.sock_accept(listener)
        transport.write(b"last words")
        return transport, protocol, accepted

    transport, protocol, accepted = run(loop, main())

    async def finish() -> None:
        assert await receive_exactly(accepted, 10) == b"last words"
        transport.close()
        await until(lambda: protocol.lost)
        accepted.close()

    run(loop, finish())


# Flow control


def test_the_default_water_marks(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, _):
            assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)

    run(loop, main())


def test_water_marks_can_be_set(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, _):
            for arguments, limits in (
                ({"high": 400}, (100, 400)),
                ({"low": 100}, (100, 400)),
                ({"high": 400, "low": 300}, (300, 400)),
                ({"high": 0}, (0, 0)),
                ({}, (16384, 65536)),
            ):
                transport.set_write_buffer_limits(**arguments)
                assert transport.get_write_buffer_limits() == limits
            for wrong in ({"high": 1, "low": 2}, {"high": -1}, {"high": 5, "low": -1}):
                with pytest.raises(ValueError, match="must be >="):
                    transport.set_write_buffer_limits(**wrong)

    run(loop, main())


def test_the_protocol_is_paused_above_high_and_resumed_at_low_water(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol, buffer_size=4096) as (transport, peer):
            transport.set_write_buffer_limits(high=50_000, low=10_000)
            transport.write(bytes(40_000))
            await turns(2)
            assert "pause_writing" not in protocol.calls
            transport.write(bytes(100_000))
            assert protocol.calls[-1] == "pause_writing"
            assert transport.get_write_buffer_size() > 50_000
            total = 0
            while "resume_writing" not in protocol.calls:
                total += len(await loop.sock_recv(peer, 1 << 16))
            assert transport.get_write_buffer_size() <= 10_000
            await receive_exactly(peer, 140_000 - total)
            assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]

    run(loop, main())


def test_with_high_water_zero_every_buffered_byte_pauses(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol, buffer_size=4096) as (transport, peer):
            transport.set_write_buffer_limits(high=0)
            transport.write(bytes(200_000))
            assert protocol.calls[-1] == "pause_writing"
            await receive_exactly(peer, 200_000)
            await until(lambda: protocol.calls[-1] == "resume_writing")
            assert transport.get_write_buffer_size() == 0

    run(loop, main())


def test_the_stream_writer_drains(loop: Loop) -> None:
    async def main() -> None:
        received = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal received
            while part := await reader.read(100_000):
                received += len(part)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(50):
            writer.write(bytes(100_000))
            await writer.drain()
            assert writer.transport.get_write_buffer_size() <= 200_000
        writer.close()
        await writer.wait_closed()
        await until(lambda: received == 5_000_000)
        server.close()
        await server.wait_closed()
        await turns(3)

    run(loop, main())


# Too late


def test_writing_after_close_is_ignored_and_finally_warned_of(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, peer):
            transport.abort()
            await until(lambda: protocol.lost)
            for _ in range(10):
                transport.write(b"too late")
            assert await receive_all(peer) == b""

    run(loop, main())
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert {record.getMessage() for record in warnings} == {"socket.send() raised exception."}
    assert 1 <= len(warnings) <= 10


def test_writing_while_closing_is_still_sent_or_ignored_but_never_an_error(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol, buffer_size=4096) as (transport, peer):
            transport.write(b"a" * 300_000)
            transport.close()
            transport.write(b"b")
            received = await receive_all(peer)
            assert received.startswith(b"a" * 300_000)
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None

    run(loop, main())


def test_a_peer_that_resets_during_a_large_write_is_told_to_connection_lost(loop: Loop) -> None:
    async def main() -> None:
        with listening_socket() as listener:
            protocol = Recorder()
            transport, _ = await loop.create_connection(lambda: protocol, *listener.getsockname())
            accepted, _ = await loop.sock_accept(listener)
            transport.write(bytes(30_000_000))
            assert transport.get_write_buffer_size() > 0
            await loop.sock_recv(accepted, 1000)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            accepted.close()
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, (ConnectionResetError, BrokenPipeError))
            assert transport.get_write_buffer_size() == 0
            assert transport.is_closing()
            transport.write(b"ignored")

    run(loop, main())


@pytest.mark.skipif(sys.platform != "linux", reason="relies on how Linux coalesces")
def test_several_writes_of_one_batch_arrive_together(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            transport.write(b"one ")
            transport.write(b"two ")
            transport.writelines([b"three"])
            assert await receive_exactly(peer, 13) == b"one two three"

    run(loop, main())


def segments_sent(sock: Any) -> int:
    """How many segments with data a TCP socket has sent: with Nagle's algorithm off, one per small `send()`."""
    # `tcpi_data_segs_out` of the kernel's `struct tcp_info`: 8 bytes, 24 words, 4 double words and 5 words before it.
    return int(struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160), 156)[0])


@contextlib.asynccontextmanager
async def tcp_transport(protocol: asyncio.Protocol) -> AsyncIterator[tuple[Any, socket.socket]]:
    """A transport over TCP, and the socket at its other end."""
    loop = asyncio.get_running_loop()
    with listening_socket() as listener:
        transport, _ = await loop.create_connection(lambda: protocol, *listener.getsockname())
        peer, _ = await loop.sock_accept(listener)
    with peer:
        yield transport, peer
        transport.close()
        await turns(3)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="counts segments as Linux does")
coalesces = pytest.mark.pyloop_only("asyncio sends inside of every write()")


@linux_only
def test_writes_of_different_batches_are_counted_as_different_sends(loop: Loop) -> None:
    """The measure of the tests below can tell."""

    async def main() -> None:
        async with tcp_transport(Recorder()) as (transport, peer):
            before = segments_sent(transport.get_extra_info("socket"))
            for number in range(10):
                transport.write(b"x")
                await receive_exactly(peer, 1)
                assert segments_sent(transport.get_extra_info("socket")) == before + number + 1

    run(loop, main())


@linux_only
@coalesces
@pytest.mark.parametrize("how", ["one callback", "a batch of callbacks", "writelines", "large and small"])
def test_writes_of_one_batch_leave_in_one_system_call(loop: Loop, how: str) -> None:
    async def main() -> None:
        async with tcp_transport(Recorder()) as (transport, peer):
            before = segments_sent(transport.get_extra_info("socket"))
            total = 10
            if how == "one callback":
                for _ in range(10):
                    transport.write(b"x")
            elif how == "a batch of callbacks":
                for _ in range(10):
                    loop.call_soon(transport.write, b"x")
            elif how == "writelines":
                transport.writelines([b"x"] * 10)
            else:
                transport.write(b"h" * 20)
                transport.write(bytearray(b"b" * 3000))
                transport.write(memoryview(b"t" * 20))
                total = 3040
            await receive_exactly(peer, total)
            assert segments_sent(transport.get_extra_info("socket")) == before + 1

    run(loop, main())


@linux_only
@coalesces
def test_the_answers_to_one_read_leave_in_one_system_call(loop: Loop) -> None:
    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for byte in data:
                self.transport.write(bytes((byte,)))

    async def main() -> None:
        async with tcp_transport(Answering()) as (transport, peer):
            before = segments_sent(transport.get_extra_info("socket"))
            peer.send(b"twenty single bytes!")
            assert await receive_exactly(peer, 20) == b"twenty single bytes!"
            assert segments_sent(transport.get_extra_info("socket")) == before + 1

    run(loop, main())


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.parametrize("then", ["wait", "close the loop"])
def test_bytes_written_while_the_loop_does_not_run_leave_at_once(loop: Loop, then: str) -> None:
    ours, theirs = socket_pair()
    with theirs:
        transport, _ = run(loop, loop.create_connection(asyncio.Protocol, sock=ours))
        transport.write(b"be")
        transport.writelines([b"", b"fore"])
        if then == "close the loop":
            loop.close()
        assert theirs.recv(100) == b"before"
        if then == "wait":
            transport.abort()
            run(loop, turns(2))
        else:
            ours.close()
