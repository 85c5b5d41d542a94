"""Cases of TLS: an echo server, and connections that come and go."""

from __future__ import annotations

from functools import partial

from benchmarks.model import Case, LoopFactory, Metric, Sample, Target, WrongResult
from benchmarks.server import TLS_ECHO, serve

CONNECTIONS = (1, 100)
SIZES = {"1KiB": 1024, "100KiB": 100 * 1024}
WINDOW = 0.5  # seconds


def echo(connections: int, size: int, factory: LoopFactory) -> Sample:
    """The server's processor time per message that it decrypts and encrypts again."""
    values = serve(factory, "tls_echo", connections, size, WINDOW, service=TLS_ECHO)
    if values.pop("wrong"):
        raise WrongResult("bytes came back changed")
    return Sample(values)


def handshakes(factory: LoopFactory) -> Sample:
    """The server's processor time per connection."""
    return Sample(serve(factory, "tls_handshakes", WINDOW, service=TLS_ECHO))


def _echo_case(connections: int, size: str) -> Case:
    return Case(
        f"tls.{connections}x{size}",
        f"TLS echo, {connections} connections, {size}: server processor time per message",
        (Metric("cpu", "us", Target(stock=1.3, uvloop=1.3, peer=1), beside="wall"),),
        partial(echo, connections, SIZES[size]),
        io=True,
        quick=connections != 1,
    )


CASES = (
    *(_echo_case(connections, size) for size in SIZES for connections in CONNECTIONS),
    Case(
        "tls.handshakes",
        "TLS connections made, one byte echoed, closed: server processor time of each",
        (Metric("cpu", "us", Target(stock=1.2), beside="wall"),),
        handshakes,
        io=True,
    ),
)
