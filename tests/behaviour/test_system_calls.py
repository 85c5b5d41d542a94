"""How many system calls a batch of writes or datagrams takes, counted by strace from outside."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.pyloop_only("asyncio makes a system call for each write and each datagram")

SENDING = ("write", "writev", "sendto", "sendmsg", "sendmmsg")
RECEIVING = ("read", "readv", "recvfrom", "recvmsg", "recvmmsg")

# The program marks what is to be counted by writes that fail. Its first mark names the descriptor that it is about.
PROGRAM = """
import asyncio, contextlib, os, pyloop, socket

def mark(text):
    with contextlib.suppress(OSError):
        os.write(-1, text.encode())

async def until(condition):
    while not condition():
        await asyncio.sleep(0)

class Streams(asyncio.Protocol):
    received = 0
    def data_received(self, data):
        self.received += len(data)

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

class Datagrams(asyncio.DatagramProtocol):
    received = 0
    def datagram_received(self, data, address):
        self.received += 1

class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, address):
        self.transport.sendto(data, address)

async def main():
    loop = asyncio.get_running_loop()
{body}
pyloop.run(asyncio.wait_for(main(), 20))
"""


def traced(*command: str, to: Path) -> subprocess.CompletedProcess[str]:
    calls = ",".join(SENDING + RECEIVING)
    return subprocess.run(
        ["strace", "-f", "-qq", "-o", str(to), "-e", f"trace={calls}", *command],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def tracing(tmp_path_factory: pytest.TempPathFactory) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: no system call is counted")
    tried = traced(sys.executable, "-c", "", to=tmp_path_factory.mktemp("strace") / "calls")
    if tried.returncode != 0:
        pytest.skip(f"strace may not trace here: {tried.stderr}")


def count(folder: Path, body: str) -> Counter[str]:
    """Runs the body of a coroutine; returns how often it called what on the descriptor of its marks, between them."""
    program = PROGRAM.format(body="\n".join(f"    {line}" for line in body.strip().splitlines()))
    done = traced(sys.executable, "-c", program, to=folder / "calls")
    assert done.returncode == 0, done.stderr
    calls: Counter[str] = Counter()
    descriptor = None
    ended = False
    for line in (folder / "calls").read_text().splitlines():
        if (begin := re.search(r'write\(-1, "begin (\d+)"', line)) is not None:
            descriptor = begin[1]
        elif 'write(-1, "end"' in line:
            ended = True
        elif descriptor is not None and not ended and (call := re.match(r"\d+ +(\w+)\((\d+),", line)) is not None:
            calls[call[1]] += call[2] == descriptor
    assert ended, f"no marks in {(folder / 'calls').read_text()}"
    return +calls


def total(calls: Counter[str], names: tuple[str, ...]) -> int:
    return sum(calls[name] for name in names)


@pytest.mark.parametrize(("writes", "expected"), [(1, 1), (2, 1), (64, 1), (65, 2), (200, 4)])
def test_up_to_64_writes_leave_in_one_call(loop_name: str, tmp_path: Path, writes: int, expected: int) -> None:
    body = f"""
ours, peer = socket.socketpair()
transport, _ = await loop.create_connection(Streams, sock=ours)
mark(f"begin {{ours.fileno()}}")
for number in range({writes}):
    transport.write(b"%03d" % number)
await asyncio.sleep(0)
await asyncio.sleep(0)
mark("end")
assert peer.recv(1000) == b"".join(b"%03d" % number for number in range({writes}))
transport.abort()
"""
    calls = count(tmp_path, body)
    assert total(calls, SENDING) == expected, calls


def test_an_echo_takes_one_call_to_receive_and_one_to_send(loop_name: str, tmp_path: Path) -> None:
    body = """
ours, peer = socket.socketpair()
peer.setblocking(False)
transport, _ = await loop.create_connection(Echo, sock=ours)
mark(f"begin {ours.fileno()}")
for number in range(100):
    await loop.sock_sendall(peer, b"ping")
    assert await loop.sock_recv(peer, 100) == b"ping"
mark("end")
transport.abort()
"""
    calls = count(tmp_path, body)
    assert (total(calls, RECEIVING), total(calls, SENDING)) == (100, 100), calls


@pytest.mark.parametrize(("datagrams", "expected"), [(1, 1), (2, 1), (64, 1), (65, 2), (200, 4)])
def test_up_to_64_datagrams_leave_in_one_call(loop_name: str, tmp_path: Path, datagrams: int, expected: int) -> None:
    body = f"""
with socket.socket(type=socket.SOCK_DGRAM) as peer:
    peer.bind(("127.0.0.1", 0))
    transport, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    mark(f"begin {{transport.get_extra_info('socket').fileno()}}")
    for number in range({datagrams}):
        transport.sendto(b"%03d" % number, peer.getsockname())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    mark("end")
    for number in range({datagrams}):
        assert peer.recv(10, socket.MSG_DONTWAIT) == b"%03d" % number
    transport.abort()
"""
    calls = count(tmp_path, body)
    assert total(calls, SENDING) == expected, calls


@pytest.mark.parametrize(("datagrams", "expected"), [(1, 1), (3, 1), (32, 2), (96, 4)])
def test_datagrams_that_wait_are_received_32_at_a_time(
    loop_name: str, tmp_path: Path, datagrams: int, expected: int
) -> None:
    # The first burst takes two calls: until then little is expected, and asked for.
    body = f"""
with socket.socket(type=socket.SOCK_DGRAM) as peer:
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    sock = transport.get_extra_info("socket")
    for number in range({datagrams}):
        peer.sendto(b"x", sock.getsockname())
    mark(f"begin {{sock.fileno()}}")
    await until(lambda: protocol.received == {datagrams})
    for _ in range(3):
        await asyncio.sleep(0)
    mark("end")
    transport.abort()
"""
    calls = count(tmp_path, body)
    assert total(calls, RECEIVING) == expected, calls


@pytest.mark.parametrize(("peers", "rounds", "most"), [(1, 64, 73), (64, 10, 60)])
def test_answers_leave_singly_or_where_many_wait_together(
    loop_name: str, tmp_path: Path, peers: int, rounds: int, most: int
) -> None:
    # One peer has its answer by one call of each kind (and every eighth time another look is taken); those of many
    # peers share calls.
    body = f"""
endpoint, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=("127.0.0.1", 0))
sock = endpoint.get_extra_info("socket")
peers = [socket.socket(type=socket.SOCK_DGRAM) for _ in range({peers})]
for peer in peers:
    peer.connect(sock.getsockname())
    peer.setblocking(False)
async def round():
    for peer in peers:
        peer.send(b"ping")
    for peer in peers:
        assert await loop.sock_recv(peer, 100) == b"ping"
for _ in range(16):
    await round()
mark(f"begin {{sock.fileno()}}")
for _ in range({rounds}):
    await round()
mark("end")
endpoint.abort()
for peer in peers:
    peer.close()
"""
    calls = count(tmp_path, body)
    assert total(calls, RECEIVING) <= most, calls
    assert total(calls, SENDING) <= most, calls
