"""`bitspike results RUN...`: the file that goes into results/."""

from __future__ import annotations

import json
from pathlib import Path

import typer

EXAMPLE = "Example: bitspike results runs/digits-st-seed-* --out results"


def results(
    runs: list[Path] = typer.Argument(..., help="Finished runs of one recipe with different seeds."),
    out: Path = typer.Option(Path("results"), "--out", help="Folder (NAME.json in it) or .json file."),
    add: bool = typer.Option(False, "--add", help="Keep the seeds that the file holds of other runs."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a file that holds anything else."),
    as_json: bool = typer.Option(False, "--json", help="Print the file's content."),
) -> None:
    """Write all seeds' results with mean and spread."""
    from bitspike.paths import finished_run

    for path in runs:
        finished_run(path)
    from bitspike.run.results import write_results

    content = write_results(runs, out, add=add, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(content))
        return
    name, count = content["recipe"]["name"], len(content["seeds"])
    typer.echo(f"{name}: {count} run(s)")
    for key, value in content["mean"]["test"].items():
        if isinstance(value, float):
            typer.echo(f"  test.{key:<14} {value:.4f} +- {content['std']['test'][key]:.4f}")
