"""Cases of stream sockets: echo servers, connections that are merely open, and connections that come and go."""

from __future__ import annotations

from functools import partial

from benchmarks.model import Case, LoopFactory, Metric, Sample, Target, WrongResult
from benchmarks.server import TCP_ECHO, Goodbye, Service, serve, socket_echo, tcp, unix_echo

CONNECTIONS = (1, 10, 100)
SIZES = {"64B": 64, "1KiB": 1024, "100KiB": 100 * 1024, "1MiB": 1024 * 1024}
WINDOW = 0.5  # seconds
IDLE = 1_000
ARRIVING = 16  # connections that arrive together: fewer than any server's backlog


def echo(connections: int, size: int, factory: LoopFactory, service: Service = TCP_ECHO) -> Sample:
    """The server's processor time per message that it echoes."""
    values = serve(factory, "echo", connections, size, WINDOW, service=service)
    if values.pop("wrong"):
        raise WrongResult("bytes came back changed")
    return Sample(values)


def open_connections(factory: LoopFactory) -> Sample:
    """The server's memory per idle connection."""
    return Sample(serve(factory, "connect", IDLE))


def come_and_go(factory: LoopFactory) -> Sample:
    """The server's processor time per connection that it accepts and closes."""
    return Sample(serve(factory, "accept", ARRIVING, WINDOW, service=tcp(Goodbye)))


def _echo_case(connections: int, size: str) -> Case:
    return Case(
        f"echo.{connections}x{size}",
        f"TCP echo, {connections} connections, {size}: server processor time per message",
        (Metric("cpu", "us", Target(peer=1), beside="wall"),),
        partial(echo, connections, SIZES[size]),
        io=True,
        quick=connections != 1,
    )


def _unix_case(connections: int, size: str) -> Case:
    return Case(
        f"unix.{connections}x{size}",
        f"Unix echo, {connections} connections, {size}: server processor time per message",
        (Metric("cpu", "us", Target(uvloop=1), beside="wall"),),
        partial(echo, connections, SIZES[size], service=unix_echo),
        io=True,
        quick=connections == 10,
    )


def _socket_case(connections: int, size: str) -> Case:
    return Case(
        f"sockets.{connections}x{size}",
        f"echo over sock_recv and sock_sendall, {connections} connections, {size}: server processor time per message",
        (Metric("cpu", "us", Target(stock=1, uvloop=1), beside="wall"),),
        partial(echo, connections, SIZES[size], service=socket_echo),
        io=True,
        quick=connections == 10,
    )


CASES = (
    *(_echo_case(connections, size) for size in SIZES for connections in CONNECTIONS),
    *(_unix_case(connections, size) for size in SIZES for connections in CONNECTIONS),
    *(_socket_case(connections, size) for size in ("64B", "100KiB") for connections in (1, 10)),
    Case(
        "accept",
        f"connections accepted and closed, {ARRIVING} arriving together: server processor time of each",
        (Metric("cpu", "us", Target(uvloop=1), beside="wall"), Metric("rate", "/s", higher_is_better=True)),
        come_and_go,
        io=True,
    ),
    Case(
        "connections",
        f"{IDLE:,} more idle connections: memory of each",
        (Metric("bytes", "B", Target(uvloop=1)),),
        open_connections,
        io=True,
    ),
)
