"""Datagram endpoints in trouble: errors of the system, full sockets, protocols that raise, floods, leaks."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ports import LOCALHOST, REFUSING_DATAGRAM_PORT, free_port

from .datagram_support import Datagrams, Echo, endpoint, full_pair, plain_socket, receive_from, require_pausing
from .leak_support import allowed, repetitions, traced_memory
from .support import Loop, open_descriptors, run, turn, turns, until

REFUSING_ADDRESS = (LOCALHOST, REFUSING_DATAGRAM_PORT)


# Errors of the system


def test_a_refused_datagram_is_an_error_the_transport_outlives(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint(remote_addr=(LOCALHOST, free_port(socket.SOCK_DGRAM))) as (transport, protocol):
            transport.sendto(b"x")
            await until(lambda: protocol.errors)
            assert isinstance(protocol.errors[0], ConnectionRefusedError)
            assert protocol.errors[0].errno == errno.ECONNREFUSED
            assert not transport.is_closing()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind(transport.get_extra_info("peername"))
                peer.setblocking(False)
                await turns(3)
                transport.sendto(b"y")
                transport.sendto(b"z")
                assert (await receive_from(peer))[0] in (b"y", b"z")

    run(loop, main())


def test_refused_datagrams_of_one_callback_are_reported(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint(remote_addr=REFUSING_ADDRESS) as (transport, protocol):
            for _ in range(10):
                transport.sendto(b"x")
            await until(lambda: protocol.errors)
            assert all(isinstance(error, ConnectionRefusedError) for error in protocol.errors)
            assert not transport.is_closing()

    run(loop, main())


def test_an_oversized_datagram_is_an_error_and_the_others_arrive(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, protocol):
            with plain_socket() as peer:
                for data in (b"before", bytes(65_508), b"between", bytes(100_000), b"after"):
                    transport.sendto(data, peer.getsockname())
                assert await receive_from(peer, 3) == [b"before", b"between", b"after"]
                await until(lambda: len(protocol.errors) == 2)
                assert [error.errno for error in protocol.errors] == [errno.EMSGSIZE] * 2  # type: ignore[attr-defined]
                assert not transport.is_closing()

    run(loop, main())


def test_a_socket_closed_behind_the_transport_is_an_error_of_each_datagram(loop: Loop) -> None:
    require_pausing(loop)

    async def main() -> None:
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind(("127.0.0.1", 0))
        async with endpoint(sock=ours) as (transport, protocol):
            transport.pause_reading()
            ours.close()
            transport.sendto(b"x", ("127.0.0.1", 9))
            transport.sendto(b"x", ("127.0.0.1", 9))
            await until(lambda: len(protocol.errors) == 2)
            assert [error.errno for error in protocol.errors] == [errno.EBADF] * 2

    run(loop, main())


def test_an_error_callback_that_sends_again_does_not_hold_the_loop(loop: Loop) -> None:
    class Stubborn(Datagrams):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            if len(self.errors) < 200:
                # In a callback of its own: asyncio would call itself until the stack is full.
                loop.call_soon(self.transport.sendto, b"again")

    async def main() -> None:
        async with endpoint(Stubborn(), remote_addr=REFUSING_ADDRESS) as (transport, protocol):
            transport.sendto(b"x")
            turned = 0
            while len(protocol.errors) < 200:
                await asyncio.sleep(0)
                turned += 1
                assert turned < 1_000_000
            assert turned > 50

    run(loop, main())


# Full sockets


def test_a_full_socket_pauses_the_protocol_and_resumes_it(loop: Loop) -> None:
    async def main() -> None:
        sender, receiver, held = full_pair()
        with receiver:
            async with endpoint(sock=sender) as (transport, protocol):
                transport.set_write_buffer_limits(high=5000)
                for number in range(10):
                    transport.sendto(bytes([number]) * 1000)
                    await turns(1)
                assert protocol.calls == ["connection_made", "pause_writing"]
                assert 10_000 <= transport.get_write_buffer_size() <= 10_080
                assert "write=<polling, bufsize=10" in repr(transport)
                assert await receive_from(receiver, held) == [bytes(1000)] * held
                await until(lambda: protocol.calls[-1] == "resume_writing")
                assert await receive_from(receiver, 10) == [bytes([number]) * 1000 for number in range(10)]
                await until(lambda: transport.get_write_buffer_size() <= 80)
                assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]
                assert "write=<idle" in repr(transport)

    run(loop, main())


def test_lower_marks_pause_at_once(loop: Loop) -> None:
    async def main() -> None:
        sender, receiver, _ = full_pair()
        with receiver:
            async with endpoint(sock=sender) as (transport, protocol):
                transport.sendto(bytes(1000))
                await turns(2)
                assert "pause_writing" not in protocol.calls
                transport.set_write_buffer_limits(high=100, low=10)
                assert transport.get_write_buffer_limits() == (10, 100)
                assert protocol.calls[-1] == "pause_writing"
                with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
                    transport.set_write_buffer_limits(1, 2)

    run(loop, main())


def test_close_with_a_full_socket_sends_the_rest_first(loop: Loop) -> None:
    async def main() -> None:
        sender, receiver, held = full_pair()
        with receiver:
            async with endpoint(sock=sender) as (transport, protocol):
                for number in range(5):
                    transport.sendto(b"%d" % number)
                transport.close()
                await turns(5)
                assert not protocol.lost
                assert transport.is_closing()
                data = await receive_from(receiver, held + 5)
                assert data[held:] == [b"%d" % number for number in range(5)]
                await until(lambda: protocol.lost)
                assert protocol.lost_with is None

    run(loop, main())


def test_abort_with_a_full_socket_drops_the_rest(loop: Loop) -> None:
    async def main() -> None:
        sender, receiver, held = full_pair()
        with receiver:
            async with endpoint(sock=sender) as (transport, protocol):
                for number in range(5):
                    transport.sendto(b"%d" % number)
                await turns(2)
                transport.abort()
                assert transport.get_write_buffer_size() in (
                    0,
                    5,
                    45,
                )  # Asyncio forgets to count down on some versions.
                await until(lambda: protocol.lost)
                assert protocol.lost_with is None
                assert await receive_from(receiver, held) == [bytes(1000)] * held
                with pytest.raises(BlockingIOError):
                    receiver.recv(1)

    run(loop, main())


def test_odd_datagrams_wait_behind_others_when_the_socket_is_full(loop: Loop) -> None:
    async def main() -> None:
        sender, receiver, held = full_pair()
        with receiver:
            async with endpoint(sock=sender) as (transport, _):
                transport.sendto(b"one")
                transport.sendto(bytearray(b"two"))
                transport.sendto(memoryview(b"three"))
                await turns(2)
                assert (await receive_from(receiver, held + 3))[held:] == [b"one", b"two", b"three"]

    run(loop, main())


# Protocols that raise


def test_what_datagram_received_raises_is_reported_and_the_next_ones_come(
    loop: Loop, reports: list[dict[str, Any]]
) -> None:
    class Failing(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.received) % 2:
                raise ValueError(data)

    async def main() -> None:
        async with endpoint(Failing()) as (transport, protocol):
            with plain_socket() as peer:
                for number in range(10):
                    peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
                await until(lambda: len(protocol.received) == 10)
                assert protocol.data == [b"%d" % number for number in range(10)]
                assert not transport.is_closing()

    run(loop, main())
    assert [report["exception"].args[0] for report in reports] == [b"0", b"2", b"4", b"6", b"8"]


def test_what_error_received_raises_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Failing(Datagrams):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            raise ValueError("in error_received")

    async def main() -> None:
        async with endpoint(Failing(), remote_addr=REFUSING_ADDRESS) as (transport, protocol):
            transport.sendto(b"x")
            await until(lambda: protocol.errors and reports)
            assert not transport.is_closing()

    run(loop, main())
    assert [str(report["exception"]) for report in reports] == ["in error_received"]


@pytest.mark.parametrize("where", ["connection_made", "connection_lost"])
def test_what_the_other_callbacks_raise_is_reported(loop: Loop, reports: list[dict[str, Any]], where: str) -> None:
    class Failing(Datagrams):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if where == "connection_made":
                raise ValueError(where)

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            if where == "connection_lost":
                raise ValueError(where)

    async def main() -> None:
        async with endpoint(Failing()) as (transport, protocol):
            with plain_socket() as peer:
                peer.sendto(b"x", transport.get_extra_info("sockname"))
                await until(lambda: protocol.received)
            transport.close()
            await until(lambda: protocol.lost)
            await turns(2)
            assert transport._sock is None

    run(loop, main())
    assert [str(report["exception"]) for report in reports] == [where]


@pytest.mark.parametrize("where", ["pause_writing", "resume_writing"])
def test_what_flow_control_callbacks_raise_is_reported(loop: Loop, reports: list[dict[str, Any]], where: str) -> None:
    class Failing(Datagrams):
        def pause_writing(self) -> None:
            super().pause_writing()
            if where == "pause_writing":
                raise ValueError(where)

        def resume_writing(self) -> None:
            super().resume_writing()
            if where == "resume_writing":
                raise ValueError(where)

    async def main() -> None:
        sender, receiver, held = full_pair()
        with receiver:
            async with endpoint(Failing(), sock=sender) as (transport, protocol):
                transport.set_write_buffer_limits(high=100, low=50)
                transport.sendto(bytes(200))
                await until(lambda: "pause_writing" in protocol.calls)
                await receive_from(receiver, held + 1)
                await until(lambda: transport.get_write_buffer_size() <= 8)

    run(loop, main())
    assert reports[0]["message"] == f"protocol.{where}() failed"
    assert str(reports[0]["exception"]) == where


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_leaves_the_run_and_loses_no_datagram(loop: Loop, interrupt: type[BaseException]) -> None:
    class Interrupting(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if data == b"3":
                raise interrupt

    protocol = Interrupting()
    transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0)))
    with plain_socket() as peer:
        for number in range(10):
            peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
        with pytest.raises(interrupt):
            run(loop, until(lambda: len(protocol.received) == 10))
        assert protocol.data == [b"0", b"1", b"2", b"3"]
        run(loop, until(lambda: len(protocol.received) == 10))
        assert protocol.data == [b"%d" % number for number in range(10)]
    transport.close()
    turn(loop, 3)


# Pausing


def test_a_pause_in_the_middle_of_a_burst_holds_the_rest(loop: Loop) -> None:
    require_pausing(loop)

    class Pausing(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.received) % 3 == 0:
                self.transport.pause_reading()

    async def main() -> None:
        async with endpoint(Pausing()) as (transport, protocol):
            with plain_socket() as peer:
                name = transport.get_extra_info("sockname")
                for number in range(10):
                    peer.sendto(b"%d" % number, name)
                for count in (3, 6, 9):
                    await until(lambda count=count: len(protocol.received) == count)  # type: ignore[misc]
                    await turns(5)
                    assert len(protocol.received) == count
                    assert not transport.is_reading()
                    peer.sendto(b"more", name)
                    transport.resume_reading()
                    assert transport.is_reading()
                    transport.resume_reading()
                await until(lambda: len(protocol.received) == 12)
                transport.resume_reading()
                await until(lambda: len(protocol.received) == 13)
                assert protocol.data == [b"%d" % number for number in range(10)] + [b"more"] * 3

    run(loop, main())


def test_what_was_held_is_dropped_by_close(loop: Loop) -> None:
    require_pausing(loop)

    async def main() -> None:
        async with endpoint(PausingAtOnce()) as (transport, protocol):
            with plain_socket() as peer:
                for number in range(10):
                    peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
                await until(lambda: protocol.received)
                transport.resume_reading()
                transport.close()
                await until(lambda: protocol.lost)
                assert protocol.data == [b"0"]

    run(loop, main())


def test_another_protocol_takes_over_in_the_middle_of_a_burst(loop: Loop) -> None:
    successor = Datagrams()

    class Leaving(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.set_protocol(successor)

    async def main() -> None:
        async with endpoint(Leaving()) as (transport, protocol):
            with plain_socket() as peer:
                for number in range(5):
                    peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
                await until(lambda: len(successor.received) == 4)
                assert protocol.data == [b"0"]
                assert transport.get_protocol() is successor

    run(loop, main())


# Floods and odd sockets


def test_a_flood_leaves_room_for_others(loop: Loop) -> None:
    """However many datagrams wait, no more than 32 come between two turns of a callback."""

    async def main() -> None:
        async with endpoint() as (transport, protocol):
            name = transport.get_extra_info("sockname")
            with plain_socket() as peer:
                for _ in range(100):
                    peer.sendto(b"x", name)
                seen = [0]
                while seen[-1] < 100:
                    await asyncio.sleep(0)
                    seen.append(len(protocol.received))
                assert max(later - earlier for earlier, later in itertools.pairwise(seen)) <= 32

    run(loop, main())


def test_two_endpoints_that_answer_each_other_for_ever_do_not_hold_the_loop(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint(Echo()) as (one, first), endpoint(Echo()) as (_, second):
            for _ in range(10):
                one.sendto(b"ball", second.transport.get_extra_info("sockname"))
            await until(lambda: len(first.received) > 1000)

    run(loop, main())


def test_a_socket_class_with_methods_of_its_own_is_asked(loop: Loop) -> None:
    calls: list[str] = []

    class Tapped(socket.socket):
        def recvfrom(self, *arguments: Any) -> Any:
            calls.append("recvfrom")
            return super().recvfrom(*arguments)

        def sendto(self, *arguments: Any) -> Any:
            calls.append("sendto")
            return super().sendto(*arguments)

    async def main() -> None:
        ours = Tapped(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind(("127.0.0.1", 0))
        async with endpoint(Echo(), sock=ours) as (transport, _):
            with plain_socket() as peer:
                for number in range(3):
                    peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
                assert await receive_from(peer, 3) == [b"0", b"1", b"2"]

    run(loop, main())
    assert calls.count("sendto") == 3
    assert calls.count("recvfrom") >= 3


def test_a_recvfrom_that_raises_nonsense_ends_the_transport(loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Broken(socket.socket):
        def recvfrom(self, *arguments: Any) -> Any:
            raise ZeroDivisionError

    async def main() -> None:
        ours = Broken(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind(("127.0.0.1", 0))
        async with endpoint(sock=ours) as (transport, protocol):
            with plain_socket() as peer:
                peer.sendto(b"x", transport.get_extra_info("sockname"))
                await until(lambda: protocol.lost)
                assert isinstance(protocol.lost_with, ZeroDivisionError)

    run(loop, main())
    assert [report["message"] for report in reports] == ["Fatal read error on datagram transport"]


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="needs netlink sockets")
def test_sockets_of_unusual_families_work(loop: Loop) -> None:
    async def main() -> None:
        try:
            ours = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)
        except OSError as error:
            pytest.skip(f"no netlink here: {error}")
        ours.bind((0, 0))
        async with endpoint(sock=ours) as (transport, protocol):
            # RTM_GETLINK for the loopback device: a header of 16 bytes, and an ifinfomsg with index 1.
            request = (32).to_bytes(4, "little") + (18).to_bytes(2, "little") + (1).to_bytes(2, "little") + bytes(8)
            transport.sendto(request + bytes(4) + (1).to_bytes(4, "little") + bytes(8), (0, 0))
            await until(lambda: protocol.received)
            assert protocol.received[0][1] == (0, 0)

    run(loop, main())


# Leaks


async def exchange(server: Any) -> None:
    async with endpoint(remote_addr=server) as (transport, protocol):
        transport.sendto(b"x")
        await until(lambda: protocol.received)
        transport.close()


async def aborted(server: Any) -> None:
    async with endpoint() as (transport, _):
        for _ in range(5):
            transport.sendto(b"x", server)
        transport.abort()


async def refused(_server: Any) -> None:
    async with endpoint(remote_addr=REFUSING_ADDRESS) as (transport, protocol):
        transport.sendto(b"x")
        await until(lambda: protocol.errors)


class PausingAtOnce(Datagrams):
    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.transport.pause_reading()


async def paused_with_a_rest(_server: Any) -> None:
    async with endpoint(PausingAtOnce()) as (transport, protocol):
        with plain_socket() as peer:
            for _ in range(5):
                peer.sendto(b"x", transport.get_extra_info("sockname"))
        await until(lambda: protocol.received)


async def full_to_the_end(_server: Any) -> None:
    sender, receiver, _ = full_pair(100_000)
    async with endpoint(sock=sender) as (transport, _):
        transport.sendto(b"x")
        await turns(1)
    receiver.close()


async def never_bound(_server: Any) -> None:
    with pytest.raises(OSError, match="assign requested address"):
        await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, local_addr=("203.0.113.1", 1))


@pytest.mark.parametrize(
    "life",
    [exchange, aborted, refused, paused_with_a_rest, full_to_the_end, never_bound],
    ids=lambda life: life.__name__,
)
def test_a_thousand_endpoints_leave_no_descriptors_and_no_memory(
    loop: Loop, life: Callable[[Any], Awaitable[None]]
) -> None:
    if life is paused_with_a_rest:
        require_pausing(loop)
    times = repetitions(loop)

    async def main() -> tuple[int, int]:
        server, _ = await loop.create_datagram_endpoint(ForgetfulEcho, local_addr=("127.0.0.1", 0))
        name = server.get_extra_info("sockname")
        for _ in range(50):
            await life(name)
        gc.collect()
        baseline = open_descriptors()
        with traced_memory() as growth:
            for _ in growth.series():
                for _ in range(times):
                    await life(name)
                gc.collect()
        left = open_descriptors() - baseline
        server.close()
        await turns(3)
        return left, growth.least()

    left, grown = run(loop, main(), seconds=50)
    assert left == 0
    # The addresses seen lately are kept, a thousand of them at most (some 200 bytes each).
    assert grown < allowed(times, 300)


class ForgetfulEcho(Echo):
    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)
