"""The child process: runs one case on one loop, once, and prints what it measured as JSON."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict

from benchmarks.loops import factory_of, version_of
from benchmarks.model import WrongResult


def run(case_name: str, loop_name: str) -> dict[str, object]:
    """Measures a case; a failure is part of the answer: the others go on."""
    from benchmarks.cases import CASES  # imports what only a measurement needs

    try:
        return asdict(CASES[case_name].measure(factory_of(loop_name)))
    except WrongResult as wrong:
        return {"values": {}, "faults": [f"wrong result: {wrong}"]}
    except Exception as error:
        traceback.print_exc()
        return {"values": {}, "faults": [f"{type(error).__name__}: {error}"]}


def check(loop_name: str) -> dict[str, object]:
    """Says whether a loop imports and runs a coroutine here."""

    async def trivial() -> int:
        return 42

    try:
        loop = factory_of(loop_name)()
        try:
            usable = loop.run_until_complete(trivial()) == 42
        finally:
            loop.close()
    except Exception as error:
        return {"usable": False, "reason": f"{type(error).__name__}: {error}"}
    return {"usable": usable, "version": version_of(loop_name)}


def main(arguments: list[str]) -> None:
    """Usage: `worker check LOOP` or `worker run CASE LOOP`."""
    answer = check(arguments[1]) if arguments[0] == "check" else run(*arguments[1:3])
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
