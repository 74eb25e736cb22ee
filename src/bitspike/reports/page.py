"""One self-contained page per run: no script, no outside file, figures as inline SVG."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bitspike import registry
from bitspike.errors import refuse
from bitspike.paths import replaceable
from bitspike.reports import examples, sections, style, tables
from bitspike.reports.energy import accounts
from bitspike.reports.levels import levels
from bitspike.reports.rundata import RunData, read_run, section
from bitspike.reports.sections import Section
from bitspike.reports.text import ships, summary

Makers = tuple[Callable[[RunData], Section | None], ...]


def report(run: Path) -> Path:
    """Write RUN/report.html and return its path; refuses a folder that is no run, and any broken file in it."""
    found = read_run(Path(run))
    return write_page(
        Path(run) / "report.html",
        "page.html.jinja",
        run=found,
        subtitle=_subtitle(found),
        summary=summary(found),
        ships=ships(found),
        tiles=tables.tiles(found),
        sections=sections_of(found),
        readings=tables.readings(found),
        bits=tables.bits(found),
        levels=levels(found),
        energy=accounts(found),
        environment=tables.environment(found),
    )


def sections_of(run: RunData) -> list[Section]:
    """Every figure the run has data for, in reading order."""
    first: Makers = (sections.learning, sections.reliability, sections.time_steps)
    then: Makers = (examples.regression, examples.series, sections.plane, examples.raster)
    then += (sections.weights, sections.confusion)
    measured: list[Section] = []
    for name, found in run.measured.items():
        measured += registry.find("measurement", name).sections(run, found) if found else []
    return [*_made(first, run), *measured, *_made(then, run)]


def _made(makers: Makers, run: RunData) -> list[Section]:
    return [made for maker in makers if (made := maker(run)) is not None]


def _subtitle(run: RunData) -> list[str]:
    """Data, seed, device and version: what tells this run from others."""
    data = section(run.environment, "data")
    subset = data.get("subset")
    parts = [
        f"{run.data_name} (subset {subset})" if subset and run.data_name else run.data_name,
        f"seed {run.seed}" if run.seed is not None else "",
        str(run.environment.get("device") or ""),
        f"bitspike {run.environment['version']}" if run.environment.get("version") else "",
        str(run.environment.get("started") or "")[:10],
    ]
    return [part for part in parts if part]


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Fill a template of this package, escaping all text, and write it in one move."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    engine = Environment(loader=PackageLoader("bitspike.reports", "."), autoescape=True, undefined=StrictUndefined)
    engine.trim_blocks = engine.lstrip_blocks = True
    # Not Jinja's `capitalize`, which makes the other letters small.
    engine.filters["sentence"] = lambda line: f"{line[:1].upper()}{line[1:].rstrip('.')}."
    kinds = {"light": style.LIGHT, "dark": style.DARK, "paper": style.PRINT}
    inks = {f"{name}_inks": style.variables(of) for name, of in kinds.items()}
    text = engine.get_template(template).render(**inks, **values)
    replaceable(path, "report")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        refuse(str(path), error.strerror or "an error", "a place that can be written")
    return path
