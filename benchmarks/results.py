"""What a whole comparison found: rows, their ratios and verdicts, kept as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.loops import OURS, STOCK
from benchmarks.model import Metric, Target

FOLDER = Path(__file__).with_name("results")


@dataclass
class Row:
    """One metric of one case on every loop: a list of samples per loop, one per round."""

    case: str
    title: str
    malloc: str  # "default" or "raised"
    metric: Metric
    samples: dict[str, list[float]] = field(default_factory=dict)
    beside: dict[str, list[float]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The case, with a mark if it ran under the raised malloc threshold."""
        return self.case + ("+malloc" if self.malloc == "raised" else "")

    def median(self, loop: str) -> float | None:
        """The median of a loop's samples, None if it gave none."""
        values = self.samples.get(loop)
        return statistics.median(values) if values else None

    def ratio(self, other: str, ours: str = OURS) -> float | None:
        """How many times better `ours` is than `other`, round by round, median of the rounds.

        The loops of one round ran one after the other, so what slowed the machine down during a
        round slowed all of them, and a ratio per round is steadier than a ratio of medians.
        """
        if not self.metric.relative:
            return None
        pairs = zip(self.samples.get(ours, ()), self.samples.get(other, ()), strict=False)
        ratios = [_times_better(mine, theirs, self.metric) for mine, theirs in pairs]
        return statistics.median(ratios) if ratios else None

    def best_peer(self, ours: str = OURS) -> str | None:
        """The peer that `ours` has the hardest time with; one that gave wrong results never is."""
        ratios = {
            loop: ratio
            for loop in self.samples
            if loop not in (STOCK, ours) and not self.faults.get(loop)
            if (ratio := self.ratio(loop, ours)) is not None
        }
        return min(ratios, key=lambda loop: ratios[loop]) if ratios else None

    def shortfalls(self) -> list[str]:
        """What pyloop misses of this row's target; empty if it reaches all of it."""
        target, median = self.metric.target, self.median(OURS)
        if self.faults.get(OURS):
            return [self.faults[OURS][0]]
        if median is None:
            return ["no sample"]
        found = []
        bounds = ((STOCK, target.stock), (self.best_peer(), target.peer), ("uvloop", target.uvloop))
        for other, wanted in bounds:
            reached = self.ratio(other) if other else None
            if wanted is not None and reached is not None and reached < wanted:
                noise = " within noise" if self._within_noise(str(other), wanted) else ""
                found.append(f"{reached:.2f}x {other}, {wanted:g}x wanted{noise}")
        if target.at_most is not None and median > target.at_most:
            found.append(f"{median:,.4g} {self.metric.unit}, at most {target.at_most:,g} wanted")
        if target.at_least is not None and median < target.at_least:
            found.append(f"{median:,.4g} {self.metric.unit}, at least {target.at_least:,g} wanted")
        return found

    def verdict(self) -> str:
        """PASS or SHORT; empty where nothing is asked or pyloop took no part."""
        if OURS not in self.samples and not self.faults.get(OURS):
            return ""
        if self.faults.get(OURS):
            return "SHORT"
        if self.metric.target == Target():
            return ""
        return "SHORT" if self.shortfalls() else "PASS"

    def _within_noise(self, other: str, wanted: float) -> bool:
        """Whether pyloop's best and the other's worst sample would reach the target."""
        ours, theirs = self.samples[OURS], self.samples[other]
        best, worst = (max(ours), min(theirs)) if self.metric.higher_is_better else (min(ours), max(theirs))
        return _times_better(best, worst, self.metric) >= wanted


def _times_better(mine: float, theirs: float, metric: Metric) -> float:
    above, below = (mine, theirs) if metric.higher_is_better else (theirs, mine)
    return above / below if below else float("inf")


def describe_machine() -> dict[str, Any]:
    """The facts without which a figure means nothing."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def store(path: Path, facts: dict[str, Any], loops: dict[str, str], rows: list[Row]) -> None:
    """Writes everything measured so far; called after every case, so that a stop loses little."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        **facts,
        "loops": loops,
        "rows": [
            {
                **asdict(row),
                "medians": {loop: row.median(loop) for loop in row.samples},
                "ratios": {loop: row.ratio(loop) for loop in row.samples if loop != OURS},
                "verdict": row.verdict(),
                "shortfalls": row.shortfalls() if row.verdict() == "SHORT" else [],
            }
            for row in rows
        ],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """Reads a stored comparison back: the facts about it, and its rows."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for stored in document.pop("rows"):
        metric = Metric(**{**stored["metric"], "target": Target(**stored["metric"]["target"])})
        fields = {key: stored[key] for key in ("case", "title", "malloc", "samples", "beside", "faults")}
        rows.append(Row(metric=metric, **fields))
    return document, rows


def newest() -> Path:
    """The comparison stored last.

    Raises:
        FileNotFoundError: nothing was stored yet.
    """
    found = sorted(FOLDER.glob("*.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"no results in {FOLDER}: run benchmarks/compare.py first")
    return found[-1]
