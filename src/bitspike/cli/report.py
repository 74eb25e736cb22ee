"""`bitspike report RUN`: write the run's page again."""

from __future__ import annotations

from pathlib import Path

import typer

EXAMPLE = "Example: bitspike report runs/digits-st"


def report(run: Path = typer.Argument(..., help="A finished run folder.")) -> None:
    """Write a run's page again: RUN/report.html."""
    from bitspike.paths import finished_run

    finished_run(run)
    from bitspike.reports import report as write

    typer.echo(str(write(run)))
