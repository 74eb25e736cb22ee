"""`bitspike compare RUN...`: several runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import typer

EXAMPLE = "Example: bitspike compare runs/digits-st runs/digits-bayes --out runs/digits.html"


def compare(
    runs: list[Path] = typer.Argument(..., help="Finished run folders."),
    out: Path = typer.Option(Path("runs/compare.html"), "--out", help="The page to write."),
    as_json: bool = typer.Option(False, "--json", help="Print every result instead of a table."),
) -> None:
    """Several runs in one table and on one page."""
    from bitspike.paths import finished_run

    for path in runs:
        finished_run(path)
    from bitspike.cli.table import show_table
    from bitspike.reports import compare as draw
    from bitspike.reports.differing import differing
    from bitspike.reports.rundata import read_run
    from bitspike.run.folder import RunFolder

    if as_json:
        typer.echo(json.dumps({str(path): RunFolder(path).result() for path in runs}))
        return
    page = draw(runs, out)
    if not show_table(runs) and (how := differing([read_run(path) for path in runs])):
        typer.echo(f"these runs were tested on {how}: their figures do not compare", err=True)
    typer.echo(f"report: {page}")
