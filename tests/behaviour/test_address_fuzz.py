"""Whatever is given as an address, the answer is the `socket` module's: its addresses, its exceptions, its words.

The seed of a failing case is in its message; `PYLOOP_FUZZ_SECONDS` sets for how long to look.
"""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest

from .datagram_support import Datagrams, endpoint, plain_socket
from .fuzzing import SECONDS, seeds
from .support import Loop, run, turns, until

# Binds to addresses that the machine does not have. Linux; Python has no name for it.
IPV6_FREEBIND = 78


def v4(chance: random.Random) -> str:
    """An IPv4 address, often of a form that only some parsers take."""
    kind = chance.randrange(6)
    number = chance.randrange(1 << 32)
    if kind == 0:
        return str(number)
    if kind == 1:
        return ".".join(format(chance.randrange(300), chance.choice(("d", "#x", "03d", "#o"))) for _ in range(4))
    if kind == 2:
        return ".".join(str(chance.randrange(256)) for _ in range(chance.randrange(1, 4)))
    return str(ipaddress.IPv4Address(number))


def v6(chance: random.Random) -> str:
    """An IPv6 address in one of the many ways to write it."""
    groups = [chance.choice((0, 0, 1, 0xFFFF, chance.randrange(1 << 16))) for _ in range(8)]
    address = ipaddress.IPv6Address(b"".join(group.to_bytes(2, "big") for group in groups))
    text = chance.choice((address.compressed, address.exploded, address.compressed.upper()))
    if chance.random() < 0.2:
        text = chance.choice(("::", "::ffff:", "64:ff9b::", "1:2:3:4:5:6:", "::0:", "1:2:3:4:5:6:7:")) + v4(chance)
    if chance.random() < 0.2:
        text += chance.choice(("%lo", "%1", "%0", "%nosuch", "%", "%99999999999"))
    return text


def damaged(text: str, chance: random.Random) -> str:
    """The same with one thing wrong, perhaps."""
    place = chance.randrange(len(text) + 1)
    strange = chance.choice("0123456789abcdefx.:%[]/ -+\n\0\u0661\uff11\u3002\udcff")
    kind = chance.randrange(6)
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + strange + text[place:]
    if kind == 2:
        return text[:place] + strange + text[place + 1 :]
    return text


def needs_a_lookup(host: str) -> bool:
    """Tells whether a name server may be asked about this, which takes what time it likes."""
    if ":" in host or not host:
        return False
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return True
    except (UnicodeError, ValueError):
        return False
    return False


def host_of(chance: random.Random) -> str:
    while True:
        host = damaged(chance.choice((v4, v6))(chance), chance)
        if not needs_a_lookup(host):
            return host


def port_of(chance: random.Random) -> Any:
    return chance.choice(
        (chance.randrange(1, 65536), chance.randrange(1, 65536), 65536, -1, 1 << 40, True, 1.5, "80", None)
    )


def outcome(attempt: Callable[[], Any]) -> Any:
    """What it returns, or the type and words of what it raises."""
    try:
        return attempt()
    except Exception as error:
        return type(error), str(error)


async def awaited(attempt: Any) -> Any:
    try:
        return await attempt
    except Exception as error:
        return type(error), str(error)


def test_getaddrinfo_answers_as_the_socket_module(loop: Loop) -> None:
    async def case(seed: int) -> None:
        chance = random.Random(seed)
        host: Any = host_of(chance)
        if chance.random() < 0.2:
            host = host.encode(errors="replace")
        port = chance.choice((None, 0, 80, "80", b"80", "", "-1", " 80", 65536, -1, 1 << 70, 1.5, "8\u0660"))
        keywords = {
            "family": chance.choice((0, 0, socket.AF_INET, socket.AF_INET6, 999)),
            "type": chance.choice((0, socket.SOCK_STREAM, socket.SOCK_DGRAM)),
            "flags": chance.choice((0, 0, socket.AI_PASSIVE, socket.AI_NUMERICHOST, socket.AI_CANONNAME)),
        }
        want = outcome(lambda: socket.getaddrinfo(host, port, **keywords))
        got = await awaited(loop.getaddrinfo(host, port, **keywords))
        assert got == want, f"seed {seed}: {host!r}, {port!r}, {keywords}"

    async def main() -> None:
        for seed in seeds():
            await case(seed)
        await loop.shutdown_default_executor()

    run(loop, main(), seconds=SECONDS + 50)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_datagrams_go_where_a_plain_socket_sends_them(loop: Loop, family: int, reports: list[Any]) -> None:
    local = "::1" if family == socket.AF_INET6 else "127.0.0.1"

    async def case(seed: int, plain: socket.socket, receiver: Datagrams, port: int) -> None:
        address = address_of(random.Random(seed), family, port)
        want = outcome(lambda: plain.sendto(b"plain", address))
        async with endpoint(local_addr=(local, 0)) as (transport, protocol):
            got = outcome(lambda: transport.sendto(b"ours", address))
            await turns(3)
        # By now all others have been sent, and this one arrives after them.
        plain.sendto(b"last", (local, port))
        await until(lambda: b"last" in receiver.data, f"the last datagram of seed {seed}")
        error = got or next(iter(protocol.errors), None) or protocol.lost_with
        if isinstance(error, Exception):
            error = type(error), str(error)
        where = f"seed {seed}: {address!r}"
        assert error == (None if isinstance(want, int) else want), where
        assert receiver.data in ([b"last"], [b"plain", b"ours", b"last"]), where
        assert len(receiver.data) == 1 or isinstance(want, int), where
        receiver.received.clear()

    async def main() -> None:
        async with endpoint(local_addr=(local, 0)) as (transport, receiver):
            with socket.socket(family, socket.SOCK_DGRAM) as plain:
                plain.setblocking(False)
                plain.bind((local, 0))
                for seed in seeds():
                    await case(seed, plain, receiver, transport.get_extra_info("sockname")[1])

    run(loop, main(), seconds=SECONDS + 50)
    assert all(report["message"] == "Fatal write error on datagram transport" for report in reports)


def address_of(chance: random.Random, family: int, port: int) -> Any:
    """An address for `sendto()`: often the receiver's, in one of the ways to write it."""
    good: tuple[str, ...] = ("127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.000.000.001")
    if family == socket.AF_INET6:
        good = ("::1", "0:0::1", "0000:0000:0000:0000:0000:0000:0000:0001", "::0.0.0.1", "::1%lo", "::1%1")
    host: Any = damaged(chance.choice(good), chance) if chance.random() < 0.7 else host_of(chance)
    # Elsewhere it would leave the machine, or wait for a name server.
    if not stays_here(host, family):
        host = chance.choice(good)
    address: list[Any] = [host, chance.choice((port, port, port, port_of(chance)))]
    if family == socket.AF_INET6 and chance.random() < 0.5:
        address.append(chance.choice((0, 0, 1, 0xFFFFF, 0x100000, -1, 1 << 40, "0", True)))
        address.append(chance.choice((0, 0, 1, 77, -1, 1 << 32, 1 << 70, None)))
    if chance.random() < 0.1:
        address = address[: chance.randrange(3)] if chance.random() < 0.5 else [*address, 0, 0, 0]
    return tuple(address) if chance.random() < 0.95 else address


def stays_here(host: str, family: int) -> bool:
    """Tells whether this is an address of the loopback interface, or none at all and known without a lookup."""
    if needs_a_lookup(host):
        return False
    try:
        found = socket.getaddrinfo(host, None, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        return ":" in host or host == ""
    address = str(found[0][4][0]).partition("%")[0]
    return ipaddress.ip_address(address).is_loopback


def test_senders_are_written_as_by_the_socket_module(loop: Loop) -> None:
    async def case(seed: int, protocol: Datagrams, plain: socket.socket) -> bool:
        chance = random.Random(seed)
        groups = (chance.choice((b"\0\0", b"\0\0", b"\0\1", b"\xff\xff", chance.randbytes(2))) for _ in range(8))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            try:
                sender.bind((socket.inet_ntop(socket.AF_INET6, b"".join(groups)), 0))
                sender.sendto(b"x", plain.getsockname())
            except OSError:
                return False  # Nobody can send from there: an IPv4 address, for one.
            sender.sendto(b"x", protocol.transport.get_extra_info("sockname"))
            await until(lambda: protocol.received, f"the datagram of seed {seed}")
            assert protocol.received.pop() == plain.recvfrom(9), f"seed {seed}"
        return True

    async def main() -> int:
        async with endpoint(local_addr=("::1", 0)) as (_, protocol):
            with plain_socket(socket.AF_INET6, "::1") as plain:
                return sum([await case(seed, protocol, plain) for seed in seeds()])

    assert run(loop, main(), seconds=SECONDS + 50) > 10
