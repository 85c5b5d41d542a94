"""`connect_read_pipe` and `connect_write_pipe`: pipes, FIFOs, sockets and terminals; each end hears of the other's."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import io
import os
import pathlib
import socket
import sys
import tty
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from .support import (
    BufferedRecorder,
    Loop,
    LoopFactory,
    Recorder,
    collect_until_dead,
    open_descriptors,
    run,
    turns,
    until,
)


@contextlib.asynccontextmanager
async def reading_end(protocol: Any) -> AsyncIterator[tuple[Any, int]]:
    """A transport over the reading end of a pipe, and the descriptor of the writing end, which the block may close."""
    loop = asyncio.get_running_loop()
    ours, theirs = os.pipe()
    transport, _ = await loop.connect_read_pipe(lambda: protocol, io.FileIO(ours, "r"))
    try:
        yield transport, theirs
    finally:
        close_quietly(theirs)
        if not transport.is_closing():
            transport.close()
        await turns(3)


@contextlib.asynccontextmanager
async def writing_end(protocol: Any) -> AsyncIterator[tuple[Any, int]]:
    """A transport over the writing end of a pipe, and the descriptor of the reading end, which does not block."""
    loop = asyncio.get_running_loop()
    theirs, ours = os.pipe()
    os.set_blocking(theirs, False)
    transport, _ = await loop.connect_write_pipe(lambda: protocol, io.FileIO(ours, "w"))
    try:
        yield transport, theirs
    finally:
        close_quietly(theirs)
        if not protocol.lost:
            transport.abort()
        await turns(3)


def close_quietly(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A raw terminal's master and slave descriptors."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, slave
    close_quietly(master)
    close_quietly(slave)


async def drain_pipe(descriptor: int, count: int) -> bytes:
    """Reads that many bytes from a descriptor that does not block."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < count:
        try:
            part = os.read(descriptor, count - len(received))
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_reader(descriptor, ready.set_result, None)
            try:
                await ready
            finally:
                loop.remove_reader(descriptor)
            continue
        assert part, f"the pipe ended after {len(received)} of {count} bytes"
        received += part
    return bytes(received)


def skip_asyncio_before_311(loop: Loop, reason: str) -> None:
    if sys.version_info < (3, 11) and type(loop) is asyncio.SelectorEventLoop:
        pytest.skip(f"asyncio until 3.10: {reason}")


# Reading


def test_data_arrives_and_the_writers_end_is_told(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with reading_end(protocol) as (transport, theirs):
            os.write(theirs, b"hello")
            await until(lambda: protocol.received == b"hello")
            os.close(theirs)
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None
            assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
            assert transport.is_closing()

    run(loop, main())


def test_the_pipes_are_of_asyncios_kinds(loop: Loop) -> None:
    async def main() -> None:
        async with reading_end(Recorder()) as (reader, _), writing_end(Recorder()) as (writer, _):
            assert isinstance(reader, asyncio.ReadTransport) and not isinstance(reader, asyncio.WriteTransport)
            assert isinstance(writer, asyncio.WriteTransport)
            for transport in (reader, writer):
                pipe = transport.get_extra_info("pipe")
                assert isinstance(pipe.fileno(), int)
                assert transport.get_extra_info("no such thing", 7) == 7
                assert transport._extra["pipe"] is pipe
                assert transport._loop is loop
            assert writer.can_write_eof() is True

    run(loop, main())


def test_large_amounts_arrive_whole(loop: Loop) -> None:
    data = bytes(range(256)) * 20_000

    async def main() -> None:
        reader, writer = Recorder(), Recorder()
        ours, theirs = os.pipe()
        await loop.connect_read_pipe(lambda: reader, io.FileIO(ours, "r"))
        transport: Any
        transport, _ = await loop.connect_write_pipe(lambda: writer, io.FileIO(theirs, "w"))
        for start in range(0, len(data), 100_003):
            transport.write(data[start : start + 100_003])
        transport.close()
        await until(lambda: reader.lost and writer.lost)
        assert reader.received == data
        assert writer.calls[1:] == ["pause_writing", "resume_writing", "connection_lost"]

    run(loop, main())


def test_nothing_is_read_while_paused(loop: Loop) -> None:
    skip_asyncio_before_311(loop, "its pipes have no is_reading()")

    async def main() -> None:
        protocol = Recorder()
        async with reading_end(protocol) as (transport, theirs):
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            os.write(theirs, b"later")
            os.close(theirs)
            await turns(10)
            assert protocol.calls == ["connection_made"]
            transport.resume_reading()
            transport.resume_reading()
            await until(lambda: protocol.lost)
            assert protocol.received == b"later"
            transport.resume_reading()
            assert not transport.is_reading()

    run(loop, main())


def test_pausing_in_connection_made_holds(loop: Loop) -> None:
    skip_asyncio_before_311(loop, "it begins to read all the same")

    class Paused(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        protocol = Paused()
        async with reading_end(protocol) as (transport, theirs):
            os.write(theirs, b"later")
            await turns(10)
            assert not protocol.received
            transport.resume_reading()
            await until(lambda: protocol.received == b"later")

    run(loop, main())


def test_a_closed_reader_hears_no_more(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with reading_end(protocol) as (transport, theirs):
            pipe = transport.get_extra_info("pipe")
            os.write(theirs, b"unheard")
            transport.close()
            transport.close()
            assert transport.is_closing()
            await until(lambda: protocol.lost)
            assert protocol.calls == ["connection_made", "connection_lost"]
            assert pipe.closed
            with pytest.raises(BrokenPipeError):
                os.write(theirs, b"x")

    run(loop, main())


def test_a_protocol_that_fails_loses_nothing_but_that_data(loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if data == b"bad":
                raise LookupError("cannot take this")

    async def main() -> None:
        protocol = Failing()
        async with reading_end(protocol) as (transport, theirs):
            os.write(theirs, b"bad")
            await until(lambda: reports)
            os.write(theirs, b"good")
            await until(lambda: protocol.received == b"badgood")
            assert not transport.is_closing()

    run(loop, main())
    assert [type(report["exception"]) for report in reports] == [LookupError]


def test_a_failing_eof_received_is_reported_and_the_connection_ends(loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Failing(Recorder):
        def eof_received(self) -> None:
            raise LookupError("no end, please")

    async def main() -> None:
        protocol = Failing()
        async with reading_end(protocol) as (_, theirs):
            os.close(theirs)
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None

    run(loop, main())
    assert [type(report["exception"]) for report in reports] == [LookupError]


def test_eof_received_cannot_keep_a_pipe_open(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        protocol.keep_open_on_eof = True
        async with reading_end(protocol) as (_, theirs):
            os.close(theirs)
            await until(lambda: protocol.lost)

    run(loop, main())


def test_the_protocol_can_be_exchanged(loop: Loop) -> None:
    async def main() -> None:
        first, second = Recorder(), Recorder()
        second.calls.append("exchanged")
        async with reading_end(first) as (transport, theirs):
            assert transport.get_protocol() is first
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            os.write(theirs, b"x")
            os.close(theirs)
            await until(lambda: second.lost)
            assert second.received == b"x"
            assert first.calls == ["connection_made"]

    run(loop, main())


def test_buffered_protocols_are_not_for_pipes(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        protocol = BufferedRecorder()
        async with reading_end(protocol) as (transport, theirs):
            os.write(theirs, b"x")
            await until(lambda: reports)
            transport.close()
            await until(lambda: protocol.lost)

    run(loop, main())
    assert isinstance(reports[0]["exception"], AttributeError)


def test_a_stream_reader_over_a_pipe(loop: Loop) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        async with reading_end(asyncio.StreamReaderProtocol(reader)) as (_, theirs):
            os.write(theirs, b"line one\nline two\nrest")
            os.close(theirs)
            assert await reader.readline() == b"line one\n"
            assert await reader.read() == b"line two\nrest"

    run(loop, main())


# Writing


def test_writes_arrive_in_order_and_close_comes_after_them(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with writing_end(protocol) as (transport, theirs):
            transport.write(b"one ")
            transport.write(bytearray(b"two "))
            transport.write(memoryview(b"three "))
            transport.writelines([b"four ", memoryview(b"five"), b""])
            transport.write(b"")
            transport.close()
            assert transport.is_closing()
            await until(lambda: protocol.lost)
            assert await drain_pipe(theirs, 23) == b"one two three four five"
            assert os.read(theirs, 1) == b""

    run(loop, main())


@pytest.mark.parametrize("method", ["close", "write_eof"])
def test_what_is_in_the_buffer_is_sent_before_the_end(loop: Loop, method: str) -> None:
    data = bytes(range(256)) * 4096

    async def main() -> None:
        protocol = Recorder()
        async with writing_end(protocol) as (transport, theirs):
            transport.write(data)
            assert transport.get_write_buffer_size() > 0
            getattr(transport, method)()
            getattr(transport, method)()
            assert transport.is_closing()
            assert await drain_pipe(theirs, len(data)) == data
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None
            assert os.read(theirs, 1) == b""

    run(loop, main())


def test_abort_drops_the_buffer(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with writing_end(protocol) as (transport, theirs):
            transport.write(bytes(1 << 20))
            await turns(2)
            transport.abort()
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None
            received = 0
            while part := os.read(theirs, 1 << 16):
                received += len(part)
            assert 0 < received < 1 << 20

    run(loop, main())


def test_flow_control(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with writing_end(protocol) as (transport, theirs):
            low, high = transport.get_write_buffer_limits()
            assert low < high
            transport.set_write_buffer_limits(high=1000, low=10)
            assert transport.get_write_buffer_limits() == (10, 1000)
            with pytest.raises(ValueError, match="high"):
                transport.set_write_buffer_limits(high=1, low=2)
            data = bytes(1 << 18)
            transport.write(data)
            assert protocol.calls == ["connection_made", "pause_writing"]
            await drain_pipe(theirs, len(data))
            await until(lambda: protocol.calls[-1] == "resume_writing")
            assert transport.get_write_buffer_size() == 0

    run(loop, main())


def test_a_writer_hears_that_its_reader_is_gone(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with writing_end(protocol) as (transport, theirs):
            os.close(theirs)
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None
            assert transport.is_closing()

    run(loop, main())


def test_a_reader_that_goes_with_data_unsent_is_an_error(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with writing_end(protocol) as (transport, theirs):
            transport.write(bytes(1 << 20))
            await turns(3)
            os.close(theirs)
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, BrokenPipeError)
            assert transport.get_write_buffer_size() == 0

    run(loop, main())


def test_a_reader_that_goes_while_a_closed_writer_sends_the_rest(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with writing_end(protocol) as (transport, theirs):
            transport.write(bytes(1 << 20))
            transport.close()
            await turns(3)
            os.close(theirs)
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, BrokenPipeError)

    run(loop, main())


def test_writing_on_after_the_loss_is_forgiven_and_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with writing_end(protocol) as (transport, theirs):
            os.close(theirs)
            await until(lambda: protocol.lost)
            for _ in range(10):
                transport.write(b"too late")

    run(loop, main())
    assert "pipe closed by peer or os.write(pipe, data) raised exception." in caplog.messages


def test_writing_after_close_is_ignored(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with writing_end(protocol) as (transport, theirs):
            transport.write(b"in time")
            transport.close()
            transport.write(b"too late")
            await until(lambda: protocol.lost)
            assert os.read(theirs, 100) == b"in time"

    run(loop, main())


def test_only_bytes_are_written(loop: Loop) -> None:
    async def main() -> None:
        async with writing_end(Recorder()) as (transport, _):
            for wrong in ("text", 5, None, [b"x"]):
                with pytest.raises(AssertionError):
                    transport.write(wrong)
            with pytest.raises(TypeError):
                transport.writelines(["text"])

    run(loop, main())


# What is at the other end


def test_regular_files_are_refused(loop: Loop, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")

    async def main() -> None:
        with open(path, "rb") as file:
            with pytest.raises(ValueError, match=r"^Pipe transport is for pipes/sockets only\.$"):
                await loop.connect_read_pipe(Recorder, file)
            assert file.read() == b"content"
        with open(path, "ab") as file:
            with pytest.raises(ValueError, match=r"^Pipe transport is only for pipes, sockets and character devices$"):
                await loop.connect_write_pipe(Recorder, file)
            assert not file.closed

    run(loop, turns())  # The first run makes what every run needs.
    before = open_descriptors()
    run(loop, main())
    assert open_descriptors() == before


@pytest.mark.pyloop_only("asyncio's transport, half made, fails a second time when it is collected")
def test_what_is_no_pipe_is_refused(loop: Loop) -> None:
    async def main() -> None:
        for connect in (loop.connect_read_pipe, loop.connect_write_pipe):
            with pytest.raises(AttributeError):
                await connect(Recorder, object())
            ours, theirs = os.pipe()
            os.close(theirs)
            file = io.FileIO(ours, "r")
            os.close(ours)
            with pytest.raises(OSError, match="Bad file descriptor"):
                await connect(Recorder, file)
            with contextlib.suppress(OSError):
                file.close()

    run(loop, main())


def test_a_fifo(loop: Loop, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        reader, writer = Recorder(), Recorder()
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        await loop.connect_read_pipe(lambda: reader, io.FileIO(reading, "r"))
        transport: Any
        transport, _ = await loop.connect_write_pipe(lambda: writer, io.FileIO(path, "w"))
        transport.write(b"through a file's name")
        await until(lambda: reader.received == b"through a file's name")
        reader.transport.close()
        await until(lambda: reader.lost and writer.lost)
        assert writer.lost_with is None

    run(loop, main())


def test_sockets_are_pipes_too(loop: Loop) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        reader, writer = Recorder(), Recorder()
        await loop.connect_read_pipe(lambda: reader, one)
        transport: Any
        transport, _ = await loop.connect_write_pipe(lambda: writer, other)
        transport.write(b"hello")
        await until(lambda: reader.received == b"hello")
        reader.transport.close()
        await until(lambda: writer.lost)
        assert writer.lost_with is None
        assert one.fileno() == other.fileno() == -1

    run(loop, main())


def test_text_files_are_pipes_too(loop: Loop) -> None:
    async def main() -> None:
        reader, writer = Recorder(), Recorder()
        ours, theirs = os.pipe()
        await loop.connect_read_pipe(
            lambda: reader, io.TextIOWrapper(io.BufferedReader(io.FileIO(ours)), encoding="utf-8")
        )
        transport: Any
        transport, _ = await loop.connect_write_pipe(
            lambda: writer, io.TextIOWrapper(io.BufferedWriter(io.FileIO(theirs, "w")), encoding="utf-8")
        )
        transport.write("grüße".encode())
        transport.close()
        await until(lambda: reader.lost)
        assert reader.received == "grüße".encode()

    run(loop, main())


def test_terminals(loop: Loop, terminal: tuple[int, int]) -> None:
    master, slave = terminal

    async def main() -> None:
        reader, writer = Recorder(), Recorder()
        await loop.connect_read_pipe(lambda: reader, io.FileIO(os.dup(slave), "r"))
        transport: Any
        transport, _ = await loop.connect_write_pipe(lambda: writer, io.FileIO(os.dup(slave), "w"))
        os.write(master, b"typed")
        await until(lambda: reader.received == b"typed")
        transport.write(b"shown")
        # In place, before anything that the program prints next.
        assert os.read(master, 100) == b"shown"
        transport.close()
        reader.transport.close()
        await until(lambda: reader.lost and writer.lost)

    run(loop, main())


def test_both_directions_of_a_terminal_under_one_number(loop: Loop, terminal: tuple[int, int]) -> None:
    master, slave = terminal
    os.set_blocking(slave, False)
    data = bytes(range(1, 200)) * 2000

    async def main() -> None:
        reader, writer = Recorder(), Recorder()
        # Both in one iteration: neither has begun when the other is made.
        await asyncio.gather(
            loop.connect_read_pipe(lambda: reader, io.FileIO(master, "r", closefd=False)),
            loop.connect_write_pipe(lambda: writer, io.FileIO(master, "w", closefd=False)),
        )
        writer.transport.write(data)  # More than a terminal holds.
        assert writer.transport.get_write_buffer_size() > 0
        os.write(slave, b"answer")
        assert await drain_pipe(slave, len(data)) == data
        await until(lambda: reader.received == b"answer")
        reader.transport.close()
        await until(lambda: reader.lost)
        writer.transport.write(b"still open")
        assert await drain_pipe(slave, 10) == b"still open"
        writer.transport.close()
        await until(lambda: writer.lost)

    run(loop, main())


def test_a_callback_and_a_writing_end_under_one_number(loop: Loop, terminal: tuple[int, int]) -> None:
    master, slave = terminal
    os.set_blocking(slave, False)
    typed = bytearray()

    async def main() -> None:
        protocol = Recorder()
        loop.add_reader(slave, lambda: typed.extend(os.read(slave, 100)))
        transport: Any
        transport, _ = await loop.connect_write_pipe(lambda: protocol, io.FileIO(slave, "w", closefd=False))
        for number in range(3):
            os.write(master, b"in")
            await until(lambda: typed == b"in" * (number + 1))
            transport.write(b"out")
            assert os.read(master, 100) == b"out"
        transport.close()
        await until(lambda: protocol.lost)
        loop.remove_reader(slave)

    run(loop, main())


def test_a_reading_end_takes_the_place_of_a_callback(loop: Loop) -> None:
    calls: list[str] = []

    async def main() -> None:
        ours, theirs = os.pipe()
        loop.add_reader(ours, calls.append, "callback")
        protocol = Recorder()
        await loop.connect_read_pipe(lambda: protocol, io.FileIO(ours, "r"))
        os.write(theirs, b"x")
        os.close(theirs)
        await until(lambda: protocol.lost)
        assert protocol.received == b"x"
        assert calls == []

    run(loop, main())


def test_a_terminal_that_is_hung_up_ends_quietly(loop: Loop, terminal: tuple[int, int]) -> None:
    master, slave = terminal

    async def main() -> None:
        protocol = Recorder()
        await loop.connect_read_pipe(lambda: protocol, io.FileIO(master, "r"))
        os.write(slave, b"bye")
        await until(lambda: protocol.received == b"bye")
        os.close(slave)
        await until(lambda: protocol.lost)
        assert isinstance(protocol.lost_with, OSError)
        assert protocol.lost_with.errno == errno.EIO

    run(loop, main())


def test_the_null_device_takes_everything(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport: Any
        transport, _ = await loop.connect_write_pipe(lambda: protocol, io.FileIO(os.devnull, "w"))
        transport.write(bytes(1 << 20))
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await until(lambda: protocol.lost)

    run(loop, main())


def test_a_device_that_cannot_be_waited_for_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, _ = await loop.connect_read_pipe(lambda: protocol, io.FileIO(os.devnull, "r"))
        transport.close()
        await until(lambda: protocol.lost)

    run(loop, main())
    assert [type(report["exception"]) for report in reports] == [PermissionError]


def test_a_pipe_closed_behind_its_transport_ends_it(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        protocol = Recorder()
        ours, theirs = os.pipe()
        file = io.FileIO(ours, "r")
        transport, _ = await loop.connect_read_pipe(lambda: protocol, file)
        transport.pause_reading()
        file.close()
        os.close(theirs)
        with contextlib.suppress(OSError):
            transport.resume_reading()  # Where the kernel is asked, it knows no such descriptor.
        transport.close()
        await until(lambda: protocol.lost)

    run(loop, main())
    assert all(isinstance(report["exception"], OSError) for report in reports)


# The life of a transport


def test_repr_tells_the_state(loop: Loop) -> None:
    async def main() -> None:
        reader, writer = Recorder(), Recorder()
        async with reading_end(reader) as (transport, theirs):
            fd = transport.get_extra_info("pipe").fileno()
            assert f" fd={fd} polling>" in repr(transport)
            transport.pause_reading()
            assert f" fd={fd} idle>" in repr(transport)
            transport.close()
            assert f" closing fd={fd} " in repr(transport)
            await until(lambda: reader.lost)
            assert f" closed fd={fd} closed>" in repr(transport)
        async with writing_end(writer) as (transport, theirs):
            fd = transport.get_extra_info("pipe").fileno()
            assert f" fd={fd} idle bufsize=0>" in repr(transport)
            transport.write(bytes(1 << 20))
            await turns(2)
            assert f" fd={fd} polling bufsize=" in repr(transport)
            await drain_pipe(theirs, 1 << 20)

    run(loop, main())


@pytest.mark.parametrize("end", ["read", "write"])
def test_an_unclosed_pipe_warns_and_is_closed(loop_factory: LoopFactory, end: str) -> None:
    before = open_descriptors()
    loop = loop_factory()
    ours, theirs = os.pipe()
    file = io.FileIO(ours if end == "read" else theirs, end[0])

    async def main() -> Any:
        connect = loop.connect_read_pipe if end == "read" else loop.connect_write_pipe
        transport, _ = await connect(Recorder, file)  # type: ignore[operator]
        return transport

    transport = loop.run_until_complete(main())
    loop.close()
    assert "open" in repr(transport)
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        gc.collect()
    assert file.closed
    os.close(theirs if end == "read" else ours)
    assert open_descriptors() == before


def test_a_thousand_pipes_leave_nothing(loop: Loop) -> None:
    watched: list[weakref.ref[Any]] = []

    async def one(number: int) -> None:
        reader, writer = Recorder(), Recorder()
        ours, theirs = os.pipe()
        await loop.connect_read_pipe(lambda: reader, io.FileIO(ours, "r"))
        transport: Any
        transport, _ = await loop.connect_write_pipe(lambda: writer, io.FileIO(theirs, "w"))
        transport.write(b"x" * (number % 200_000))
        if number % 3 == 0:
            transport.abort()
        elif number % 3 == 1:
            transport.close()
        else:
            reader.transport.close()
        await until(lambda: writer.lost)
        await until(lambda: reader.lost)
        watched.extend((weakref.ref(transport), weakref.ref(reader.transport), weakref.ref(reader)))
        reader.transport = writer.transport = None

    async def main() -> None:
        for number in range(0, 1_000_000, 1000):
            await one(number)

    run(loop, one(1))
    gc.collect()
    before = open_descriptors()
    run(loop, main(), seconds=50)
    assert open_descriptors() == before
    collect_until_dead(*watched)


def test_loops_in_debug_mode_speak_of_their_pipes(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "asyncio")
    loop.set_debug(True)

    async def main() -> None:
        protocol = Recorder()
        async with reading_end(protocol) as (transport, theirs):
            transport.pause_reading()
            transport.resume_reading()
            os.close(theirs)
            await until(lambda: protocol.lost)

    run(loop, main())
    said = "\n".join(caplog.messages)
    for words in ("connected", "pauses reading", "resumes reading", "was closed by peer"):
        assert words in said
