"""`bitspike compare RUN...`: several runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import typer

EXAMPLE = "Example: bitspike compare runs/digits-st runs/digits-bayes --out runs/digits.html"


def compare(
    runs: list[Path] = typer.Argument(..., help="Finished run folders."),
    out: Path | None = typer.Option(None, "--out", help="The page to write, .html (default: runs/compare.html)."),
    as_json: bool = typer.Option(False, "--json", help="Print every result instead of a table."),
) -> None:
    """Several runs in one table and on one page."""
    from bitspike.errors import refuse
    from bitspike.paths import finished_run

    if as_json and out is not None:
        refuse("--out", f"'{out}' with --json", "it left out: the results are printed, and no page is drawn")
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
    page = draw(runs, Path("runs/compare.html") if out is None else out)
    if not show_table(runs) and (how := differing([read_run(path) for path in runs])):
        typer.echo(f"these runs were tested on {how}: their figures do not compare", err=True)
    typer.echo(f"report: {page}")
