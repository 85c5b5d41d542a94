"""What a benchmark case is: what it measures, what it must reach, and what one run gives back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# One round of work on a loop that is not running; returns how many operations it did, and raises
# `WrongResult` if the loop did not do what it was asked to.
Workload = Callable[[asyncio.AbstractEventLoop], int]


class WrongResult(Exception):
    """A loop lost, repeated or misplaced work: its figure must not count."""


@dataclass(frozen=True)
class Target:
    """What pyloop has to reach in one metric; every bound that is set has to hold."""

    stock: float | None = None  # times better than stock asyncio
    peer: float | None = None  # times better than the best other loop
    uvloop: float | None = None  # times better than uvloop
    at_most: float | None = None  # in the metric's own unit
    at_least: float | None = None  # in the metric's own unit

    def describe(self) -> str:
        """Says the target in a few words, empty if there is none."""
        parts = []
        if self.stock is not None:
            parts.append(f"{self.stock:g}x stock")
        if self.peer is not None:
            parts.append(f"{self.peer:g}x best peer")
        if self.uvloop is not None:
            parts.append(f"{self.uvloop:g}x uvloop")
        if self.at_most is not None:
            parts.append(f"<= {self.at_most:,g}")
        if self.at_least is not None:
            parts.append(f">= {self.at_least:,g}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Metric:
    """One figure of a case: a row of the report."""

    key: str  # name in `Sample.values`
    unit: str
    target: Target = Target()
    beside: str | None = None  # a second figure shown in the same cell, such as wall time
    higher_is_better: bool = False
    relative: bool = True  # False where zero is a good value, and a ratio says nothing


@dataclass(frozen=True)
class Sample:
    """What one process measured; a sample with faults is shown but never wins."""

    values: dict[str, float]
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """One program that is run, in a fresh process, on every loop."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    measure: Callable[[LoopFactory], Sample]
    io: bool = False  # transports take part: run under both malloc settings, and on transport-only peers
    quick: bool = True  # part of `--quick`
    workload: Workload | None = None  # set for in-loop cases, which the pytest suite runs as well


def processor_time(target: Target, unit: str = "ns") -> Metric:
    """The usual metric: processor time per operation, with wall time in the same cell."""
    return Metric("cpu", unit, target, beside="wall")
