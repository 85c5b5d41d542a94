"""The in-loop cases as a pytest-benchmark suite: `pytest benchmarks`.

Every case runs on stock asyncio, on pyloop, and on each `--loop module:factory` given, so that a
program can hold its own loop, set up as it uses it, against stock asyncio:

    pytest benchmarks --loop myprogram.loops:new_tuned_loop --benchmark-group-by=param:workload
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from benchmarks.cases import WORKLOADS

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.parametrize("workload", WORKLOADS)
def test_workload(workload: str, loop: asyncio.AbstractEventLoop, benchmark: BenchmarkFixture) -> None:
    """Times one round of a workload; the workload itself checks that all of its work was done."""
    benchmark.group = workload
    operations = benchmark(WORKLOADS[workload], loop)
    benchmark.extra_info["operations"] = operations
    assert operations > 0
