"""Cases of datagram transports: an echo server over UDP."""

from __future__ import annotations

from functools import partial

from benchmarks.model import Case, LoopFactory, Metric, Sample, Target, WrongResult
from benchmarks.server import datagram_echo, serve

PEERS = (1, 10, 64)
SIZES = {"64B": 64, "200B": 200, "1400B": 1400}
WINDOW = 0.5  # seconds


def echo(peers: int, size: int, factory: LoopFactory) -> Sample:
    """The server's processor time per datagram that it echoes."""
    values = serve(factory, "udp", peers, size, WINDOW, service=datagram_echo)
    if values.pop("wrong"):
        raise WrongResult("datagrams came back changed")
    return Sample(values)


CASES = tuple(
    Case(
        f"udp.{peers}x{size}",
        f"UDP echo, {peers} peers, {size}: server processor time per datagram",
        (Metric("cpu", "us", Target(peer=1.1), beside="wall"),),
        partial(echo, peers, SIZES[size]),
        io=True,
        quick=size == "200B",
    )
    for size in SIZES
    for peers in PEERS
)
