"""A real web application, first on stock asyncio, then on pyloop: what changes?

    make demo        or        python examples/demo.py

uvicorn serves the application of `web_app.py` in one process; clients in another keep it busy over
loopback connections. The two loops take turns. A task of the server measures all the while how
late a short sleep ends. It takes less than a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import web_app

HERE = Path(__file__).resolve().parent
LOOPS = ("asyncio", "pyloop")
CLIENTS = 32
QUIET, WARM_UP, BUSY = 1.0, 0.5, 2.5  # seconds
ROUNDS = 3
# A fraction of a millisecond matters here: a loop that waits in whole milliseconds ends this late.
NAP = 0.0053


class DemoError(Exception):
    """Something the reader can act upon; shown without a traceback."""


# --- in the server's process ---------------------------------------------------------------------


async def measure_lateness(lateness: list[float]) -> None:
    """Notes again and again how late a sleep of `NAP` seconds ends."""
    while True:
        start = time.monotonic()
        await asyncio.sleep(NAP)
        lateness.append(time.monotonic() - start - NAP)


async def serve() -> None:
    """Serves the application, and at `/figures` what this process has measured since last asked."""
    import uvicorn

    lateness: list[float] = []

    async def measured(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/figures":
            await web_app.app(scope, receive, send)
            return
        figures = {"cpu": time.process_time(), "lateness": list(lateness)}
        lateness.clear()
        await web_app.respond(send, 200, json.dumps(figures).encode())

    bound = web_app.listening_socket(0)
    config = uvicorn.Config(measured, log_level="warning", access_log=False, lifespan="off", ws="none")
    config.load()
    parser = config.http_protocol_class.__module__.rpartition(".")[2].removesuffix("_impl")
    facts = {"port": bound.getsockname()[1], "parser": parser, "loop": web_app.loop_name()}
    print(json.dumps(facts), flush=True)
    sampler = asyncio.ensure_future(measure_lateness(lateness))
    await uvicorn.Server(config).serve(sockets=[bound])
    sampler.cancel()


def run_server(name: str) -> None:
    """Runs the server on the named loop until it is told to end."""
    factory = asyncio.SelectorEventLoop if name == "asyncio" else _factory(name)
    loop = factory()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(serve())
    loop.close()


def _factory(name: str) -> Any:
    return importlib.import_module(name).new_event_loop


# --- in the demo's own process -------------------------------------------------------------------


class Server:
    """A running server process and a connection to ask it for its figures."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.port: int = facts["port"]

    def fetch(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Makes one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def figures(self) -> dict[str, Any]:
        """Returns processor time so far, and the lateness of every nap since the last call."""
        status, body = self.fetch("GET", "/figures")
        if status != http.client.OK:
            raise DemoError(f"the server answered {status} when asked for its figures")
        figures: dict[str, Any] = json.loads(body)
        return figures

    def check(self) -> None:
        """Asks for every page once and looks at the answers."""
        body = os.urandom(200_000)
        wanted = {
            "the greeting": self.fetch("GET", "/")[1].startswith(b'{"message": "hello"'),
            "a posted body": self.fetch("POST", "/echo", body) == (200, body),
            "the waiting page": self.fetch("GET", "/wait")[0] == 200,
            "a missing page": self.fetch("GET", "/nowhere")[0] == 404,
        }
        wrong = [name for name, right in wanted.items() if not right]
        if wrong:
            raise DemoError(f"the application answers wrongly: {', '.join(wrong)}")


@contextmanager
def server_process(loop: str) -> Iterator[Server]:
    """Starts a server on the named loop and ends it afterwards."""
    command = [sys.executable, str(HERE / "demo.py"), "--serve", loop]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            yield Server(_first_line(process, errors, f"the server on {loop}"))
            if process.poll() is not None:
                raise DemoError(f"the server on {loop} ended too early:\n{_tail(errors)}")
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _first_line(process: subprocess.Popen[str], errors: IO[str], who: str) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        raise DemoError(f"{who} did not start:\n{_tail(errors)}")
    return json.loads(line)


def _tail(errors: IO[str]) -> str:
    errors.seek(0)
    return "\n".join("    " + line for line in errors.read().strip().splitlines()[-8:])


def under_load(server: Server) -> dict[str, float]:
    """Lets the clients run, and returns what they and the server measured meanwhile."""
    numbers = [str(number) for number in (server.port, CLIENTS, WARM_UP, BUSY)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "http_load.py"), *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        _first_line(process, errors, "the client")
        cpu = server.figures()["cpu"]
        output, _ = process.communicate("\n", timeout=60)
        after = server.figures()
        if process.returncode:
            raise DemoError(f"the clients gave up:\n{_tail(errors)}")
    result = json.loads(output)
    latencies = sorted(result["latencies"])
    return {
        "rate": len(latencies) / result["seconds"],
        "p50": percentile(latencies, 0.5) * 1e3,
        "p99": percentile(latencies, 0.99) * 1e3,
        "cpu": (after["cpu"] - cpu) / len(latencies) * 1e6,
        "busy_late_p50": percentile(after["lateness"], 0.5) * 1e6,
    }


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(loop: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Runs one server from start to end; returns its figures, and facts about it."""
    with server_process(loop) as server:
        server.check()
        server.figures()
        time.sleep(QUIET)
        lateness = server.figures()["lateness"]
        values = under_load(server)
    values["late_p50"] = percentile(lateness, 0.5) * 1e6
    values["late_p99"] = percentile(lateness, 0.99) * 1e6
    return values, server.facts


ROWS = (
    ("requests per second", "rate", ",.0f", True),
    ("latency p50 (ms)", "p50", ".2f", False),
    ("latency p99 (ms)", "p99", ".2f", False),
    ("server CPU per request (us)", "cpu", ".1f", False),
    ("timer lateness p50, quiet (us)", "late_p50", ",.0f", False),
    ("timer lateness p99, quiet (us)", "late_p99", ",.0f", False),
    ("timer lateness p50, under load (us)", "busy_late_p50", ",.0f", False),
)


def table(samples: dict[str, list[dict[str, float]]]) -> str:
    """The figures side by side: medians over the rounds, and how many times better pyloop is."""
    lines = [f"{'':<38}{'stock asyncio':>14}{'pyloop':>12}{'ratio':>10}", "-" * 74]
    for title, key, form, more_is_better in ROWS:
        stock, ours = (statistics.median(s[key] for s in samples[loop]) for loop in LOOPS)
        above, below = (ours, stock) if more_is_better else (stock, ours)
        ratio = f"{above / below:.2f}x" if below > 0 and above > 0 else "-"
        lines.append(f"{title:<38}{stock:>14{form}}{ours:>12{form}}{ratio:>10}")
    return "\n".join(lines)


def require() -> None:
    """Says what is missing before anything is started."""
    for module, remedy in {
        "uvicorn": "pip install uvicorn httptools",
        "pyloop": "pip install . (needs cargo), or run `make demo`, which does all of this",
    }.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # a build that does not fit this Python fails in many ways
            raise DemoError(f"cannot import {module} ({error}).\n    {remedy}") from error


def demo(rounds: int) -> None:
    """Runs both loops in turns and prints the table."""
    require()
    samples: dict[str, list[dict[str, float]]] = {loop: [] for loop in LOOPS}
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} processors. A uvicorn server, ",
        end="",
    )
    print(f"{CLIENTS} clients in another process, every answer checked.", flush=True)
    for number in range(1, rounds + 1):
        for loop in LOOPS:
            values, facts = measure(loop)
            samples[loop].append(values)
            kind = f"{facts['loop']}, {facts['parser']}"
            print(
                f"  round {number} of {rounds}: {kind:<50}{values['rate']:>9,.0f} requests/s",
                flush=True,
            )
    print(f"\n{table(samples)}\n\nMedians over the rounds; a ratio above 1 is in pyloop's favour.")


def main() -> int:
    """Reads the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each loop")
    parser.add_argument("--serve", metavar="LOOP", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        run_server(options.serve)
        return 0
    try:
        demo(options.rounds)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
