"""The figures of a run's page for a notebook, as matplotlib figures: `bitspike.figures.reliability(run)`.

Each takes a `Run` or the path of a run folder, draws what `bitspike report` draws (panels of one section side by side),
and refuses a run that has no data for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitspike import registry
from bitspike.errors import refuse
from bitspike.reports import examples, sections
from bitspike.reports.page import sections_of
from bitspike.reports.rundata import RunData, read_run
from bitspike.reports.sections import Section
from bitspike.reports.style import side_by_side

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "confusion",
    "every",
    "learning",
    "measured",
    "plane",
    "raster",
    "regression",
    "reliability",
    "series",
    "time_steps",
    "weights",
]


def _read(run: Any) -> RunData:
    return read_run(Path(getattr(run, "path", run)))


def _joined(found: RunData, name: str, make: Callable[[], Sequence[Figure]]) -> Figure:
    def drawn() -> Sequence[Figure]:
        figures = make()
        if not figures:
            refuse(f"figures.{name}", f"'{found.path}', which has no data for it", "another run or figure")
        return figures

    return side_by_side(drawn)


def _figure(make: Callable[[RunData], Section | None]) -> Callable[[Any], Figure]:
    def draw(run: Any) -> Figure:
        found = _read(run)
        return _joined(found, make.__name__, lambda: [] if (section := make(found)) is None else section.drawn)

    draw.__name__ = draw.__qualname__ = make.__name__
    draw.__doc__ = make.__doc__
    return draw


learning = _figure(sections.learning)
reliability = _figure(sections.reliability)
time_steps = _figure(sections.time_steps)
regression = _figure(examples.regression)
series = _figure(examples.series)
plane = _figure(sections.plane)
raster = _figure(examples.raster)
weights = _figure(sections.weights)
confusion = _figure(sections.confusion)


def measured(run: Any, name: str) -> Figure:
    """What the measurement `name` of the registry ("spiking", "relu_spiking", "hybridised", one's own) draws."""
    found = _read(run)
    kind = registry.find("measurement", name, "figures.measured")
    reading = found.measured[name]

    def panels() -> list[Figure]:
        return [panel for section in kind.sections(found, reading) for panel in section.drawn] if reading else []

    return _joined(found, name, panels)


def every(run: Any) -> dict[str, list[Figure]]:
    """The panels of all sections of the run's page by their keys, in its order."""
    return {section.key: list(section.drawn) for section in sections_of(_read(run))}
