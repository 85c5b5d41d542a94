"""`getaddrinfo` and `getnameinfo`: the answers of the `socket` module, address literals included."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from .support import Loop, run

HOSTS: list[Any] = [
    None, "", b"", "127.0.0.1", b"127.0.0.1", "0.0.0.0", "255.255.255.255", "1.2.3.4",
    "::1", b"::1", "::", "fe80::1", "fe80::1%lo", "fe80::1%1", "::1%lo", "2001:db8::7", "::ffff:1.2.3.4",
    "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "1.2.3", "localhost", b"localhost",
]  # fmt: skip
BAD_HOSTS: list[Any] = [
    "256.0.0.1", "1.2.3.4.5", "1.2.3.4 ", " 1.2.3.4", "::g", ":::1", "[::1]", "1.2.3.4:80", "fe80::1%",
    "fe80::1%nosuch",
    "127.0.0.1%lo", "a\0b", "\ud800", "x" * 300, "name.invalid", "a..b", 5, 1.5, object,
]  # fmt: skip
PORTS: list[Any] = [None, 0, 80, 65535, "0", "80", b"80", "http", b"http", ""]
BAD_PORTS: list[Any] = [
    -1,
    65536,
    70000,
    "65536",
    "-1",
    " 80",
    "80 ",
    "nosuchservice",
    1.5,
    10**30,
    "8_0",
    "\u0668\u0660",
]
FAMILIES = [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 12345]
TYPES = [0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW]
PROTOCOLS = [0, socket.IPPROTO_TCP, socket.IPPROTO_UDP]
FLAGS = [0, socket.AI_PASSIVE, socket.AI_NUMERICHOST, socket.AI_CANONNAME, socket.AI_ADDRCONFIG, socket.AI_NUMERICSERV,
         socket.AI_V4MAPPED, socket.AI_ALL | socket.AI_V4MAPPED]  # fmt: skip


def expected(host: Any, port: Any, **keywords: Any) -> Any:
    """The answer of the socket module, or the type of its exception."""
    try:
        return socket.getaddrinfo(host, port, **keywords)
    except Exception as error:
        return type(error), getattr(error, "errno", None)


async def answer(host: Any, port: Any, **keywords: Any) -> Any:
    try:
        return await asyncio.get_running_loop().getaddrinfo(host, port, **keywords)
    except Exception as error:
        return type(error), getattr(error, "errno", None)


def agree(loop: Loop, cases: list[tuple[Any, Any, dict[str, Any]]]) -> None:
    async def main() -> list[str]:
        wrong = []
        for host, port, keywords in cases:
            want, got = expected(host, port, **keywords), await answer(host, port, **keywords)
            if want != got:
                wrong.append(f"{host!r}, {port!r}, {keywords}: {got}, and not {want}")
        await loop.shutdown_default_executor()
        return wrong

    wrong = run(loop, main(), seconds=50)
    assert not wrong, "\n".join(wrong[:20])


def test_every_host_is_answered_as_by_the_socket_module(loop: Loop) -> None:
    agree(loop, [(host, port, {}) for host in HOSTS for port in (80, "80", None)])


def test_every_bad_host_is_refused_as_by_the_socket_module(loop: Loop) -> None:
    agree(loop, [(host, 80, {"type": socket.SOCK_STREAM}) for host in BAD_HOSTS])


def test_every_port_is_answered_as_by_the_socket_module(loop: Loop) -> None:
    hosts = ["127.0.0.1", "::1", None]
    agree(loop, [(host, port, {"type": kind}) for host in hosts for port in PORTS + BAD_PORTS for kind in TYPES[:2]])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo", "::ffff:1.2.3.4"])
def test_families_types_and_protocols_agree(loop: Loop, host: str) -> None:
    agree(
        loop,
        [
            (host, 80, {"family": family, "type": kind, "proto": protocol})
            for family in FAMILIES
            for kind in TYPES
            for protocol in PROTOCOLS
        ],
    )


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_agree(loop: Loop, flags: int) -> None:
    hosts = ["127.0.0.1", "::1", "fe80::1%lo", None, "", "localhost"]
    agree(
        loop,
        [
            (host, port, {"flags": flags, "type": socket.SOCK_STREAM, "family": family})
            for host in hosts
            for port in (80, "http")
            for family in FAMILIES[:3]
        ],
    )


def test_every_socket_address_has_the_types_of_the_socket_module(loop: Loop) -> None:
    async def main() -> None:
        for host in ("127.0.0.1", "::1"):
            (entry,) = await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
            (want,) = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
            assert [type(item) for item in entry] == [type(item) for item in want]
            assert [type(item) for item in entry[4]] == [type(item) for item in want[4]]
        await loop.shutdown_default_executor()

    run(loop, main())


def test_the_arguments_after_the_port_are_keywords(loop: Loop) -> None:
    with pytest.raises(TypeError):
        loop.getaddrinfo("127.0.0.1", 80, socket.AF_INET).close()  # type: ignore[call-arg]


def test_getnameinfo_answers_as_the_socket_module(loop: Loop) -> None:
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

    async def main() -> None:
        for address in (("127.0.0.1", 80), ("::1", 80, 0, 0), ("::1", 80)):
            assert await loop.getnameinfo(address, flags) == socket.getnameinfo(address, flags)
        for wrong in (("no address", 80), ("127.0.0.1", "80"), "text", ("127.0.0.1",)):
            error = None
            try:
                socket.getnameinfo(wrong, flags)  # type: ignore[arg-type]
            except Exception as caught:
                error = type(caught)
            assert error is not None
            with pytest.raises(error):
                await loop.getnameinfo(wrong, flags)  # type: ignore[arg-type]
        await loop.shutdown_default_executor()

    run(loop, main())


def test_a_name_that_does_not_resolve_is_an_error(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("name.invalid", 80)
        await loop.shutdown_default_executor()

    run(loop, main())
