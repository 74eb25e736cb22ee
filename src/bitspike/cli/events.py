"""`bitspike events FILE`: what a recording of an event camera holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

EXAMPLE = "Example: bitspike events recording.aedat4 --out recording.html"


def events(
    file: Path = typer.Argument(..., help="An event file: .bin, .aedat, .aedat4, .dat, .raw, .es, .h5."),
    out: Path | None = typer.Option(None, "--out", help="Page to draw, with a moving preview (.html)."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object instead of lines."),
    convert: Path | None = typer.Option(None, "--convert", help="Write the events into this file, by its ending."),
    kind: str | None = typer.Option(None, "--format", help="Format of FILE (default: by its first bytes)."),
    to: str | None = typer.Option(None, "--to", help="Format of --convert (default: by its ending)."),
    recording: int | None = typer.Option(None, "--recording", min=0, help="Its number, in a file of many."),
    size: tuple[int, int] | None = typer.Option(None, "--size", help="Height and width of the sensor."),
    camera: str | None = typer.Option(None, "--camera", help="Of an AEDAT 2.0 that names none: DAVIS346, ..."),
) -> None:
    """Summary of an event file, a page that draws it, and the same events in another format."""
    from bitspike.errors import refuse

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        refuse("--out", f"'{out}'", "a path that ends in .html")
    if to is not None and convert is None:
        refuse("--to", to, "--convert FILE with it")
    from bitspike.data.eventsummary import summarise
    from bitspike.data.formats import open_events, write_events

    if convert is not None and convert.exists() and convert.samefile(file):
        refuse("--convert", f"'{convert}'", "another file than the one that is read")
    options: dict[str, Any] = {} if camera is None else {"camera": camera}
    opened = open_events(file, format=kind, recording=recording, size=size, **options)
    if opened.recordings != 1 and recording is None:
        refuse("events", f"{opened.recordings:,} recordings in '{file}'", "--recording N, from 0")
    found = summarise(opened)
    written = []
    if convert is not None:
        written.append(f"converted: {write_events(convert, opened, to, size=found.sensor)}")
    if out is not None:
        from bitspike.reports.eventfile import write_events_page

        written.append(f"page: {write_events_page(found, out)}")
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    for line in (*lines(found.to_dict()), *written):
        typer.echo(line)


def lines(said: dict[str, Any]) -> list[str]:
    """A summary for people: a word and what it is on each line."""
    from bitspike.data.eventsummary import SAID_BY
    from bitspike.errors import one_line
    from bitspike.tables.events import words_of

    sensor = f"{said['sensor']['width']} x {said['sensor']['height']} pixels"
    rows = [
        ("format", words_of(said["format"])),
        ("sensor", sensor + SAID_BY[said["sensor"]["said_by"]]),
        ("events", f"{said['events']:,}"),
        ("time", f"{said['duration_s']:.6g} s, from {said['first_us']:,} to {said['last_us']:,} us"),
    ]
    if said["events_per_second"] is not None:
        rows.append(("rate", f"{said['events_per_second']:,.0f} events a second"))
    if said["on_share"] is not None:
        rows.append(("ON", f"{said['on_share']:.1%}"))
    pixels = said["sensor"]["width"] * said["sensor"]["height"]
    rows.append(("active pixels", f"{said['active_pixels']:,} of {pixels:,} ({said['active_share']:.1%})"))
    rows += [(key, value) for key, value in said["header"].items()]
    rows += [("note", f"{count:,} {words}") for words, count in said["mended_or_skipped"].items()]
    return [f"{name:<14} {one_line(value)}" for name, value in rows]
