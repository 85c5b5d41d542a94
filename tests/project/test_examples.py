"""The examples run as they stand."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
SECONDS = 40

# Every example has its test here; a new one without a test fails `test_every_example_is_tried`.
TRIED = {"hello.py", "echo_server.py", "web_app.py", "demo.py"}
# Run by the demo, not by a reader.
PARTS = {"http_load.py"}

needs_uvicorn = pytest.mark.skipif(
    importlib.util.find_spec("uvicorn") is None, reason="uvicorn is not installed: install it to run this example"
)


def run(name: str, *arguments: str, seconds: float = SECONDS) -> str:
    """Runs an example to its end and returns what it printed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@contextlib.contextmanager
def serving(name: str) -> Iterator[int]:
    """Runs an example that serves; gives its port, and ends it with Ctrl-C, which it must take without complaint."""
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        assert ready, "it did not say that it listens"
        line = process.stdout.readline()
        found = re.search(r":(\d+)", line)
        assert found, f"no port in {line!r}"
        yield int(found.group(1))
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, complaints
        # Until 3.11 asyncio's own runner and streams report a connection that Ctrl-C has interrupted, on any loop.
        if sys.version_info >= (3, 12):
            assert complaints == ""
    finally:
        process.kill()
        process.communicate()


def test_hello_runs_on_pyloop() -> None:
    assert run("hello.py") == "hello from PyLoop\n"


def test_the_echo_server_sends_lines_back() -> None:
    with serving("echo_server.py") as port, socket.create_connection(("127.0.0.1", port), SECONDS) as client:
        client.sendall(b"one\ntwo\n")
        with client.makefile("rb") as lines:
            assert [lines.readline(), lines.readline()] == [b"one\n", b"two\n"]


@needs_uvicorn
def test_the_web_application_answers() -> None:
    with serving("web_app.py") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", "/echo", body=b"some bytes")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"some bytes")


@needs_uvicorn
def test_the_demo_compares_both_loops() -> None:
    printed = run("demo.py", "--rounds", "1", seconds=55)
    assert re.search(r"stock asyncio\s+pyloop\s+ratio\n", printed)
    for row in ("requests per second", "latency p50", "latency p99", "server CPU per request", "timer lateness p50"):
        assert re.search(rf"^{row}.* [\d,.]+ +[\d,.]+ +[\d.]+x$", printed, re.MULTILINE), row


def test_every_example_is_tried() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TRIED | PARTS
