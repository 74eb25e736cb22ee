"""`bitspike evaluate RUN`: measure a finished run again, as it is or as spikes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command(epilog="Example: bitspike evaluate runs/digits-st --time 3")
    def evaluate(
        run: Path = typer.Argument(..., help="A finished run folder."),
        file: Path | None = typer.Argument(
            None,
            help="Measure on this labelled file (.npz, .csv or class folders) instead of a split of the run's data.",
        ),
        split: str = typer.Option("test", "--split", help="train, validation or test."),
        draws: int | None = typer.Option(None, "--draws", min=0, help="Ensemble draws (0: MAP; default: as shipped)."),
        time: int | None = typer.Option(
            None, "--time", min=1, help="Answer after this many time steps; with --spiking: ms (default 200)."
        ),
        data: Path | None = typer.Option(None, "--data", help="Data folder; wins over BITSPIKE_DATA."),
        as_spikes: bool = typer.Option(False, "--spiking", help="Run soft rates, or ReLUs, as spiking neurons."),
        window: float | None = typer.Option(
            None, "--window", help="With --spiking: ms at the end of an image over which the answer is averaged (50)."
        ),
        synapse: str | None = typer.Option(None, "--synapse", help="With --spiking: alpha, first-order or none."),
        tau_s: float | None = typer.Option(None, "--tau-s", help="With --spiking: time constant of the synapse, ms."),
        dt: float | None = typer.Option(None, "--dt", help="With --spiking: ms per step (1)."),
        reset: bool = typer.Option(False, "--reset", help="With --spiking: every image begins with neurons at rest."),
        products: str | None = typer.Option(
            None,
            "--products",
            help="With --spiking: float32 (sums over spikes), dense (never so), or bfloat16 (8 binary digits).",
        ),
        most: int | None = typer.Option(None, "--most", min=1, help="With --spiking: the first examples only."),
        as_json: bool = typer.Option(False, "--json", help="Machine-readable output."),
    ) -> None:
        """Measure a run again on one of its splits, or on a new labelled file.

        On test, its energy account is counted again and stored.
        """
        from bitspike.errors import refuse
        from bitspike.paths import finished_run

        finished_run(run)
        from bitspike.run.start import load
        from bitspike.studies.energy import account_again

        options: dict[str, Any] = {"window": window, "synapse": synapse, "tau_s": tau_s, "dt": dt, "most": most}
        options["products"] = products
        if file is not None:
            for option, came in {"--split": split != "test" and split, "--data": data, "--spiking": as_spikes}.items():
                if came:
                    refuse(option, came, f"it left out where a file is measured, {file}")
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
        found = load(run)
        reading = found.evaluate(split, file=file, samples=draws, step=time, data=data)
        account = None
        if split == "test" and file is None:
            account = found.result["energy"] = account_again(found, data)
            _store(found, "result.json", found.result)
        if as_json:
            typer.echo(json.dumps(reading))
            return
        what = "test examples" if file is None and split == "test" else f"examples of {file or split}"
        typer.echo(f"{run}: {reading['examples']:,} {what}, after step {reading['step']}")
        if "note" in reading:
            typer.echo(f"  note: {reading['note']}")
        for key, value in reading.items():
            if isinstance(value, float):
                typer.echo(f"  {key:<16} {value:.4f}")
        for key, value in reading.get("scaled", {}).items():
            typer.echo(f"  scaled {key:<9} {value:.4f}")
        if account is not None:
            _energy(account)
            typer.echo("  `bitspike report` has the whole account")


def _spikes(
    run: Path, split: str, time: float, data: Path | None, reset: bool, options: dict[str, Any], as_json: bool
) -> None:
    from bitspike.run.progress import shown_images
    from bitspike.run.start import load
    from bitspike.studies.relu_spiking import is_relu_run
    from bitspike.studies.spiking import evaluate_spiking

    found = load(run)
    if is_relu_run(found):
        _rates(found, split, time, data, reset, options, as_json)
        return
    with shown_images(str(run), as_json) as progress:
        reading = evaluate_spiking(found, split, time=time, data=data, reset=reset, progress=progress, **options)
    page = _redrawn(found, "spiking.json", reading)
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
    typer.echo(f"  {'took':<16} {reading['seconds']:.1f} s on {reading['threads']} threads")
    _energy(reading["energy"])
    if page is not None:
        typer.echo(f"report: {page}")


def _rates(
    run: Any, split: str, time: float, data: Path | None, reset: bool, options: dict[str, Any], as_json: bool
) -> None:
    """A ReLU network: its accuracy-time curve. Every image begins at rest, so that `reset` says nothing new."""
    from bitspike.errors import refuse
    from bitspike.run.progress import shown_images
    from bitspike.studies.relu_spiking import evaluate_rates

    for name in ("window", "synapse", "tau_s", "products"):
        if name in options:
            came = options[name] if name in ("synapse", "products") else f"{1000 * options[name]:g} ms"
            refuse(f"--{name.replace('_', '-')}", came, "it only with soft rates: this run is of ReLUs")
    dt = options.get("dt", 0.001)
    steps = round(time / dt) if dt > 0 else 0
    if steps < 1 or abs(steps * dt - time) > 1e-6 * time:
        refuse("--time", f"{1000 * time:g} ms", f"a whole number of steps of {1000 * dt:g} ms")
    with shown_images(str(run.path), as_json) as progress:
        reading = evaluate_rates(run, split, steps=steps, most=options.get("most"), data=data, progress=progress)
    page = _redrawn(run, "relu_spiking.json", reading)
    if as_json:
        typer.echo(json.dumps(reading))
        return
    typer.echo(f"{run.path}: {reading['examples']:,} {split} images, {steps} steps of {1000 * dt:g} ms from rest")
    for step in sorted({2**k for k in range(steps.bit_length())} | {steps}):
        typer.echo(f"  {f'step {step}':<16} {reading['accuracy'][step - 1]:.4f}")
    within = reading["within_a_point"]
    reached = "never" if within is None else f"from step {within} on"
    typer.echo(f"  {'as trained':<16} {reading['ann']:.4f}  within a point of it: {reached}")
    typer.echo(f"  {'cut off':<16} {reading['limit']:.4f}  what long runs tend to: activations up to the thresholds")
    typer.echo(f"  {'spikes':<16} {reading['spikes_per_neuron']:.2f} per neuron and image")
    for name, neurons in reading["neurons"].items():
        typer.echo(f"  {name:<16} {neurons:,} neurons, {reading['rates'][name]:.3f} spikes per neuron and step")
    for note in reading["notes"]:
        typer.echo(f"  note: {note}")
    typer.echo(f"  {'took':<16} {reading['seconds']:.1f} s on {reading['threads']} threads")
    if page is not None:
        typer.echo(f"report: {page}")


def _store(run: Any, name: str, content: dict[str, Any]) -> bool:
    """Write into the run's folder, for its report; a folder that cannot be written keeps nobody from reading on."""
    from bitspike.errors import BitspikeError

    try:
        run.folder.write(name, content)
    except BitspikeError as error:
        typer.echo(f"bitspike: not stored: {error}", err=True)
        return False
    return True


def _redrawn(run: Any, name: str, content: dict[str, Any]) -> Path | None:
    """Store, and draw the run's page again with it; None, and why, where one of them cannot be done."""
    from bitspike.errors import BitspikeError
    from bitspike.reports import report

    if not _store(run, name, content):
        return None
    try:
        return report(run.path)
    except BitspikeError as error:
        typer.echo(f"bitspike: report not redrawn: {error}", err=True)
        return None


def _energy(account: dict[str, Any]) -> None:
    """What an answer costs and where spikes stop winning, in a few lines."""
    ours, theirs, real = (
        f"{1e9 * account[name]['joules_compute']:,.1f} nJ" for name in ("network", "opponent", "non_spiking_twin")
    )
    typer.echo(
        f"  {'energy':<16} {ours}; without spikes {theirs} at the same bits, {real} in float32 "
        "(45 nm arithmetic, analytic)"
    )
    cross = account["cross_over"].get("arithmetic")
    if cross is not None:
        ends = "spikes cost more at any number" if cross["at"] is None else f"stops winning at {cross['at']:.3g}"
        typer.echo(f"  {'per synapse':<16} {cross['here']:.3g} spikes; {ends}")
