"""The curve of a network made spiking: accuracy over spikes and over bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitspike.errors import refuse
from bitspike.reports.measurement import Measurement, Progress
from bitspike.reports.rundata import RunData, number, section
from bitspike.reports.sections import Section
from bitspike.reports.style import CYCLE, INK, MUTED, VERMILION, ends, panel, percent_axis, styled, tell
from bitspike.reports.text import percent
from bitspike.tables.measurement import Hybridised as HybridisedOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READINGS = ("accuracy", "spikes", "bits")


@dataclass(frozen=True)
class Trade:
    """Test rows by number of presentations, in the order of spikes; the static accuracy; the row chosen."""

    lines: dict[int, list[dict[str, Any]]]
    static: float
    chosen: dict[str, Any]
    wanted: dict[str, Any]


def trade(run: RunData) -> Trade | None:
    """What sweep.json says of the test part; None without one, refused where it is not readable."""
    rows = run.measured["hybridised"].get("test")
    if not rows:
        return None
    lines: dict[int, list[dict[str, Any]]] = {}
    static = None
    for row in rows if isinstance(rows, list) else [rows]:
        steps, accuracy = number(row, "steps"), number(row, "accuracy")
        if isinstance(row, dict) and row.get("counts", 0) is None and accuracy is not None:
            static = accuracy
        elif steps is None or any(number(row, name) is None for name in READINGS):
            refuse(f"{run.path / 'sweep.json'} test", "an unreadable row", "steps, counts, accuracy, spikes and bits")
        else:
            lines.setdefault(int(steps), []).append(row)
    if static is None or not lines:
        refuse(f"{run.path / 'sweep.json'} test", "no static row or no other", "both")
    for found in lines.values():
        found.sort(key=lambda row: float(row["spikes"]))
    sweep = run.measured["hybridised"]
    best = sweep.get("chosen")
    chosen = section(best, "test") if isinstance(best, dict) else {}
    if chosen and any(number(chosen, name) is None for name in ("steps", *READINGS)):
        refuse(f"{run.path / 'sweep.json'} chosen.test", "an unreadable row", "steps, accuracy, spikes and bits")
    return Trade(lines, static, chosen, section(sweep, "wanted"))


@styled
def over(found: Trade, reading: str, title: str, label: str, log: bool) -> Figure:
    """Accuracy over one reading of the rows; dashed: the static network; ringed: the row chosen."""
    figure, axes = panel()
    names = []
    for k, (steps, rows) in enumerate(sorted(found.lines.items())):
        name = "shown once" if steps == 1 else f"shown {steps} times"
        at, accuracy = [row[reading] for row in rows], [row["accuracy"] for row in rows]
        axes.plot(at, accuracy, color=CYCLE[k % len(CYCLE)], marker="o", markersize=3.2, label=name)
        names.append((name, float(accuracy[-1]), CYCLE[k % len(CYCLE)]))
    axes.axhline(found.static, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    if (bound := number(found.wanted, reading)) is not None:
        axes.axvline(bound, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    if found.chosen:
        ring: Sequence[float] = (found.chosen[reading], found.chosen["accuracy"])
        axes.plot(*([value] for value in ring), "o", markersize=9, markerfacecolor="none", color=VERMILION)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    percent_axis(axes)
    axes.set(xlabel=label, title=title)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    ends(axes, [("as trained", found.static, INK), *names])
    rows = [row for _, each in sorted(found.lines.items()) for row in each]
    least, most = (pick(rows, key=lambda row: float(row[reading])) for pick in (min, max))
    said = (f"{100 * row['accuracy']:.1f} % at {row[reading]:.3g}" for row in (least, most))
    return tell(figure, f"{title} ({label}): from {' to '.join(said)}; as trained {100 * found.static:.1f} %")


class Hybridised(Measurement):
    """An ordinary network made spiking (`bitspike hybridise`)."""

    file = HybridisedOptions.file
    account = "the setting chosen, as few-bit spikes"

    def measure(self, run: Any, part: str, data: Path | None = None, progress: Progress = None) -> dict[str, Any]:
        """By a command of its own, which says what is measured."""
        refuse("--measure", "hybridised", "`bitspike hybridise RUN`, which measures it")

    @classmethod
    def sections(cls, run: RunData, found: dict[str, Any]) -> list[Section]:
        """Accuracy over spikes and bits."""
        shown = trade(run)
        if shown is None:
            return []
        drawn = [
            over(shown, "spikes", "Accuracy over spikes", "spikes per neuron and inference", log=True),
            over(shown, "bits", "Accuracy over bits", "bits per activation", log=False),
        ]
        caption = (
            "The trained network with its activities sent as whole numbers, from fine steps (right) to coarse ones "
            f"(left): each dot is one step size, measured on test. Dashed: the network as trained, "
            f"{percent(shown.static, 2)}. "
            "A spike is one unit of such a number; bits are log2 of how many different numbers a neuron sends, a mean "
            "over neurons. An input shown several times gives several answers, which are averaged."
        )
        best = shown.chosen
        if best:
            times = {1: "once", 2: "twice"}.get(int(best["steps"]), f"{best['steps']} times")
            caption += (
                f" Ringed: chosen on validation, shown {times}, {percent(best['accuracy'], 2)} at {best['spikes']:.2f} "
                f"spikes and {best['bits']:.2f} bits."
            )
        return [Section("spiking", "What spikes cost", caption, drawn)]
