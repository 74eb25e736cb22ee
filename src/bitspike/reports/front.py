"""The front of a population with several objectives: each pair of the first with another, and its networks."""

from __future__ import annotations

from functools import partial
from typing import Any

from matplotlib.figure import Figure

from bitspike.errors import refuse
from bitspike.reports import style
from bitspike.reports.rundata import number, section
from bitspike.reports.sections import Section
from bitspike.reports.tables import Table
from bitspike.reports.text import si

UNITS = {"energy": "J"}
NAMES = {"nll": "NLL", "rmse": "RMSE", "ece": "ECE", "brier": "Brier", "bits": "bits of an activation"}


def check(found: dict[str, Any], place: str) -> None:
    """Refuse a front whose points have not one number for each objective."""
    if "front" not in found:
        return
    front = section(found, "front")
    names, rows, reference = front.get("objectives"), front.get("networks"), front.get("reference")
    whole = isinstance(names, list) and len(names) >= 2 and all(isinstance(name, str) for name in names)
    if not whole or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        refuse(f"{place} front", "no objectives or no networks in it", "what `bitspike tune` writes")
    for point in (*(row.get("point") for row in rows), reference):
        if not isinstance(point, list) or len(point) != len(names or ()) or None in _numbers(point):
            refuse(f"{place} front", f"point {point!r}", "a number for each objective")
    if any(type(row.get("member")) is not int for row in rows):
        refuse(f"{place} front", "a network without its member", "whole numbers")


def _numbers(point: list[Any]) -> list[float | None]:
    return [number({"at": value}, "at") for value in point]


def sections(found: dict[str, Any]) -> list[Section]:
    """The front, where there is one."""
    front = section(found, "front")
    if not front or not front["networks"]:
        return []
    names = front["objectives"]
    caption = (
        "Dots are networks as they were measured on validation at ready points, filled where members ended; the line "
        "joins those of them that none is better than in everything. Each is a run, front/K of member K."
    )
    drawn = [plane(found["turns"], front, k) for k in range(1, len(names))]
    return [Section("front", "The front", caption, drawn, table=_table(front))]


@style.styled
def plane(turns: list[dict[str, Any]], front: dict[str, Any], other: int) -> Figure:
    """The first objective against another."""
    from matplotlib.ticker import LogLocator

    names = front["objectives"]
    x, y = names[other], names[0]
    figure, axes = style.panel()
    axes.grid(axis="x")
    last = {turn["member"]: turn["generation"] for turn in turns}
    for ended, size, face in ((False, 8, "none"), (True, 16, style.BLUE)):
        some = [turn for turn in turns if (turn["generation"] == last[turn["member"]]) is ended]
        at = [(number(turn, "metrics", x), number(turn, "metrics", y)) for turn in some]
        known = [(a, b) for a, b in at if a is not None and b is not None]
        edge = style.BLUE if ended else style.MUTED
        axes.scatter([a for a, _ in known], [b for _, b in known], size, face, edgecolors=edge, linewidths=0.7)
    points = sorted((row["point"][other], row["point"][0]) for row in front["networks"])
    axes.plot(*zip(*points, strict=True), "o-", color=style.VERMILION, markersize=4.5)
    values = [value for pair in points for value in pair]
    if min(values) > 0:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_formatter(lambda value, _: "")
    for name, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        axis.set_major_formatter(partial(_tick, UNITS.get(name, "")))
    axes.set(xlabel=f"{_named(x)} on validation")
    axes.set_title(f"{_named(y)} on validation")
    ends = " and ".join(f"{_said(y, b)} at {_said(x, a)}" for a, b in (points[0], points[-1]))
    return style.tell(figure, f"{_named(y)} against {_named(x)}: a front of {len(points)} networks between {ends}")


def _tick(unit: str, value: float, _: object) -> str:
    return si(value, unit) if unit else f"{value:g}"


def _table(front: dict[str, Any]) -> Table:
    names = front["objectives"]
    rows = [
        [str(row["member"]), *(_said(name, value) for name, value in zip(names, row["point"], strict=True))]
        for row in front["networks"]
    ]
    reference = ", ".join(f"{_named(n)} {_said(n, v)}" for n, v in zip(names, front["reference"], strict=True))
    volume = number(front, "hypervolume")
    note = f"Hypervolume {'–' if volume is None else format(volume, '.4g')}, measured from {reference}."
    return Table(["member", *map(_named, names)], rows, note)


def _named(name: str) -> str:
    return NAMES.get(name, name)


def _said(name: str, value: float) -> str:
    return si(value, UNITS[name]) if name in UNITS else f"{value:.4g}"
