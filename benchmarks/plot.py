"""Draws a stored comparison as PNG files, beside its JSON: `python benchmarks/plot.py [FILE]`.

Needs matplotlib, which nothing else in the project does.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a file: the package is one folder up
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.loops import OURS, STOCK
from benchmarks.results import Row, load, newest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Fixed per loop, so that a loop looks the same in every plot and in plots of different runs.
# The palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = {
    OURS: "#D55E00",
    STOCK: "#7F7F7F",
    "uvloop": "#0072B2",
    "rloop": "#009E73",
    "rsloop": "#CC79A7",
    "zuvloop": "#E69F00",
    "aiofastnet": "#56B4E9",
    "aiofastnet+uvloop": "#8C6BB1",
}
OTHER = "#000000"


def colour(loop: str) -> str:
    """The colour of a loop in every plot."""
    return COLOURS.get(loop, OTHER)


def plot_cost(rows: Sequence[Row], loops: Sequence[str]) -> Figure | None:
    """Processor time of the cases without sockets, as a multiple of stock asyncio's."""
    shown = [row for row in rows if row.metric.key == "cpu" and row.metric.unit == "ns"]
    if not shown:
        return None
    figure, axes = _figure(10, 1.6 + 0.24 * len(shown) * len(loops) / 2)
    height = 0.8 / len(loops)
    for index, loop in enumerate(loops):
        places = [number + (index - (len(loops) - 1) / 2) * height for number in range(len(shown))]
        shares = [_share_of_stock(row, loop) for row in shown]
        axes.barh(places, shares, height * 0.9, color=colour(loop), label=loop)
        for place, share, row in zip(places, shares, shown, strict=True):
            if share:
                value = row.median(loop)
                axes.annotate(
                    f"{value:,.0f} ns", (share, place), (3, 0), textcoords="offset points",
                    va="center", fontsize=7,
                )  # fmt: skip
    axes.set_yticks(range(len(shown)), [row.name for row in shown])
    axes.invert_yaxis()
    axes.axvline(1, color=colour(STOCK), linewidth=0.8)
    axes.set_xlim(0, 1.25 * max(_share_of_stock(row, loop) for row in shown for loop in loops))
    axes.set_xlabel("processor time per operation, stock asyncio = 1 (shorter is better)")
    return _finish(figure, axes, len(loops))


def plot_echo(rows: Sequence[Row], loops: Sequence[str], malloc: str) -> Figure | None:
    """The echo server's processor time per message, a panel per message size."""
    echo = [row for row in rows if row.case.startswith("echo.") and row.malloc == malloc]
    sizes = list(dict.fromkeys(_size(row) for row in echo))
    if not echo:
        return None
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(sizes), figsize=(3.4 * len(sizes), 4), squeeze=False)
    for axes, size in zip(panels[0], sizes, strict=True):
        shown = [row for row in echo if _size(row) == size]
        width = 0.8 / len(loops)
        for index, loop in enumerate(loops):
            places = [n + (index - (len(loops) - 1) / 2) * width for n in range(len(shown))]
            heights = [row.median(loop) or 0.0 for row in shown]
            axes.bar(places, heights, width * 0.9, color=colour(loop), label=loop)
        axes.set_xticks(range(len(shown)), [_connections(row) for row in shown])
        axes.set_title(size, fontsize=10)
    panels[0][0].set_ylabel("server processor time per message, us")
    figure.supxlabel(f"connections (malloc thresholds: {malloc}; shorter is better)", fontsize=10)
    return _finish(figure, panels[0][0], len(loops))


def plot_lateness(rows: Sequence[Row], loops: Sequence[str]) -> Figure | None:
    """How late a sleep ends: a mark for the p50, a line from the earliest to the p99."""
    by_case: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.case.startswith("lateness."):
            by_case.setdefault(row.case, {})[row.metric.key] = row
    if not by_case:
        return None
    figure, axes = _figure(9, 4.2)
    for index, loop in enumerate(loops):
        shift = (index - (len(loops) - 1) / 2) * 0.8 / len(loops)
        label: str | None = loop
        for number, metrics in enumerate(by_case.values()):
            low, middle, high = (metrics[key].median(loop) for key in ("min", "p50", "p99"))
            if low is None or middle is None or high is None:
                continue
            axes.plot([number + shift] * 2, [low, high], color=colour(loop), linewidth=1.5)
            axes.plot(number + shift, middle, "o", color=colour(loop), label=label)
            label = None
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xticks(range(len(by_case)), [case.removeprefix("lateness.") for case in by_case])
    axes.set_xlabel("sleep asked for")
    axes.set_ylabel("lateness in us: earliest, p50, p99\n(below zero is too early)")
    return _finish(figure, axes, len(loops))


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height))


def _finish(figure: Figure, axes: Axes, entries: int) -> Figure:
    _legend(figure, axes, entries)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()))
    return figure


def _legend(figure: Figure, axes: Axes, entries: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=entries, frameon=False, fontsize=9)


def _share_of_stock(row: Row, loop: str) -> float:
    stock, value = row.median(STOCK), row.median(loop)
    return value / stock if stock and value else 0.0


def _connections(row: Row) -> str:
    return row.case.removeprefix("echo.").partition("x")[0]


def _size(row: Row) -> str:
    return row.case.removeprefix("echo.").partition("x")[2]


def draw(path: Path) -> list[Path]:
    """Draws every plot that the stored comparison has rows for; returns the files written."""
    import matplotlib

    matplotlib.use("Agg")
    facts, rows = load(path)
    present = [loop for loop in facts["loops"] if any(row.median(loop) for row in rows)]
    in_loop = [loop for loop in present if any(row.case == "iteration" for row in rows if row.median(loop))]
    plots: dict[str, Any] = {
        "cost": plot_cost(rows, in_loop or present),
        "echo": plot_echo(rows, present, "default"),
        "echo-malloc": plot_echo(rows, present, "raised"),
        "lateness": plot_lateness(rows, in_loop or present),
    }
    written = []
    for name, figure in plots.items():
        if figure is not None:
            written.append(path.with_name(f"{path.stem}-{name}.png"))
            figure.savefig(written[-1], dpi=130)
    return written


def main(arguments: list[str]) -> int:
    """Draws the given comparison, or the newest one; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="a file of benchmarks/results")
    try:
        for path in draw(parser.parse_args(arguments).file or newest()):
            print(os.path.relpath(path))
    except ModuleNotFoundError as missing:
        print(f"plot: {missing.name} is not installed: pip install matplotlib", file=sys.stderr)
        return 1
    except FileNotFoundError as missing_file:
        print(f"plot: {missing_file}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
