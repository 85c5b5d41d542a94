"""What a protocol sends inside of `datagram_received`: the first answer leaves at once, as all do with asyncio."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .datagram_support import Datagrams, Echo, endpoint, plain_socket, receive_from, require_pausing
from .support import Loop, turns, until

LARGER_THAN_ANY = 70_000  # bytes: more than UDP's length of 16 bits can say
MANY = 200  # datagrams: several of the 32 that one readiness brings


class Answering(Datagrams):
    """Calls a function with each datagram and its sender."""

    def __init__(self, answer: Callable[[Any, bytes, Any], None]) -> None:
        super().__init__()
        self._answer = answer

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self._answer(self.transport, data, addr)


def test_an_answer_is_there_before_datagram_received_returns(loop: Loop) -> None:
    async def main() -> None:
        seen = []

        def answer(transport: Any, data: bytes, addr: Any) -> None:
            transport.sendto(data, addr)
            seen.append(peer.recv(100))

        with plain_socket() as peer:
            peer.settimeout(5)  # A busy kernel may take a moment.
            async with endpoint(Answering(answer)) as (transport, _):
                for number in range(20):
                    peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
                    await until(lambda wanted=number + 1: len(seen) == wanted)
        assert seen == [b"%d" % number for number in range(20)]

    loop.run_until_complete(main())


@pytest.mark.parametrize("answers", [0, 1, 2, 3])
def test_answers_keep_their_order(loop: Loop, answers: int) -> None:
    async def main() -> None:
        def answer(transport: Any, data: bytes, addr: Any) -> None:
            for number in range(answers):
                transport.sendto(data + b".%d" % number, addr)

        with plain_socket() as peer:
            async with endpoint(Answering(answer)) as (transport, protocol):
                for burst in (1, 2, 5, 40, MANY, 3, 1, 1):
                    protocol.received.clear()
                    sent = [b"%d" % number for number in range(burst)]
                    for data in sent:
                        peer.sendto(data, transport.get_extra_info("sockname"))
                    expected = [data + b".%d" % number for data in sent for number in range(answers)]
                    assert await receive_from(peer, len(expected)) == expected
                    await until(lambda wanted=sent: protocol.data == wanted)

    loop.run_until_complete(main())


def test_what_is_sent_later_leaves_behind_the_answer(loop: Loop) -> None:
    async def main() -> None:
        def answer(transport: Any, data: bytes, addr: Any) -> None:
            asyncio.get_running_loop().call_soon(transport.sendto, data + b" later", addr)
            transport.sendto(data, addr)

        with plain_socket() as peer:
            async with endpoint(Answering(answer)) as (transport, _):
                for _ in range(5):
                    peer.sendto(b"x", transport.get_extra_info("sockname"))
                    assert await receive_from(peer, 2) == [b"x", b"x later"]

    loop.run_until_complete(main())


def test_an_answer_that_fails_is_reported_before_sendto_returns(loop: Loop) -> None:
    async def main() -> None:
        counts = []

        def answer(transport: Any, data: bytes, addr: Any) -> None:
            transport.sendto(bytes(LARGER_THAN_ANY), addr)
            counts.append(len(protocol.errors))
            transport.sendto(data, addr)

        protocol = Answering(answer)
        with plain_socket() as peer:
            async with endpoint(protocol) as (transport, _):
                for _ in range(3):
                    peer.sendto(b"next", transport.get_extra_info("sockname"))
                    assert await receive_from(peer) == [b"next"]
        assert counts == [1, 2, 3]
        assert [error.errno for error in protocol.errors if isinstance(error, OSError)] == [errno.EMSGSIZE] * 3

    loop.run_until_complete(main())


def test_an_error_callback_may_change_the_bytearray_that_failed(loop: Loop) -> None:
    class Changing(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.sendto(buffer, addr)

        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            buffer.clear()  # BufferError while anybody has a view of it.

    async def main() -> None:
        with plain_socket() as peer:
            async with endpoint(Changing()) as (transport, protocol):
                peer.sendto(b"x", transport.get_extra_info("sockname"))
                await until(lambda: bool(protocol.errors))
        assert buffer == b""

    buffer = bytearray(LARGER_THAN_ANY)
    loop.run_until_complete(main())


def test_an_answer_waits_for_a_full_socket(loop: Loop, tmp_path: Path) -> None:
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")

    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(theirs)
            peer.setblocking(False)
            addresses = {"local_addr": ours, "remote_addr": theirs}
            async with endpoint(Echo(), family=socket.AF_UNIX, **addresses) as (transport, protocol):
                sent = 0
                while transport.get_write_buffer_size() == 0:  # Nobody reads the answers.
                    assert sent < 10_000
                    peer.sendto(b"%d" % sent, ours)
                    sent += 1
                    await until(lambda wanted=sent: len(protocol.received) == wanted)
                assert await receive_from(peer, sent) == [b"%d" % number for number in range(sent)]
                peer.sendto(b"once more", ours)
                assert await receive_from(peer) == [b"once more"]

    loop.run_until_complete(main())


@pytest.mark.parametrize("ending", ["pause", "close", "abort"])
def test_nothing_more_comes_after_a_datagram_that_ends_it(loop: Loop, ending: str) -> None:
    if ending == "pause":
        require_pausing(loop)

    def answer(transport: Any, data: bytes, addr: Any) -> None:
        transport.sendto(data, addr)
        if data == b"7":
            {"pause": transport.pause_reading, "close": transport.close, "abort": transport.abort}[ending]()

    async def main() -> None:
        with plain_socket() as peer:
            async with endpoint(Answering(answer)) as (transport, protocol):
                address = transport.get_extra_info("sockname")
                peer.sendto(b"first", address)
                assert await receive_from(peer) == [b"first"]
                protocol.received.clear()
                for number in range(20):
                    peer.sendto(b"%d" % number, address)
                assert await receive_from(peer, 8) == [b"%d" % number for number in range(8)]
                await turns(5)
                assert len(protocol.received) == 8
                if ending == "pause":
                    with transport.get_extra_info("socket").dup() as same:
                        assert same.recv(100, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"8"  # Still in the socket.
                    transport.resume_reading()
                    assert await receive_from(peer, 12) == [b"%d" % number for number in range(8, 20)]

    loop.run_until_complete(main())


def test_an_answer_through_a_descriptor_that_is_somebody_elses_is_an_error(loop: Loop) -> None:
    async def main() -> None:
        def answer(transport: Any, data: bytes, addr: Any) -> None:
            if data == b"close":
                number = sock.fileno()
                sock.close()
                os.dup2(stranger.fileno(), number)  # The number is in use again, by another socket.
                reused.append(number)
            transport.sendto(data, addr)

        reused: list[int] = []
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        with plain_socket() as peer, plain_socket() as stranger:
            async with endpoint(Answering(answer), sock=sock) as (_, protocol):
                peer.sendto(b"echo", address)
                assert await receive_from(peer) == [b"echo"]
                peer.sendto(b"for the stranger", stranger.getsockname())
                peer.sendto(b"close", address)
                peer.sendto(b"never", address)
                await until(lambda: bool(protocol.errors))
            assert isinstance(protocol.errors[0], OSError)
            assert protocol.errors[0].errno == errno.EBADF
            assert protocol.data == [b"echo", b"close"]
            assert stranger.recv(100) == b"for the stranger"
            with pytest.raises(BlockingIOError):
                peer.recv(100)
        os.close(reused[0])

    loop.run_until_complete(main())


def test_answers_to_a_flood_leave_room_for_others(loop: Loop) -> None:
    async def main() -> None:
        between = []

        def note() -> None:
            between.append(len(protocol.received))
            if len(protocol.received) < MANY:
                asyncio.get_running_loop().call_soon(note)

        with plain_socket() as peer:
            async with endpoint(Echo()) as (transport, protocol):
                address = transport.get_extra_info("sockname")
                peer.sendto(b"first", address)
                await receive_from(peer)
                for _ in range(MANY):
                    peer.sendto(b"x", address)
                asyncio.get_running_loop().call_soon(note)
                await until(lambda: len(protocol.received) > MANY)
        steps = [after - before for before, after in itertools.pairwise(between)]
        assert max(steps) <= 64

    loop.run_until_complete(main())
