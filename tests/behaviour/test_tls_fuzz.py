"""Whatever arrives instead of what should, a TLS connection ends in one of the ways it may, and nothing else happens.

Each case takes a good conversation and damages what the peer sends: bytes changed, cut out, doubled, cut off, random.
The seed of a failing case is in its message; `PYLOOP_FUZZ_SECONDS` sets for how long to look.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import Any

import pytest

from .fuzzing import SECONDS, seeds
from .support import Loop, Recorder, run, socket_pair, until
from .tls_support import NEW_TLS, Contexts, Peer, connection, make_contexts

pytestmark = NEW_TLS


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    return make_contexts()


def damage(records: bytes, chance: random.Random) -> bytes:
    """The same with one thing wrong."""
    data = bytearray(records)
    place = chance.randrange(len(data))
    kind = chance.randrange(6)
    if kind == 0:
        data[place] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[place : place + chance.randrange(1, 40)]
    elif kind == 2:
        data[place:place] = data[place : place + chance.randrange(1, 40)]
    elif kind == 3:
        del data[place:]
    elif kind == 4:
        data[place:place] = chance.randbytes(chance.randrange(1, 40))
    else:
        data = bytearray(chance.randbytes(chance.randrange(1, 600)))
    return bytes(data)


async def send_in_parts(loop: Loop, peer: Peer, data: bytes, chance: random.Random) -> None:
    """Sends in pieces of any size, so that records arrive in pieces, too; a reset connection takes none."""
    while data:
        size = chance.choice((1, 5, 100, len(data)))
        try:
            await loop.sock_sendall(peer.sock, data[:size])
        except OSError:
            return
        data = data[size:]
        if chance.random() < 0.5:
            await asyncio.sleep(0)


def test_damaged_records(loop: Loop, contexts: Contexts, reports: list[Any]) -> None:
    async def case(seed: int) -> None:
        chance = random.Random(seed)
        async with connection(contexts, server_side=chance.random() < 0.5) as (transport, protocol, peer):
            good = b"".join(peer.records(bytes([number]) * 50) for number in range(3))
            transport.write(b"something of ours")
            await send_in_parts(loop, peer, damage(good, chance), chance)
            peer.sock.shutdown(1)
            await until(lambda: protocol.lost, f"the end of the connection with seed {seed}")
            expected = b"".join(bytes([number]) * 50 for number in range(3))
            assert expected.startswith(protocol.received), f"seed {seed}"
            assert protocol.lost_with is None or isinstance(protocol.lost_with, OSError), f"seed {seed}"

    async def main() -> None:
        for seed in seeds():
            await case(seed)

    run(loop, main(), seconds=SECONDS + 50)
    assert reports == []


def test_damaged_greetings(loop: Loop, contexts: Contexts, reports: list[Any]) -> None:
    async def case(seed: int) -> None:
        chance = random.Random(seed)
        ours, theirs = socket_pair()
        peer = Peer(theirs, contexts.client, server_side=False)
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        accepting = asyncio.ensure_future(loop.connect_accepted_socket(Recorder, ours, ssl=contexts.server))
        await send_in_parts(loop, peer, damage(peer.outgoing.read(), chance), chance)
        theirs.shutdown(1)
        with pytest.raises(OSError):  # noqa: PT011 - ssl.SSLError or ConnectionResetError
            await accepting
        theirs.close()
        await until(lambda: ours.fileno() == -1, f"the end of the socket with seed {seed}")

    async def main() -> None:
        for seed in seeds():
            await case(seed)

    run(loop, main(), seconds=SECONDS + 50)
    assert reports == []
