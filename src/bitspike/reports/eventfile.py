"""The page of `bitspike events`: a recording of an event camera on one self-contained page, with a moving preview."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bitspike.data.eventsummary import BINS, FRAMES, SAID_BY, Summary
from bitspike.reports.checked import Array
from bitspike.reports.moving import moving_picture
from bitspike.reports.page import write_page
from bitspike.reports.sections import Section
from bitspike.reports.style import BLUE, INK, VERMILION, blank, ends, ink_image, panel, styled, tell
from bitspike.reports.tables import Table, Tile
from bitspike.reports.text import NONE, duration, percent, si, whole
from bitspike.tables.events import words_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_events_page(found: Summary, out: Path) -> Path:
    """Write the page of a recording and return its path."""
    return write_page(
        out,
        "events.html.jinja",
        name=found.name,
        subtitle=_subtitle(found),
        lead=_lead(found),
        tiles=_tiles(found),
        preview=None if found.lines is not None else moving_picture(found.frames, found.seconds / FRAMES),
        sections=_sections(found),
        skipped=[f"{count:,} {words}" for words, count in found.skipped.items()],
        about=list(found.about.items()),
        table=_table(found),
    )


def _subtitle(found: Summary) -> list[str]:
    about = found.about
    return [words_of(found.format), *(about[key] for key in ("camera", "date") if key in about)]


def _lead(found: Summary) -> str:
    height, width = found.sensor
    sensor = f"{width} × {height} pixels" if height > 1 else f"{width} channels"
    long = si(found.seconds, "s") if found.seconds < 10 else duration(found.seconds)
    return f"{found.events:,} events of a sensor of {sensor}{SAID_BY[found.told]} in {long}."


def _tiles(found: Summary) -> list[Tile]:
    height, width = found.sensor
    pixels = height * width
    made = [
        Tile("Events", whole(found.events), f"{found.events / pixels:,.1f} a pixel"),
        Tile("Duration", si(found.seconds, "s"), f"from {found.first:,} to {found.last:,} µs"),
        Tile("Rate", NONE if found.per_second is None else si(found.per_second, ""), "events a second"),
    ]
    if found.polarities == 2:
        made.append(Tile("ON", percent(found.on / found.events), "of the events; the rest are OFF"))
    made.append(Tile("Active pixels", percent(found.active / pixels), f"{found.active:,} of {pixels:,}"))
    return made


def _sections(found: Summary) -> list[Section]:
    made = []
    if found.last > found.first:
        step = found.seconds / BINS
        caption = f"Events a second, counted in {BINS} parts of {si(step, 's')} each."
        made.append(Section("rate", "When it happens", caption, [_rate(found)], wide=True))
    if found.lines is not None:
        caption = (
            "Each row is a channel (or a few), each column a part of the time; the stronger the ink, the more events."
        )
        made.append(Section("lines", "Which channels speak when", caption, [_lines(found)], wide=True))
        return made
    blocks = "" if found.scale == 1 else f" Each dot is {found.scale} × {found.scale} pixels."
    caption = f"All events of the recording at their pixels; the ink grows with the logarithm of their number.{blocks}"
    made.append(Section("image", "Where it happens", caption, [_image(found, 1), _image(found, 0)]))
    return made


@styled
def _rate(found: Summary) -> Figure:
    figure, axes = panel(8.8, 2.7)
    at = (np.arange(BINS) + 0.5) * found.seconds / BINS
    rate = found.rate * BINS / found.seconds
    lines = [("ON", rate[1], BLUE), ("OFF", rate[0], VERMILION)] if found.polarities == 2 else [("", rate.sum(0), BLUE)]
    for name, values, colour in lines:
        axes.plot(at, values, color=colour, label=name, linewidth=1.2)
    axes.set(xlabel="seconds from the first event", ylim=(0, None), xlim=(0, found.seconds))
    axes.set_title("Events a second")
    axes.yaxis.set_major_formatter(lambda value, _: si(value, ""))
    if len(lines) > 1:
        ends(axes, [(name, float(values[-1]), colour) for name, values, colour in lines])
    top = float(rate.sum(0).max())
    return tell(figure, f"Events a second over {found.seconds:.4g} s: {top:,.0f} at most, both signs together")


@styled
def _image(found: Summary, sign: int) -> Figure:
    counts = found.image[sign]
    height, width = counts.shape
    figure = blank(4.4, min(max(4.4 * height / width, 1.2), 6.0))
    axes = figure.add_subplot()
    ink_image(axes, _strength(counts), BLUE if sign else VERMILION, aspect="equal")
    axes.set_title("ON" if sign else "OFF")
    axes.set(xticks=[], yticks=[])
    most = int(counts.max())
    return tell(figure, f"{'ON' if sign else 'OFF'} events at their pixels, {most:,} at one of them at most")


@styled
def _lines(found: Summary) -> Figure:
    assert found.lines is not None
    figure = blank(8.8, 3.6)
    axes = figure.add_subplot()
    extent = (0.0, found.seconds or 1e-6, 0.0, float(found.sensor[1]))
    ink_image(axes, _strength(found.lines), INK, aspect="auto", origin="lower", extent=extent)
    axes.set(xlabel="seconds from the first event", ylabel="channel")
    return tell(figure, f"Events of {found.sensor[1]} channels over {found.seconds:.4g} s")


def _strength(counts: Array) -> Array:
    """Counts as ink, 0 to 1, logarithmic up to the 99.5th percentile of those that are not 0."""
    some = counts[counts > 0]
    top = np.log1p(np.percentile(some, 99.5)) if len(some) else 1.0
    return np.minimum(np.log1p(counts) / top, 1.0)


def _table(found: Summary) -> Table:
    """The frames' counts, for who does not see the preview."""
    totals = found.frames.sum((2, 3))
    step = found.seconds / FRAMES
    if found.polarities == 1:
        return Table(["from second", "events"], [[f"{k * step:.4g}", whole(totals[k].sum())] for k in range(FRAMES)])
    rows = [[f"{k * step:.4g}", whole(totals[k, 1]), whole(totals[k, 0])] for k in range(FRAMES)]
    return Table(["from second", "ON", "OFF"], rows)
