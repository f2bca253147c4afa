"""The results as pictures: bench/results/*.svg, drawn from the JSON beside them, whichever is there."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.measure import RESULTS
from bench.report import SUMMARY

Result: TypeAlias = Mapping[str, Any]

#: Told apart by who cannot tell red from green, too (Okabe and Ito).
_OURS, _BESIDE, _BOUND, _MORE = "#0072b2", "#999999", "#d55e00", "#009e73"
_COLOURS = {"kept": _MORE, "MISSED": _BOUND, "noisy": "#cc79a7", "": _OURS}
_MEANINGS = {"kept": "promise kept", "MISSED": "promise missed", "noisy": "too noisy to tell", "": "nothing promised"}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "bench",  # the same results make the same file
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def draw(results: Path = RESULTS) -> list[Path]:
    """Draw what there are results for; the files."""
    drawn = []
    with mpl.rc_context(_STYLE):
        for name, (wants, picture) in PICTURES.items():
            given = {each: _read(results / f"{each}.json") for each in wants}
            if all(given.values()):
                file = results / f"{name}.svg"
                figure = picture(*given.values())
                figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
                drawn.append(file)
    return drawn


def ratios(summary: Result) -> Figure:
    """Every line of the table beside what it was measured with."""
    rows = [row for bench in summary.values() for row in bench["table"] if row["ratio"] is not None]
    figure = Figure(figsize=(9.5, 0.31 * len(rows) + 1.2))
    axes = figure.subplots()
    least = 10 ** math.floor(math.log10(min((row["ratio"] for row in rows if row["ratio"] > 0), default=0.1)))
    for place, row in enumerate(rows):
        shown = max(row["ratio"], least)
        axes.plot([1, shown], [place, place], color=_COLOURS[row["verdict"]], linewidth=2, solid_capstyle="butt")
        axes.plot(shown, place, "o" if row["ratio"] else "<", color=_COLOURS[row["verdict"]], markersize=6)
        if limit := _limit(row):
            axes.plot(limit, place, "|", color="black", markersize=13, markeredgewidth=1.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}x")
    axes.set_yticks(range(len(rows)), [f"{row['name']}  (beside {row['beside']})" for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times what stands beside it (1: the same; ◂: none at all)")
    shown_verdicts = [each for each in _MEANINGS if any(row["verdict"] == each for row in rows)]
    for verdict in shown_verdicts:
        axes.plot([], [], "o", color=_COLOURS[verdict], label=_MEANINGS[verdict])
    axes.plot([], [], "|", color="black", markersize=13, markeredgewidth=1.6, label="promised")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, fontsize=9)
    return figure


def fanout(sockets: Result, events: Result) -> Figure:
    figure, panels = _panels(2, "One change to all on one worker: who has it, since the first had it")
    for axes, (title, result) in zip(panels, {"WebSocket": sockets, "event stream": events}.items(), strict=True):
        ours, bare = result["found"]["curves"]
        _shares(axes, {"this server": ours, "bare sockets, the same bytes": bare})
        axes.axvline(0.4, color=_BOUND, linestyle="--", linewidth=1)
        axes.axhline(99, color=_BOUND, linestyle="--", linewidth=1)
        axes.set_title(title, fontsize=10)
    return figure


def sizes(result: Result) -> Figure:
    """Small multiples, both axes logarithmic: the slope is the growth."""
    panels_of: Mapping[str, tuple[str, float, float | None]] = {
        "start": ("start with a mirror, s", 1, 3.0),
        "memory": ("memory of the worker, MB", 1, 150.0),
        "read": ("first read of a target, ms", 1000, 10.0),
        "commit": ("one-file commit until woken, ms", 1000, 60.0),
        "shared": ("a commit that 2,000 targets see, ms", 1000, None),
    }
    figure, panels = _panels(
        len(panels_of), "What grows with the repository (median; bars: all repetitions)", width=2.9
    )
    files = [int(size) for size in result["found"]]
    for axes, (of, (title, scale, bound)) in zip(panels, panels_of.items(), strict=True):
        values = [_list(each[of]) for each in result["found"].values()]
        middles = [scale * sorted(each)[len(each) // 2] for each in values]
        reach = [[m - scale * min(v) for m, v in zip(middles, values, strict=True)]]
        reach += [[scale * max(v) - m for m, v in zip(middles, values, strict=True)]]
        axes.errorbar(files, middles, yerr=reach, fmt="o-", color=_OURS, ecolor=_BESIDE, capsize=3)
        if bound is not None:
            axes.axhline(bound, color=_BOUND, linestyle="--", linewidth=1)
            axes.annotate("promised", (files[0], bound), color=_BOUND, fontsize=8, va="bottom")
        axes.set(xscale="log", yscale="log")
        axes.set_xticks(files, [f"{each:,}" for each in files], fontsize=8)
        axes.minorticks_off()
        _plain_ticks(
            axes, [*middles, *(scale * value for each in values for value in each), *([bound] if bound else [])]
        )
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("files")
    return figure


def propagation(result: Result) -> Figure:
    figure, (axes,) = _panels(1, "From git push to 1,000 clients on two workers", width=6.5)
    _shares(axes, {"this server": result["curve"]})
    alone = {"git push": result["push"], "git push and git fetch": result["push"] + result["fetch"]}
    for colour, (what, seconds) in zip((_BESIDE, "black"), alone.items(), strict=True):
        axes.axvline(seconds, color=colour, linewidth=1.2, label=f"{what} alone")
    axes.axvline(1.0, color=_BOUND, linestyle="--", linewidth=1, label="promised")
    axes.set_xlabel("seconds since the push began")
    axes.legend(fontsize=8)
    return figure


def vault(result: Result) -> Figure:
    found = result["found"]
    figure, (axes,) = _panels(1, "How often Vault is asked for a secret", width=6.5)
    phases = {"cold": found["distinct"], "warm": found["distinct"], "rotated": found["changed"]}
    for place, (phase, distinct) in enumerate(phases.items()):
        for shift, value, colour in ((-0.2, distinct, _BESIDE), (0.2, found[phase]["documents"], _OURS)):
            axes.bar(place + shift, value, 0.38, color=colour)
            axes.annotate(f"{value:,}", (place + shift, value), ha="center", va="bottom", fontsize=9)
    axes.set_xticks(range(3), ["all read, cold", "all read again", f"{found['changed']} rotated, all read"])
    axes.grid(visible=False, axis="x")
    for colour, label in ((_BESIDE, "distinct secrets (changed ones)"), (_OURS, "reads of them in Vault's audit log")):
        axes.bar(0, 0, color=colour, label=label)
    axes.legend(fontsize=8)
    return figure


def peers(result: Result) -> Figure:
    found = result["found"]
    figure, (reads, told) = _panels(2, "Beside others on the same machine")
    middles = {name: sorted(rounds)[len(rounds) // 2] for name, rounds in found["reads"].items()}
    for place, (name, value) in enumerate(sorted(middles.items(), key=lambda each: each[1])):
        reads.barh(place, value, color=_OURS if name == "ours" else _BESIDE)
        reads.annotate(f" {name}: {value:,.0f}", (value, place), va="center", fontsize=9)
    reads.set_yticks([])
    reads.margins(x=0.35)
    reads.xaxis.set_major_locator(MaxNLocator(4))
    reads.xaxis.set_major_formatter("{x:,.0f}")
    reads.set_title("the same bytes read, times a second, from one process each", fontsize=9)
    _shares(told, {"this server" if name == "ours" else name: each["curve"] for name, each in found["told"].items()})
    told.set_xlabel("seconds since the change was asked for")
    told.set_title("3,000 clients told of one change", fontsize=9)
    return figure


#: File name -> the results that it is drawn from, and how.
PICTURES: Mapping[str, tuple[Sequence[str], Callable[..., Figure]]] = {
    "ratios": ([SUMMARY.removesuffix(".json")], ratios),
    "fanout": (["fanout_ws", "fanout_sse"], fanout),
    "sizes": (["sizes"], sizes),
    "propagation": (["propagation"], propagation),
    "vault": (["vault"], vault),
    "peers": (["peers"], peers),
}


def _panels(count: int, title: str, *, width: float = 4.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * count, 3.4), layout="constrained")
    figure.suptitle("\n".join(textwrap.wrap(title, int(16 * width * count))), fontsize=11)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _shares(axes: Axes, curves: Mapping[str, Sequence[float]]) -> None:
    """The share of clients that were told, over time."""
    colours = (_OURS, _BESIDE, _MORE, _BOUND)
    for colour, (label, times) in zip(colours, curves.items(), strict=False):
        axes.plot(times, range(len(times)), color=colour, linewidth=2, label=label)
    axes.set(xlabel="seconds", ylabel="% of the clients", ylim=(0, 101))
    axes.set_xlim(left=0)
    axes.legend(fontsize=8, loc="lower right")


def _plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    """1, 2, 5, 10 ... around the values, written as people do."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = [digit * 10.0**power for power in range(low, high + 1) for digit in (1, 2, 5)]
    below = max((step for step in steps if step <= min(values)), default=steps[0])
    above = min((step for step in steps if step >= max(values)), default=steps[-1])
    shown = [step for step in steps if below <= step <= above]
    axes.set_yticks(shown, [f"{step:g}" for step in shown], fontsize=8)
    axes.set_ylim(below * 0.9, above * 1.1)


def _limit(row: Result) -> float | None:
    """Where the promise lies on the scale of ratios; None where there is none, or it is nought."""
    if not row["bound"]:
        return None
    return float(row["bound"] if row["of_ratio"] else row["bound"] / row["floor"])


def _list(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def _read(file: Path) -> Result | None:
    found: Result | None = json.loads(file.read_text()) if file.exists() else None
    return found
