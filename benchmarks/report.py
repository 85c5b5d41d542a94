"""The comparison as text: a line per row, and what fell short at the end."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.loops import OURS, STOCK
from benchmarks.results import Row

_CELL = 13
_NAME = 34


def header(loops: Sequence[str]) -> str:
    """The line above the table."""
    cells = "".join(f"{_short(loop):>{_CELL}}" for loop in loops)
    return f"{'case (unit)':<{_NAME}}{cells}{'x stock':>9}{'x peer':>8}  {'target':<26}verdict"


def line(row: Row, loops: Sequence[str]) -> str:
    """One row: `processor time|wall time` per loop, ratios of pyloop, target, verdict."""
    name = f"{row.name} ({_unit(row)})"
    cells = "".join(f"{_cell(row, loop):>{_CELL}}" for loop in loops)
    peer = row.best_peer()
    stock, best = row.ratio(STOCK), row.ratio(peer) if peer else None
    ratios = f"{_ratio(stock):>9}{_ratio(best):>8}"
    target = row.metric.target.describe()
    return f"{name:<{_NAME}}{cells}{ratios}  {target:<26}{row.verdict()}".rstrip()


def summary(rows: Sequence[Row]) -> str:
    """What pyloop misses and which loops gave wrong results."""
    judged = [row for row in rows if row.verdict()]
    short = [row for row in judged if row.verdict() == "SHORT"]
    lines = [f"{len(judged) - len(short)} of {len(judged)} rows reach their target."]
    for row in short:
        lines.append(f"SHORT  {row.name} {row.metric.key}: {'; '.join(row.shortfalls())}")
    noted = set()
    for row in rows:
        for loop, faults in row.faults.items():
            if faults and (row.name, loop) not in noted:
                noted.add((row.name, loop))
                lines.append(f"  *    {row.name} on {loop}: {faults[0]}")
    return "\n".join(lines)


def markdown(rows: Sequence[Row], loops: Sequence[str]) -> str:
    """The same table for a document."""
    head = ["case", "unit", *loops, "x stock", "x best peer", "target", "verdict"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        peer = row.best_peer()
        best = row.ratio(peer) if peer else None
        cells = [row.name, _unit(row), *(_cell(row, loop) for loop in loops)]
        cells += [_ratio(row.ratio(STOCK)), f"{_ratio(best)} ({peer})" if best else "-"]
        cells += [row.metric.target.describe(), row.verdict()]
        lines.append("| " + " | ".join(cell.replace("|", " / ") for cell in cells) + " |")
    return "\n".join(lines)


def _unit(row: Row) -> str:
    beside = f"|{row.metric.beside}" if row.metric.beside else ""
    return f"{row.metric.unit} {row.metric.key}{beside}"


def _cell(row: Row, loop: str) -> str:
    median = row.median(loop)
    faulty = "*" if row.faults.get(loop) else ""
    if median is None:
        return faulty or "-"
    beside = sorted(row.beside.get(loop, ()))
    second = f"|{_number(beside[len(beside) // 2])}" if beside else ""
    return _number(median) + second + faulty


def _number(value: float) -> str:
    if abs(value) >= 100_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _short(loop: str) -> str:
    known = {STOCK: "stock", OURS: "pyloop", "aiofastnet": "aiofn", "aiofastnet+uvloop": "aiofn+uv"}
    return known.get(loop, loop)[-_CELL + 1 :]
