"""Datagram endpoints: sending, receiving, addresses, errors, closing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import struct
import sys
import tempfile
import warnings
import weakref
from typing import Any

import pytest

from .datagram_support import Datagrams, Echo, endpoint, plain_socket, receive_from, require_pausing
from .support import Loop, collect_until_dead, run, turns, until

# <linux/in.h>; the socket module has it from 3.14 on.
IP_RECVTTL = 12

families = pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["ipv4", "ipv6"]
)


@families
def test_datagrams_go_there_and_back(loop: Loop, family: int, host: str) -> None:
    async def main() -> None:
        async with (
            endpoint(Echo(), local_addr=(host, 0)) as (server, echo),
            endpoint(remote_addr=server.get_extra_info("sockname")[:2]) as (client, answers),
        ):
            for number in range(20):
                client.sendto(b"%d" % number)
            await until(lambda: len(answers.received) == 20)
            assert answers.data == [b"%d" % number for number in range(20)]
            assert echo.data == answers.data
            assert {addr for _, addr in echo.received} == {client.get_extra_info("sockname")}
            assert {addr for _, addr in answers.received} == {server.get_extra_info("sockname")}

    run(loop, main())


@families
def test_senders_are_as_a_socket_gives_them(loop: Loop, family: int, host: str) -> None:
    async def main() -> None:
        async with endpoint(local_addr=(host, 0)) as (transport, protocol):
            with plain_socket(family, host) as peer:
                peer.sendto(b"x", transport.get_extra_info("sockname"))
                await until(lambda: protocol.received)
                [(data, addr)] = protocol.received
                assert (data, addr) == (b"x", peer.getsockname())
                assert type(data) is bytes
                assert [type(part) for part in addr] == [type(part) for part in peer.getsockname()]

    run(loop, main())


def test_an_answer_reaches_each_of_many_peers(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint(Echo()) as (server, _):
            peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
            try:
                for round_ in range(3):
                    for number, peer in enumerate(peers):
                        peer.setblocking(False)
                        peer.sendto(b"%d.%d" % (round_, number), server.get_extra_info("sockname"))
                    for number, peer in enumerate(peers):
                        assert await receive_from(peer) == [b"%d.%d" % (round_, number)]
            finally:
                for peer in peers:
                    peer.close()

    run(loop, main())


def test_peers_that_come_and_go_displace_nobody(loop: Loop) -> None:
    """More addresses than a loop remembers, among them some that stay."""

    async def main() -> None:
        async with endpoint(Echo()) as (server, echo):

            async def ask(peer: socket.socket, question: bytes) -> None:
                peer.setblocking(False)
                peer.sendto(question, server.get_extra_info("sockname"))
                assert await receive_from(peer) == [question]
                [(data, addr)] = echo.received
                assert (data, addr) == (question, peer.getsockname())
                echo.received.clear()
                known[peer] = addr

            known: dict[socket.socket, Any] = {}
            with contextlib.ExitStack() as stack:
                staying = [stack.enter_context(plain_socket(socket.AF_INET, "127.0.0.1")) for _ in range(50)]
                for round_ in range(30):
                    for number, peer in enumerate(staying):
                        await ask(peer, b"%d.%d" % (round_, number))
                        with plain_socket(socket.AF_INET, "127.0.0.1") as passing:
                            await ask(passing, b"passing %d.%d" % (round_, number))
                            del known[passing]
                    # To addresses of which some are not remembered any more, and none was heard last.
                    for addr in known.values():
                        server.sendto(b"%d" % addr[1], addr)
                    for peer, addr in known.items():
                        assert await receive_from(peer) == [b"%d" % addr[1]]

    run(loop, main(), 50)


def test_ten_thousand_datagrams_keep_their_order(loop: Loop) -> None:
    async def main() -> None:
        async with (
            endpoint() as (server, protocol),
            endpoint(remote_addr=server.get_extra_info("sockname")) as (client, _),
        ):
            for start in range(0, 10_000, 100):  # No more at once than a socket's buffer surely holds.
                for number in range(start, start + 100):
                    client.sendto(b"%d" % number)
                await until(lambda start=start: len(protocol.received) == start + 100)  # type: ignore[misc]
            assert protocol.data == [b"%d" % number for number in range(10_000)]

    run(loop, main(), 50)


def test_datagrams_are_neither_split_nor_merged(loop: Loop) -> None:
    sizes = [1, 1400, 2, 65507, 3, 20_000, 1, 1, 9000]

    async def main() -> None:
        async with (
            endpoint() as (server, protocol),
            endpoint(remote_addr=server.get_extra_info("sockname")) as (client, _),
        ):
            for number, size in enumerate(sizes, 1):
                client.sendto(bytes([number]) * size)
                await until(lambda number=number: len(protocol.received) == number)  # type: ignore[misc]
            assert protocol.data == [bytes([number]) * size for number, size in enumerate(sizes, 1)]

    run(loop, main())


def test_a_burst_of_mixed_sizes_arrives_as_it_was_sent(loop: Loop) -> None:
    sizes = [1, 100, 0, 1400, 7, 3000, 1, 64] * 5

    async def main() -> None:
        async with endpoint() as (transport, protocol):
            with plain_socket() as peer:
                for number, size in enumerate(sizes):
                    peer.sendto(bytes([number]) * size, transport.get_extra_info("sockname"))
                await until(lambda: len(protocol.received) == len(sizes))
                assert protocol.data == [bytes([number]) * size for number, size in enumerate(sizes)]

    run(loop, main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview], ids=lambda kind: kind.__name__)
def test_every_kind_of_bytes_is_sent_as_it_was_then(loop: Loop, kind: Any) -> None:
    async def main() -> None:
        async with endpoint() as (transport, _):
            with plain_socket() as peer:
                source = bytearray(b"before")
                transport.sendto(kind(source), peer.getsockname())
                source[:] = b"after!"
                assert await receive_from(peer) == [b"before"]

    run(loop, main())


def test_empty_datagrams_are_sent_from_313_on(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, _):
            with plain_socket() as peer:
                transport.sendto(b"", peer.getsockname())
                transport.sendto(bytearray(), peer.getsockname())
                transport.sendto(b"x", peer.getsockname())
                empty = [b"", b""] if sys.version_info >= (3, 13) else []
                assert await receive_from(peer, 1 + len(empty)) == [*empty, b"x"]

    run(loop, main())


# Addresses


def test_host_names_and_other_texts_are_resolved_by_the_socket(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, _):
            with plain_socket() as peer:
                port = peer.getsockname()[1]
                for host in ("localhost", "127.1", "127.0.0.1", b"127.0.0.1", bytearray(b"127.0.0.1")):
                    transport.sendto(repr(host).encode(), (host, port))
                    assert await receive_from(peer) == [repr(host).encode()]

    run(loop, main())


def test_slow_and_quick_addresses_keep_their_order(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, _):
            with plain_socket() as peer:
                host, port = peer.getsockname()
                for number in range(0, 30, 3):
                    transport.sendto(b"%d" % number, (host, port))
                    transport.sendto(b"%d" % (number + 1), ("localhost", port))
                    transport.sendto(b"%d" % (number + 2), (host, port))
                assert await receive_from(peer, 30) == [b"%d" % number for number in range(30)]

    run(loop, main())


@pytest.mark.parametrize("size", [2, 3, 4])
def test_ipv6_addresses_have_two_to_four_parts(loop: Loop, size: int) -> None:
    async def main() -> None:
        async with endpoint(local_addr=("::1", 0)) as (transport, _):
            with plain_socket(socket.AF_INET6, "::1") as peer:
                transport.sendto(b"x", peer.getsockname()[:size])
                assert await receive_from(peer) == [b"x"]

    run(loop, main())


def test_a_socket_of_one_version_refuses_addresses_of_the_other(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        async with endpoint(local_addr=("::1", 0)) as (transport, protocol), endpoint() as (other, _):
            with plain_socket() as peer:
                # The same tuple object, known to the loop from the other socket.
                peer.sendto(b"x", other.get_extra_info("sockname"))
                await until(lambda: other.get_protocol().received)
                [(_, addr)] = other.get_protocol().received
                transport.sendto(b"x", addr)
                await until(lambda: protocol.errors)
                assert isinstance(protocol.errors[0], socket.gaierror)
                assert not transport.is_closing()

    run(loop, main())
    assert reports == []


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (("127.0.0.1", 70_000), OverflowError),
        (("127.0.0.1", -1), OverflowError),
        (("127.0.0.1", "53"), TypeError),
        (("127.0.0.1",), TypeError),
        (("127.0.0.1", 53, 0, 0), TypeError),
        (["127.0.0.1", 53], TypeError),
        ("127.0.0.1", TypeError),
        (None, TypeError),
    ],
    ids=repr,
)
def test_nonsense_addresses_end_the_transport(
    loop: Loop, reports: list[dict[str, Any]], address: Any, error: type[Exception]
) -> None:
    async def main() -> None:
        async with endpoint() as (transport, protocol):
            transport.sendto(b"x", address)
            await until(lambda: protocol.lost)
            assert type(protocol.lost_with) is error
            assert protocol.errors == []

    run(loop, main())
    [report] = reports
    assert report["message"] == "Fatal write error on datagram transport"
    assert type(report["exception"]) is error


def test_a_host_that_does_not_resolve_is_an_error_of_one_datagram(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, protocol):
            with plain_socket() as peer:
                transport.sendto(b"x", ("256.256.256.256.invalid.", 9))
                await until(lambda: protocol.errors)
                assert isinstance(protocol.errors[0], OSError)
                transport.sendto(b"y", peer.getsockname())
                assert await receive_from(peer) == [b"y"]

    run(loop, main(), 50)


def test_a_connected_endpoint_sends_to_its_peer_only(loop: Loop) -> None:
    async def main() -> None:
        with plain_socket() as peer:
            async with endpoint(remote_addr=peer.getsockname()) as (transport, _):
                host, port = peer.getsockname()
                transport.sendto(b"1")
                transport.sendto(b"2", None)
                transport.sendto(b"3", (host, port))
                transport.sendto(data=b"4", addr=peer.getsockname())
                for wrong in ((host, port ^ 1), "other", ("localhost", port)):
                    with pytest.raises(ValueError, match="Invalid address: must be None or") as raised:
                        transport.sendto(b"wrong", wrong)
                    assert str(raised.value).endswith(str((host, port)))
                assert await receive_from(peer, 4) == [b"1", b"2", b"3", b"4"]

    run(loop, main())


def test_a_connected_socket_of_ones_own_ignores_addresses(loop: Loop) -> None:
    async def main() -> None:
        with plain_socket() as peer, plain_socket() as other:
            ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ours.connect(peer.getsockname())
            async with endpoint(sock=ours) as (transport, _):
                assert transport.get_extra_info("peername") == peer.getsockname()
                transport.sendto(b"x", other.getsockname())
                assert await receive_from(peer) == [b"x"]

    run(loop, main())


def test_callbacks_that_wait_already_run_before_datagrams_that_wait(loop: Loop) -> None:
    """A program that has been sent something before it runs the loop sets its receiver up in the first callback."""
    order: list[str] = []

    class Noting(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            order.append(data.decode())

    transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(Noting, local_addr=("127.0.0.1", 0)))
    with plain_socket() as peer:
        peer.sendto(b"datagram", transport.get_extra_info("sockname"))
        loop.call_soon(order.append, "callback")
        run(loop, until(lambda: len(order) == 2))
    assert order == ["callback", "datagram"]
    transport.close()


# Arguments


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"], object()], ids=lambda data: type(data).__name__)
def test_what_is_not_bytes_is_refused(loop: Loop, data: Any) -> None:
    async def main() -> None:
        async with endpoint() as (transport, _):
            with pytest.raises(TypeError) as raised:
                transport.sendto(data, ("127.0.0.1", 9))
            assert str(raised.value) == f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            assert not transport.is_closing()

    run(loop, main())


def test_a_view_with_gaps_ends_the_transport(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        async with endpoint() as (transport, protocol):
            transport.sendto(memoryview(b"abcdef")[::2], ("127.0.0.1", 9))
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, BufferError)

    run(loop, main())
    assert [report["message"] for report in reports] == ["Fatal write error on datagram transport"]


def test_sockets_of_streams_are_refused(loop: Loop) -> None:
    async def main() -> None:
        with socket.socket() as sock, pytest.raises(ValueError, match=r"(?i)socket was expected"):
            await loop.create_datagram_endpoint(Datagrams, sock=sock)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="can not be used when sock is specified"):
                await loop.create_datagram_endpoint(Datagrams, sock=sock, local_addr=("127.0.0.1", 0))
        with pytest.raises(ValueError, match="unexpected address family"):
            await loop.create_datagram_endpoint(Datagrams)

    run(loop, main())


def test_a_blocking_socket_is_made_non_blocking(loop: Loop) -> None:
    async def main() -> None:
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind(("127.0.0.1", 0))
        assert ours.getblocking()
        async with endpoint(sock=ours):
            assert not ours.getblocking()

    run(loop, main())


def test_a_closed_socket_is_refused(loop: Loop) -> None:
    async def main() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.close()
        with pytest.raises((OSError, ValueError)):
            await loop.create_datagram_endpoint(Datagrams, sock=sock)

    run(loop, main())


def test_an_address_in_use_is_refused_and_nothing_is_left(loop: Loop) -> None:
    async def main() -> None:
        with plain_socket() as taken:
            with pytest.raises(OSError, match="Address already in use"):
                await loop.create_datagram_endpoint(Datagrams, local_addr=taken.getsockname())

    run(loop, main())


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")
def test_endpoints_share_a_port_with_reuse_port(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint(local_addr=("127.0.0.1", 0), reuse_port=True) as (first, one):
            name = first.get_extra_info("sockname")
            async with endpoint(local_addr=name, reuse_port=True) as (second, other):
                assert second.get_extra_info("sockname") == name
                with plain_socket() as peer:
                    peer.sendto(b"x", name)
                    await until(lambda: one.received or other.received)

    run(loop, main())


def test_a_broadcast_endpoint_is_not_connected_and_sends_to_its_address(loop: Loop) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.setblocking(False)
            listener.bind(("", 0))
            address = ("127.255.255.255", listener.getsockname()[1])
            async with endpoint(remote_addr=address, allow_broadcast=True) as (transport, _):
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
                assert transport.get_extra_info("peername") is None
                transport.sendto(b"to all")
                transport.sendto(b"to all, too", address)
                with pytest.raises(ValueError, match="Invalid address"):
                    transport.sendto(b"x", ("127.0.0.1", 9))
                assert await receive_from(listener, 2) == [b"to all", b"to all, too"]

    run(loop, main())


def test_without_allow_broadcast_the_system_refuses(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, protocol):
            transport.sendto(b"x", ("127.255.255.255", 9))
            await until(lambda: protocol.errors)
            assert [type(error) for error in protocol.errors] == [PermissionError]

    run(loop, main())


def test_multicast_over_loopback(loop: Loop) -> None:
    group = "239.255.71.13"

    async def main() -> None:
        async with endpoint(local_addr=("0.0.0.0", 0)) as (receiver, protocol), endpoint() as (sender, _):
            membership = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
            receiver.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            out = sender.get_extra_info("socket")
            out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sender.sendto(b"to the group", (group, receiver.get_extra_info("sockname")[1]))
            await until(lambda: protocol.received)
            assert protocol.received == [(b"to the group", sender.get_extra_info("sockname"))]

    run(loop, main())


@pytest.mark.skipif(sys.platform != "linux", reason="reads the time to live as Linux reports it")
def test_an_option_holds_for_what_is_sent_after_it(loop: Loop) -> None:
    """As traceroute programs do it: one time to live per datagram, all in one callback."""

    async def main() -> None:
        async with endpoint() as (transport, _):
            with plain_socket() as peer:
                peer.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
                sock = transport.get_extra_info("socket")
                for ttl in (10, 20, 30):
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                    transport.sendto(b"%d" % ttl, peer.getsockname())
                peer.settimeout(5)
                await turns(3)
                for ttl in (10, 20, 30):
                    data, [(_, _, control)], _, _ = peer.recvmsg(100, 100)
                    assert (data, struct.unpack("i", control)) == (b"%d" % ttl, (ttl,))

    run(loop, main())


# Unix datagrams


def test_unix_datagrams_know_their_senders_by_path(loop: Loop) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            here, there = os.path.join(folder, "here"), os.path.join(folder, "there")
            async with (
                endpoint(Echo(), local_addr=here, family=socket.AF_UNIX) as (_, echo),
                endpoint(local_addr=there, family=socket.AF_UNIX) as (client, answers),
            ):
                client.sendto(b"one", here)
                client.sendto(b"two", here)
                await until(lambda: len(answers.received) == 2)
                assert answers.received == [(b"one", here), (b"two", here)]
                assert echo.received == [(b"one", there), (b"two", there)]
            assert os.path.exists(here), "asyncio leaves the path"

    run(loop, main())


def test_connected_unix_datagrams(loop: Loop) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "server")
            async with (
                endpoint(local_addr=path, family=socket.AF_UNIX) as (_, protocol),
                endpoint(remote_addr=path, family=socket.AF_UNIX) as (client, _),
            ):
                assert client.get_extra_info("peername") == path
                client.sendto(b"unnamed")
                client.sendto(bytes(150_000), path)
                await until(lambda: len(protocol.received) == 2)
                assert protocol.received == [(b"unnamed", None), (bytes(150_000), None)]

    run(loop, main())


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_abstract_unix_names_are_bytes(loop: Loop) -> None:
    name = b"\0pyloop-test-%d-%d" % (os.getpid(), 1)

    async def main() -> None:
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.bind("")  # The kernel's choice.
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "server")
            async with (
                endpoint(local_addr=path, family=socket.AF_UNIX) as (_, protocol),
                endpoint(sock=sender) as (client, answers),
            ):
                client.sendto(b"x", path)
                await until(lambda: protocol.received)
                assert protocol.received == [(b"x", client.get_extra_info("sockname"))]
                assert isinstance(protocol.received[0][1], bytes)
                protocol.transport.sendto(b"y", protocol.received[0][1])
                await until(lambda: answers.received == [(b"y", path)])

    assert name[:1] == b"\0"
    run(loop, main())


def test_a_path_that_is_too_long_or_absent_is_an_error_of_one_datagram(
    loop: Loop, reports: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        async with endpoint(family=socket.AF_UNIX) as (transport, protocol):
            transport.sendto(b"x", "/nonexistent/socket")
            transport.sendto(b"x", "x" * 500)
            await until(lambda: len(protocol.errors) == 2)
            assert isinstance(protocol.errors[0], FileNotFoundError)
            assert "too long" in str(protocol.errors[1])
            assert not transport.is_closing()

    run(loop, main())
    assert reports == []


# The life of a transport


def test_callbacks_come_in_order(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, protocol):
            assert protocol.calls == ["connection_made"]
            assert protocol.transport is transport
            transport.close()
            assert transport.is_closing() is True
            assert not protocol.lost
            transport.close()
            await until(lambda: protocol.lost)
            await turns(2)
            assert protocol.calls == ["connection_made", "connection_lost"]
            assert protocol.lost_with is None

    run(loop, main())


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_datagrams_of_the_last_callback_leave_before_the_end(loop: Loop, ending: str) -> None:
    async def main() -> None:
        async with endpoint() as (transport, protocol):
            with plain_socket() as peer:
                transport.sendto(b"one", peer.getsockname())
                transport.sendto(b"two", peer.getsockname())
                getattr(transport, ending)()
                assert await receive_from(peer, 2) == [b"one", b"two"]
                await until(lambda: protocol.lost)

    run(loop, main())


def test_datagrams_leave_at_once_while_the_loop_does_not_run(loop: Loop) -> None:
    transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0)))
    with plain_socket() as peer:
        peer.settimeout(5)
        transport.sendto(b"x", peer.getsockname())
        assert peer.recv(10) == b"x"
    transport.close()


def test_what_is_sent_to_a_lost_connection_is_dropped_with_a_warning(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with plain_socket() as peer:
            async with endpoint(remote_addr=peer.getsockname()) as (transport, protocol):
                transport.close()
                for _ in range(7):
                    transport.sendto(b"late")
                await until(lambda: protocol.lost)
                with pytest.raises(BlockingIOError):
                    peer.recv(10)

    run(loop, main())
    assert [record.getMessage() for record in caplog.records].count("socket.send() raised exception.") == 3


def test_nothing_is_received_after_close(loop: Loop) -> None:
    class Closing(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.close()

    async def main() -> None:
        async with endpoint(Closing()) as (transport, protocol):
            with plain_socket() as peer:
                for number in range(10):
                    peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
                await until(lambda: protocol.lost)
                assert protocol.data == [b"0"]

    run(loop, main())


def test_a_transport_that_was_not_closed_warns(loop: Loop) -> None:
    require_pausing(loop)

    async def main() -> int:
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        number: int = transport.get_extra_info("socket").fileno()
        await turns(2)
        # Only the loop's watch keeps the transport alive now: pausing ends the watch.
        transport.pause_reading()
        protocol.transport = None
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport, protocol
            gc.collect()
            await turns(1)
            gc.collect()
        return number

    number = run(loop, main())
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_closed_transport_is_freed(loop: Loop) -> None:
    async def main() -> list[weakref.ref[Any]]:
        async with endpoint() as (transport, protocol):
            transport.close()
            await until(lambda: protocol.lost)
            protocol.transport = None
            return [weakref.ref(transport), weakref.ref(protocol)]

    collect_until_dead(*run(loop, main()))


def test_a_transport_of_a_closed_loop_is_collected(loop: Loop) -> None:
    transport, protocol = loop.run_until_complete(loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0)))
    watched = [weakref.ref(transport), weakref.ref(protocol)]
    loop.close()
    del transport, protocol
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        collect_until_dead(*watched)
    assert any("unclosed transport" in str(warning.message) for warning in caught)


def test_a_transport_is_what_programs_take_it_for(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, protocol):
            assert isinstance(transport, (asyncio.DatagramTransport, asyncio.Transport))
            if sys.version_info >= (3, 13):
                assert isinstance(transport, asyncio.DatagramTransport)
            assert isinstance(transport, asyncio.Transport)
            assert transport._loop is loop
            assert transport.get_protocol() is protocol
            transport.note = "kept"
            assert vars(transport)["note"] == "kept"
            sent = []
            transport.sendto = lambda *arguments: sent.append(arguments)
            transport.sendto(b"x", None)
            assert sent == [(b"x", None)]
            del transport.sendto
            with pytest.raises(NotImplementedError):
                transport.write(b"x")

    run(loop, main())


def test_what_a_transport_tells_about_itself(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, protocol):
            sock = transport.get_extra_info("socket")
            assert isinstance(sock, asyncio.trsock.TransportSocket)
            assert sock.type == socket.SOCK_DGRAM
            assert transport.get_extra_info("sockname") == sock.getsockname()
            assert transport.get_extra_info("peername", "none") is None
            assert transport.get_extra_info("other", "default") == "default"
            assert transport.get_write_buffer_size() == 0
            assert transport.get_write_buffer_limits() == (16384, 65536)
            shown = repr(transport)
            assert f" fd={sock.fileno()} read=polling write=<idle, bufsize=0>>" in shown
            transport.close()
            assert " closing fd=" in repr(transport)
            await until(lambda: protocol.lost)
            assert " closed fd=" in repr(transport)
            assert transport.get_extra_info("sockname") is not None
            assert transport.get_protocol() is None

    run(loop, main())


def test_callbacks_run_in_the_context_of_the_endpoints_making(loop: Loop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    class Looking(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            seen.append(variable.get())

    async def main() -> None:
        variable.set("made")
        async with endpoint(Looking()) as (transport, protocol):
            variable.set("later")
            with plain_socket() as peer:
                for _ in range(3):
                    peer.sendto(b"x", transport.get_extra_info("sockname"))
                await until(lambda: len(protocol.received) == 3)

    run(loop, main())
    assert seen == ["made"] * 3


def test_a_descriptor_of_a_transport_is_refused_to_watchers(loop: Loop) -> None:
    async def main() -> None:
        async with endpoint() as (transport, _):
            number = transport.get_extra_info("socket").fileno()
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(number, print)

    run(loop, main())


def test_debug_mode_logs_the_endpoint(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    require_pausing(loop)
    caplog.set_level("DEBUG", "asyncio")
    loop.set_debug(True)

    async def main() -> None:
        async with endpoint(Echo()) as (transport, _):
            with plain_socket() as peer:
                peer.sendto(b"x", transport.get_extra_info("sockname"))
                assert await receive_from(peer) == [b"x"]
            transport.pause_reading()
            transport.resume_reading()

    run(loop, main())
    messages = [record.getMessage() for record in caplog.records]
    assert any(message.startswith("Datagram endpoint local_addr=") for message in messages)
    assert sum(message.endswith(("pauses reading", "resumes reading")) for message in messages) == 2
