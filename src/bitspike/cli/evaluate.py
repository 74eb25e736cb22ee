"""`bitspike evaluate RUN`: measure a finished run again."""

from __future__ import annotations

import json
from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def evaluate(
        run: Path = typer.Argument(..., help="A finished run folder."),
        split: str = typer.Option("test", "--split", help="train, validation or test."),
        draws: int | None = typer.Option(None, "--draws", min=0, help="Ensemble draws (0: MAP; default: as shipped)."),
        time: int | None = typer.Option(None, "--time", min=1, help="Answer after this many time steps."),
        data: Path | None = typer.Option(None, "--data", help="Data folder; wins over BITSPIKE_DATA."),
        as_json: bool = typer.Option(False, "--json", help="Machine-readable output."),
    ) -> None:
        """Measure a run again on one of its splits."""
        from bitspike.run.start import load

        reading = load(run).evaluate(split, samples=draws, step=time, data=data)
        if as_json:
            typer.echo(json.dumps(reading))
            return
        typer.echo(f"{run}: {reading['examples']:,} {split} examples, after step {reading['step']}")
        for key, value in reading.items():
            if isinstance(value, float):
                typer.echo(f"  {key:<16} {value:.4f}")
        for key, value in reading.get("scaled", {}).items():
            typer.echo(f"  scaled {key:<9} {value:.4f}")
