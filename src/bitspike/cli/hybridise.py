"""`bitspike hybridise RUN`: a trained ordinary network made spiking, at many step sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from bitspike.errors import refuse

EXAMPLE = "Example: bitspike hybridise runs/cnn-mnist --steps 1,2 --most 1000"


def hybridise(
    run: Path = typer.Argument(..., help="A finished run with model.neuron.kind = 'relu'."),
    steps: str = typer.Option("1,2,4", "--steps", help="How often an input is presented."),
    counts: str = typer.Option(
        "0.5,1,2,3,4,6,8,12,15", "--counts", help="Spikes per step of a unit at its typical activity."
    ),
    scale: str = typer.Option("layer", "--scale", help="Typical activity per layer or per channel."),
    percentile: float = typer.Option(0.999, "--percentile", help="The share of activities below the typical one."),
    limit: int | None = typer.Option(None, "--limit", min=1, help="Clip at this many times the typical activity."),
    relative: str = typer.Option("", "--relative", help="Counts of some layers, times those: spikes1=0.5,dense*=2."),
    examples: int = typer.Option(500, "--examples", min=1, help="Training examples to measure it on."),
    within: float = typer.Option(0.25, "--within", min=0, help="Points of accuracy that may be lost (validation)."),
    total: float | None = typer.Option(None, "--total", help="Measure nothing beyond steps x counts = this."),
    most: int | None = typer.Option(None, "--most", min=1, help="Examples of each part (default: all)."),
    data: Path | None = typer.Option(None, "--data", help="Data folder; wins over BITSPIKE_DATA."),
    as_json: bool = typer.Option(False, "--json", help="Print sweep.json instead of a table."),
) -> None:
    """Make an ordinary network spiking; its accuracy over bits and spikes goes into the run and its report."""
    from bitspike.paths import finished_run

    finished_run(run)
    from bitspike.reports import report
    from bitspike.run.finished import load
    from bitspike.studies.hybrid import sweep_run

    found = sweep_run(
        load(run), _numbers("--steps", steps, int), _numbers("--counts", counts, float), scale=scale,
        percentile=percentile, limit=limit, relative=_pairs(relative), examples=examples, within=within / 100,
        total=total, most=most, data=data, progress=None if as_json else _line,
    )  # fmt: skip
    page = report(run)
    if as_json:
        typer.echo(json.dumps(found))
        return
    best = found["chosen"]
    if best is None:
        typer.echo("no setting keeps to what was wanted; see --within, --steps and --counts")
    else:
        _line({"part": "chosen", **best["test"]})
    typer.echo(f"report: {page}")


def _numbers(option: str, text: str, kind: type[int] | type[float]) -> list[Any]:
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        refuse(option, repr(text), "numbers separated by commas, such as 1,2,4")


def _pairs(text: str) -> dict[str, float]:
    pairs = [word.partition("=") for word in text.split(",") if word]
    try:
        return {name: float(value) for name, _, value in pairs}
    except ValueError:
        refuse("--relative", repr(text), "NAME=NUMBER, separated by commas, such as spikes1=0.5")


def _line(row: dict[str, Any]) -> None:
    name = "static" if row["counts"] is None else f"{row['steps']} x {row['counts']:g}"
    text = f"{row['part']:<11}{name:<10} {row['accuracy']:.2%}"
    if row["counts"] is not None:
        text += f"  {row['bits']:.2f} bits  {row['spikes']:.2f} spikes per neuron"
    if row.get("clipped") is not None:
        text += f"  {row['clipped']:.2%} clipped"
    typer.echo(text)
