"""Cases of TCP transports: an echo server, and connections that are merely open."""

from __future__ import annotations

from functools import partial

from benchmarks.model import Case, LoopFactory, Metric, Sample, Target, WrongResult
from benchmarks.server import serve

CONNECTIONS = (1, 10, 100)
SIZES = {"64B": 64, "1KiB": 1024, "100KiB": 100 * 1024, "1MiB": 1024 * 1024}
WINDOW = 0.5  # seconds
IDLE = 1_000


def echo(connections: int, size: int, factory: LoopFactory) -> Sample:
    """The server's processor time per message that it echoes."""
    values = serve(factory, "echo", connections, size, WINDOW)
    if values.pop("wrong"):
        raise WrongResult("bytes came back changed")
    return Sample(values)


def open_connections(factory: LoopFactory) -> Sample:
    """The server's memory per idle connection."""
    return Sample(serve(factory, "connect", IDLE))


def _echo_case(connections: int, size: str) -> Case:
    return Case(
        f"echo.{connections}x{size}",
        f"TCP echo, {connections} connections, {size}: server processor time per message",
        (Metric("cpu", "us", Target(peer=1), beside="wall"),),
        partial(echo, connections, SIZES[size]),
        io=True,
        quick=connections != 1,
    )


CASES = (
    *(_echo_case(connections, size) for size in SIZES for connections in CONNECTIONS),
    Case(
        "connections",
        f"{IDLE:,} more idle connections: memory of each",
        (Metric("bytes", "B", Target(uvloop=1)),),
        open_connections,
        io=True,
    ),
)
