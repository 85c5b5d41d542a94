"""IPython's `%autoawait`: cells that await, on the loop under test."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from .programs import BEGIN, MODULE, PROGRAM_SECONDS, environment

pytest.importorskip("IPython", reason="IPython is not installed: install it to run these programs")


def _run(source: str, folder: pathlib.Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=folder,
        env=environment(IPYTHONDIR=str(folder), HOME=str(folder), NO_COLOR="1"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


SESSION = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell()
cells = [
    "%autoawait asyncio",
    "import asyncio",
    "async def double(number):\\n    await asyncio.sleep(0.001)\\n    return 2 * number",
    "first = await double(21)",
    "gathered = await asyncio.gather(*(double(n) for n in range(20)))",
    "async with asyncio.Lock():\\n    inside = await double(4)",
    "task = asyncio.create_task(double(50)); await asyncio.sleep(0)",
    "later = await task",
    "loop = type(asyncio.get_running_loop()).__module__; await asyncio.sleep(0)",
    "server = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0)\\n"
    "reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())\\n"
    "nothing = await reader.read()\\n"
    "writer.close(); await writer.wait_closed()\\n"
    "server.close(); await server.wait_closed()",
]
for cell in cells:
    result = shell.run_cell(cell)
    assert result.success, (cell, result.error_in_exec, result.error_before_exec)
failed = shell.run_cell("await double('x' / 1)")
assert isinstance(failed.error_in_exec, TypeError), failed
found = shell.user_ns
print(found["first"], sum(found["gathered"]), found["inside"], found["later"], found["nothing"], found["loop"])
"""


def test_cells_that_await_run_on_the_loop_of_the_policy(loop_name: str, tmp_path: pathlib.Path) -> None:
    said = _run(BEGIN[loop_name] + SESSION, tmp_path)
    assert said.splitlines()[-1] == f"42 380 8 100 b'' {MODULE[loop_name]}"


HOSTED = """
from IPython.core.interactiveshell import InteractiveShell

async def main():
    # As a notebook's kernel does it: the cells run inside of a loop that runs already.
    shell = InteractiveShell()
    await shell.run_cell_async("import asyncio; order = []", transformed_cell="import asyncio; order = []")

    async def beside():
        for number in range(3):
            shell.user_ns["order"].append(number)
            await asyncio.sleep(0)

    task = asyncio.ensure_future(beside())
    cell = "for _ in range(10): await asyncio.sleep(0)\\norder.append('cell')"
    result = await shell.run_cell_async(cell, transformed_cell=cell)
    assert result.success, (result.error_in_exec, result.error_before_exec)
    await task
    print(*shell.user_ns["order"], type(asyncio.get_running_loop()).__module__)

loop = new_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
loop.close()
"""


def test_cells_await_inside_of_a_loop_that_runs(loop_name: str, tmp_path: pathlib.Path) -> None:
    said = _run(BEGIN[loop_name] + HOSTED, tmp_path)
    assert said.splitlines()[-1] == f"0 1 2 cell {MODULE[loop_name]}"


def test_the_terminal_application_awaits(loop_name: str, tmp_path: pathlib.Path) -> None:
    source = """
from IPython import start_ipython
code = "x = await asyncio.sleep(0.001, 7); print(x, type(asyncio.get_running_loop()).__module__)"
start_ipython(["--quick", "--no-banner", "--no-confirm-exit", "--colors=nocolor", "-c", "import asyncio\\n" + code])
"""
    said = _run(BEGIN[loop_name] + source, tmp_path)
    assert said.splitlines()[-1] == f"7 {MODULE[loop_name]}"
