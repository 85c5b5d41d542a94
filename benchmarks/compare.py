"""Compares event loops: every case in a fresh process, the loops taking turns.

Run `python benchmarks/compare.py`, or `make bench`; benchmarks/README.md says what the rows mean.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __package__ in (None, ""):  # run as a file: the package is one folder up
    sys.path[0] = str(ROOT)

from benchmarks import report, results  # noqa: E402
from benchmarks.cases import CASES  # noqa: E402
from benchmarks.loops import KNOWN, OURS, STOCK, takes_part  # noqa: E402
from benchmarks.model import Case  # noqa: E402
from benchmarks.results import Row  # noqa: E402

# glibc serves allocations from 128 KiB up with mmap, and gives the top of the heap back as soon as
# 128 KiB of it are free: a loop that allocates such a read buffer pays two system calls and fresh
# pages per read. Raising only the first bound turns the mmap into brk and changes little (one
# peer: 25 us per echoed 64 B with the defaults, 19 us with it, 5 us with both), so both are raised.
RAISED = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),  # the most that glibc accepts
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
}
LIMIT = 120  # seconds for one process: far above the slowest case on a slow machine


def child(*arguments: str, malloc: str = "default") -> dict[str, Any]:
    """Runs the worker in a fresh interpreter and returns its answer."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    environment["PYTHONHASHSEED"] = "0"
    environment.update(RAISED if malloc == "raised" else {})
    command = [sys.executable, "-m", "benchmarks.worker", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT)
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    except subprocess.TimeoutExpired:
        reason = f"no result after {LIMIT} s"
    except (IndexError, json.JSONDecodeError):
        last = done.stderr.strip().splitlines()[-1:] or [""]
        reason = f"process ended with status {done.returncode}: {last[0]}"
    return {"values": {}, "faults": [reason], "usable": False, "reason": reason}


def usable_loops(wanted: list[str]) -> dict[str, str]:
    """Returns name and version of every wanted loop that runs here, stock first."""
    found = {}
    for name in sorted(wanted, key=[STOCK, OURS, *wanted].index):
        answer = child("check", name)
        if answer["usable"]:
            found[name] = answer.get("version", "")
        else:
            print(f"without {name}: {answer['reason']}")
    return found


def measure(case: Case, malloc: str, loops: list[str], repeat: int) -> list[Row]:
    """Runs one case on all loops, in turns, and returns a row per metric."""
    rows = [Row(case.name, case.title, malloc, metric) for metric in case.metrics]
    for _ in range(repeat):
        for loop in loops:
            if rows[0].faults.get(loop) and not rows[0].samples.get(loop):
                continue  # it could not do this at all the first time
            answer = child("run", case.name, loop, malloc=malloc)
            for row in rows:
                _add(row, loop, answer)
    return rows


def _add(row: Row, loop: str, answer: dict[str, Any]) -> None:
    if answer["faults"]:
        row.faults.setdefault(loop, []).extend(answer["faults"])
    values, metric = answer["values"], row.metric
    if metric.key in values:
        row.samples.setdefault(loop, []).append(values[metric.key])
    if metric.beside in values:
        row.beside.setdefault(loop, []).append(values[metric.beside])


def plan(patterns: list[str], settings: list[str], quick: bool) -> Iterator[tuple[Case, str]]:
    """Yields the cases to run, I/O cases once under each malloc setting."""
    for case in CASES.values():
        if quick and not case.quick:
            continue
        if any(fnmatch.fnmatch(case.name, p) or case.name.startswith(p + ".") for p in patterns):
            for malloc in settings if case.io else ["default"]:
                yield case, malloc


def malloc_settings(asked: str | None, quick: bool) -> list[str]:
    """Which settings of the C library's allocator to run I/O cases under."""
    if asked:
        return asked.split(",")
    # The settings are glibc's: elsewhere they would be the same measurement twice.
    return ["default"] if quick or sys.platform != "linux" else ["default", "raised"]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="*", help="names or patterns, with commas: timers,echo.10x*")
    parser.add_argument(
        "--loops",
        default=",".join(KNOWN),
        help="names with commas, `module:factory` for your own; asyncio always takes part",
    )
    parser.add_argument("--repeat", type=int, help="processes per case and loop (5; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="one round of the main cases: a first look")
    parser.add_argument(
        "--malloc",
        choices=["default", "raised", "default,raised"],
        help="malloc setting of the I/O cases (both; default with --quick)",
    )
    parser.add_argument("--output", type=Path, help="where to store the figures")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a row falls short")
    parser.add_argument("--list", action="store_true", help="list the cases and stop")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs the comparison that the command line asks for; returns the exit status."""
    options = parse(arguments)
    if options.list:
        for case in CASES.values():
            print(f"{case.name:<20}{case.title}")
        return 0
    settings = malloc_settings(options.malloc, options.quick)
    planned = list(plan(options.cases.split(","), settings, options.quick))
    if not planned:
        print(f"no case matches {options.cases}; --list shows them", file=sys.stderr)
        return 2
    loops = usable_loops(list(dict.fromkeys([STOCK, *options.loops.split(",")])))
    facts = results.describe_machine()
    output = options.output or results.FOLDER / time.strftime("%Y%m%d-%H%M%S.json")
    repeat = options.repeat or (1 if options.quick else 5)
    print(f"Python {facts['python']}, {facts['platform']}, {facts['processors']} processors, ", end="")
    print(f"load {facts['load']:.2f}, {repeat} rounds")
    print(", ".join(f"{name} {version}".strip() for name, version in loops.items()))
    print(report.header(list(loops)), flush=True)
    rows: list[Row] = []
    for case, malloc in planned:
        taking_part = [loop for loop in loops if takes_part(loop, case.io)]
        for row in measure(case, malloc, taking_part, repeat):
            rows.append(row)
            print(report.line(row, list(loops)), flush=True)
        results.store(output, facts, loops, rows)
    print(f"\n{report.summary(rows)}\nstored in {os.path.relpath(output)}")
    return int(options.strict and any(row.verdict() == "SHORT" for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
