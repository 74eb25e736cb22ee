"""`bitspike evaluate RUN`: measure a finished run again, as it is or as spikes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def evaluate(
        run: Path = typer.Argument(..., help="A finished run folder."),
        split: str = typer.Option("test", "--split", help="train, validation or test."),
        draws: int | None = typer.Option(None, "--draws", min=0, help="Ensemble draws (0: MAP; default: as shipped)."),
        time: int | None = typer.Option(
            None, "--time", min=1, help="Answer after this many time steps; with --spiking: ms (default 200)."
        ),
        data: Path | None = typer.Option(None, "--data", help="Data folder; wins over BITSPIKE_DATA."),
        as_spikes: bool = typer.Option(False, "--spiking", help="Run soft-lif or soft-if units as spiking neurons."),
        window: float | None = typer.Option(
            None, "--window", help="With --spiking: ms at the end of an image over which the answer is averaged (50)."
        ),
        synapse: str | None = typer.Option(None, "--synapse", help="With --spiking: alpha, first-order or none."),
        tau_s: float | None = typer.Option(None, "--tau-s", help="With --spiking: time constant of the synapse, ms."),
        dt: float | None = typer.Option(None, "--dt", help="With --spiking: ms per step (1)."),
        reset: bool = typer.Option(False, "--reset", help="With --spiking: every image begins with neurons at rest."),
        most: int | None = typer.Option(None, "--most", min=1, help="With --spiking: the first examples only."),
        as_json: bool = typer.Option(False, "--json", help="Machine-readable output."),
    ) -> None:
        """Measure a run again on one of its splits."""
        from bitspike.errors import refuse
        from bitspike.run.start import load

        options: dict[str, Any] = {"window": window, "synapse": synapse, "tau_s": tau_s, "dt": dt, "most": most}
        if as_spikes:
            if draws is not None:
                refuse("--draws", draws, "no --draws with --spiking")
            for name in ("window", "tau_s", "dt"):
                if options[name] is not None:
                    options[name] /= 1000
            given = {name: value for name, value in options.items() if value is not None}
            if synapse == "none":
                given["synapse"] = None
            _spikes(run, split, (200 if time is None else time) / 1000, data, reset, given, as_json)
            return
        for name, value in {**options, "reset": reset or None}.items():
            if value is not None:
                refuse(f"--{name.replace('_', '-')}", value, "it only with --spiking")
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


def _spikes(
    run: Path, split: str, time: float, data: Path | None, reset: bool, options: dict[str, Any], as_json: bool
) -> None:
    from bitspike.run.spiking import evaluate_spiking
    from bitspike.run.start import load

    reading = evaluate_spiking(load(run), split, time=time, data=data, reset=reset, **options)
    if as_json:
        typer.echo(json.dumps(reading))
        return
    last = reading["windows"][-1]
    between = "from rest" if reset else "back to back"
    typer.echo(
        f"{run}: {reading['examples']:,} {split} images of {1000 * time:g} ms, {between}, "
        f"answers over {1000 * last['start']:g} to {1000 * last['end']:g} ms"
    )
    typer.echo(f"  {'accuracy':<16} {reading['accuracy']:.4f}  as spikes")
    typer.echo(f"  {'twin':<16} {reading['twin']:.4f}  as trained, same answer on {reading['agreement']:.2%}")
    typer.echo(f"  {'spikes':<16} {reading['spikes']:,.0f} per image, {reading['mean_rate']:.1f} Hz")
    for layer in reading["layers"]:
        typer.echo(f"  {layer['name']:<16} {layer['neurons']:,} neurons, {layer['rate']:.1f} Hz")
