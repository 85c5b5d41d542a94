"""`add_reader` and `add_writer`: level-triggered watching of descriptors."""

from __future__ import annotations

import os
import socket
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from .support import (
    Loop,
    Recorder,
    collect_until_dead,
    receive_exactly,
    run,
    run_until,
    socket_pair,
    transport_over,
    turn,
    until,
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair(loop: Loop) -> Iterator[Pair]:
    left, right = socket_pair()
    yield left, right
    if not loop.is_closed() and left.fileno() >= 0:
        loop.remove_reader(left)
        loop.remove_writer(left)
    left.close()
    right.close()


def test_a_reader_is_called_with_its_arguments_when_there_is_data(loop: Loop, pair: Pair) -> None:
    left, right = pair
    seen: list[Any] = []
    loop.add_reader(left, lambda *args: (seen.append(args), left.recv(10)), 1, "two")  # type: ignore[func-returns-value]
    turn(loop, 3)
    assert seen == []
    right.send(b"x")
    run_until(loop, lambda: seen)
    turn(loop, 3)
    assert seen == [(1, "two")]


def test_a_reader_is_called_again_while_data_is_left(loop: Loop, pair: Pair) -> None:
    left, right = pair
    seen: list[bytes] = []
    loop.add_reader(left, lambda: seen.append(left.recv(1)))
    right.send(b"abc")
    run_until(loop, lambda: len(seen) == 3)
    turn(loop, 3)
    assert seen == [b"a", b"b", b"c"]


def test_a_reader_that_reads_nothing_is_called_every_iteration(loop: Loop, pair: Pair) -> None:
    left, right = pair
    seen: list[int] = []
    loop.add_reader(left, seen.append, 1)
    right.send(b"x")
    run_until(loop, lambda: len(seen) >= 10)


def test_a_reader_is_called_at_the_end_of_the_stream(loop: Loop, pair: Pair) -> None:
    left, right = pair
    seen: list[bytes] = []
    loop.add_reader(left, lambda: seen.append(left.recv(1)))
    right.close()
    run_until(loop, lambda: seen)
    assert seen[0] == b""


def test_a_writer_is_called_while_there_is_room(loop: Loop, pair: Pair) -> None:
    left, _ = pair
    seen: list[int] = []
    loop.add_writer(left, seen.append, 1)
    run_until(loop, lambda: len(seen) >= 3)
    assert loop.remove_writer(left) is True
    count = len(seen)
    turn(loop, 3)
    assert len(seen) == count


def test_a_writer_waits_until_the_peer_has_read(loop: Loop, pair: Pair) -> None:
    left, right = pair
    with pytest.raises(BlockingIOError):
        while True:
            left.send(bytes(65536))
    seen: list[int] = []
    loop.add_writer(left, seen.append, 1)
    turn(loop, 3)
    assert seen == []
    with pytest.raises(BlockingIOError):
        while True:
            right.recv(1 << 20)
    run_until(loop, lambda: seen)


def test_reading_and_writing_are_watched_side_by_side(loop: Loop, pair: Pair) -> None:
    left, right = pair
    seen: set[str] = set()
    loop.add_reader(left, seen.add, "read")
    loop.add_writer(left, seen.add, "write")
    right.send(b"x")
    run_until(loop, lambda: len(seen) == 2)
    assert loop.remove_writer(left) is True
    seen.clear()
    run_until(loop, lambda: seen)
    turn(loop, 2)
    assert seen == {"read"}
    loop.add_writer(left, seen.add, "write")
    assert loop.remove_reader(left) is True
    seen.clear()
    run_until(loop, lambda: seen)
    turn(loop, 2)
    assert seen == {"write"}


def test_one_event_calls_reader_before_writer(loop: Loop, pair: Pair) -> None:
    left, right = pair
    seen: list[str] = []
    loop.add_writer(left, seen.append, "write")
    loop.add_reader(left, seen.append, "read")
    right.send(b"x")
    run_until(loop, lambda: len(seen) >= 2)
    assert seen[:2] == ["read", "write"]


def test_a_second_reader_replaces_the_first(loop: Loop, pair: Pair) -> None:
    left, right = pair
    seen: list[str] = []
    loop.add_reader(left, seen.append, "first")
    loop.add_reader(left, seen.append, "second")
    right.send(b"x")
    run_until(loop, lambda: seen)
    assert set(seen) == {"second"}


def test_removing_tells_whether_there_was_anything(loop: Loop, pair: Pair) -> None:
    left, _ = pair
    assert loop.remove_reader(left) is False
    assert loop.remove_writer(left) is False
    loop.add_reader(left, print)
    loop.add_writer(left, print)
    assert loop.remove_reader(left) is True
    assert loop.remove_reader(left) is False
    assert loop.remove_writer(left) is True
    assert loop.remove_writer(left) is False


def test_a_reader_may_remove_itself_and_its_writer(loop: Loop, pair: Pair) -> None:
    left, right = pair
    seen: list[str] = []

    def reader() -> None:
        seen.append("read")
        loop.remove_reader(left)
        loop.remove_writer(left)

    loop.add_reader(left, reader)
    right.send(b"x")
    loop.add_writer(left, lambda: "read" in seen and seen.append("write after removal"))  # type: ignore[func-returns-value]
    run_until(loop, lambda: seen)
    turn(loop, 3)
    assert seen == ["read"]


def test_a_reader_may_remove_another_of_the_same_batch(loop: Loop, pair: Pair) -> None:
    left, right = pair
    seen: list[str] = []

    def whoever_is_first(other: socket.socket) -> None:
        seen.append("called")
        loop.remove_reader(other)
        loop.remove_reader(left)
        loop.remove_reader(right)

    loop.add_reader(left, whoever_is_first, right)
    loop.add_reader(right, whoever_is_first, left)
    left.send(b"x")
    right.send(b"x")
    run_until(loop, lambda: seen)
    turn(loop, 3)
    assert seen == ["called"]


def test_an_integer_and_an_object_with_fileno_name_the_same_watch(loop: Loop, pair: Pair) -> None:
    left, right = pair

    class WithFileno:
        def fileno(self) -> int:
            return left.fileno()

    seen: list[str] = []
    loop.add_reader(left.fileno(), seen.append, "first")
    loop.add_reader(WithFileno(), seen.append, "second")
    right.send(b"x")
    run_until(loop, lambda: seen)
    assert set(seen) == {"second"}
    assert loop.remove_reader(left) is True
    assert loop.remove_reader(left.fileno()) is False


def test_pipes_can_be_watched(loop: Loop) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    seen: list[bytes] = []
    loop.add_reader(reading, lambda: seen.append(os.read(reading, 10)))
    os.write(writing, b"data")
    run_until(loop, lambda: seen)
    os.close(writing)
    run_until(loop, lambda: len(seen) >= 2)
    loop.remove_reader(reading)
    os.close(reading)
    assert seen[:2] == [b"data", b""]


def test_a_watch_keeps_its_callback_alive_no_longer_than_needed(loop: Loop, pair: Pair) -> None:
    class Callback:
        def __call__(self) -> None: ...

    callback = Callback()
    watched = weakref.ref(callback)
    loop.add_reader(pair[0], callback)
    loop.add_writer(pair[0], callback)
    del callback
    assert watched() is not None
    loop.remove_reader(pair[0])
    loop.remove_writer(pair[0])
    turn(loop, 2)
    collect_until_dead(watched)


def test_a_closed_loop_has_nothing_to_remove(loop: Loop, pair: Pair) -> None:
    loop.add_reader(pair[0], print)
    loop.close()
    assert not loop.remove_reader(pair[0])
    assert not loop.remove_writer(pair[0])


# Descriptors that cannot be watched


@pytest.mark.parametrize("wrong", [-1, -5, -(2**31)])
def test_negative_descriptors_are_refused(loop: Loop, wrong: int) -> None:
    for call in (loop.add_reader, loop.add_writer):
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            call(wrong, print)
    for remove in (loop.remove_reader, loop.remove_writer):
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            remove(wrong)


@pytest.mark.parametrize("wrong", [2**31, 2**63, 2**200])
def test_absurd_descriptors_are_refused(loop: Loop, wrong: int) -> None:
    for call in (loop.add_reader, loop.add_writer):
        with pytest.raises((OverflowError, ValueError)):
            call(wrong, print)


@pytest.mark.parametrize("wrong", [None, "0", 1.5, object()])
def test_what_is_no_descriptor_is_refused(loop: Loop, wrong: Any) -> None:
    for call in (loop.add_reader, loop.add_writer):
        with pytest.raises((ValueError, TypeError)):
            call(wrong, print)


def test_a_descriptor_that_is_not_open_is_refused(loop: Loop) -> None:
    for call in (loop.add_reader, loop.add_writer):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call(1_000_000, print)
    assert loop.remove_reader(1_000_000) is False


def test_a_closed_socket_is_refused(loop: Loop) -> None:
    left, right = socket_pair()
    left.close()
    right.close()
    with pytest.raises(ValueError, match="Invalid file"):
        loop.add_reader(left, print)


def test_a_regular_file_is_refused(loop: Loop) -> None:
    with tempfile.TemporaryFile() as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
        with pytest.raises(PermissionError):
            loop.add_writer(file, print)
        assert loop.remove_reader(file) is False


def test_a_descriptor_closed_while_watched_harms_nobody(loop: Loop) -> None:
    left, right = socket_pair()
    number = left.fileno()
    loop.add_reader(left, print)
    left.close()
    right.close()
    turn(loop, 2)
    loop.remove_reader(number)
    fresh_left, fresh_right = socket_pair()
    seen: list[str] = []
    loop.add_reader(fresh_left, seen.append, "fresh")
    fresh_right.send(b"x")
    run_until(loop, lambda: seen)
    loop.remove_reader(fresh_left)
    fresh_left.close()
    fresh_right.close()


def test_a_number_used_again_after_removal_is_watched_again(loop: Loop) -> None:
    for _ in range(20):
        left, right = socket_pair()
        seen: list[str] = []
        loop.add_reader(left, seen.append, "readable")
        right.send(b"x")
        run_until(loop, lambda seen=seen: seen)  # type: ignore[misc]
        assert loop.remove_reader(left)
        left.close()
        right.close()


def test_the_descriptor_of_a_transport_is_refused(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, _):
            descriptor = transport.get_extra_info("socket").fileno()
            for call in (
                lambda: loop.add_reader(descriptor, print),
                lambda: loop.add_writer(descriptor, print),
                lambda: loop.remove_reader(descriptor),
                lambda: loop.remove_writer(descriptor),
            ):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    call()

    run(loop, main())


def test_the_descriptor_of_a_closing_transport_can_be_watched_until_it_is_closed(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        calls: list[int] = []
        async with transport_over(protocol) as (transport, peer):
            descriptor = transport.get_extra_info("socket").fileno()
            transport.close()
            assert not protocol.lost
            loop.add_reader(descriptor, calls.append, 1)
            loop.add_writer(descriptor, calls.append, 2)
            assert loop.remove_writer(descriptor) is True
            assert loop.remove_reader(descriptor) is True
            assert loop.remove_reader(descriptor) is False
            loop.add_reader(descriptor, calls.append, 3)
            await until(lambda: protocol.lost)
            # The socket is closed, and its watcher an orphan: the next user of the number is not disturbed by it.
            assert loop.remove_reader(descriptor) is True
            del peer
        assert protocol.lost_with is None

    run(loop, main())


@pytest.mark.pyloop_only("asyncio hands a descriptor with bytes to send to another watcher, and loses them")
def test_the_descriptor_of_a_closing_transport_with_bytes_to_send_is_refused(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol, buffer_size=4096) as (transport, peer):
            data = bytes(1_000_000)
            transport.write(data)
            transport.close()
            descriptor = transport.get_extra_info("socket").fileno()
            for call in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    call(descriptor, print)
            assert await receive_exactly(peer, len(data)) == data
            await until(lambda: protocol.lost)

    run(loop, main())


def test_a_callback_that_is_missing_is_refused(loop: Loop, pair: Pair) -> None:
    with pytest.raises(TypeError):
        loop.add_reader(pair[0])  # type: ignore[call-arg]
