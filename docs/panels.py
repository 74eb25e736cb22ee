"""A picture of docs/: a row of panels with one legend below, for the scripts that draw from results/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from bitspike.reports.style import RC

PICTURES = Path(__file__).parent / "pictures"
Panel = Callable[[Any], None]


def draw(name: str, panels: Sequence[Panel]) -> None:
    """Write a picture of one row of panels with one legend."""
    with plt.rc_context({**RC, "text.parse_math": True, "svg.hashsalt": name, "figure.facecolor": "white"}):
        figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.6), squeeze=False)
        for panel, axis in zip(panels, axes[0], strict=True):
            panel(axis)
            axis.grid(True)
        handles = {label: h for axis in axes[0] for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=5, frameon=False, fontsize=8)
        figure.tight_layout(rect=(0, 0.12, 1, 1))
        figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)
