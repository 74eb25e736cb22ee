"""`bitspike evaluate RUN`: measure a finished run again, as it is or as spikes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from bitspike.errors import BitspikeError, refuse

EXAMPLE = "Example: bitspike evaluate runs/digits-st --time 3"


def evaluate(
    run: Path = typer.Argument(..., help="A finished run folder."),
    file: Path | None = typer.Argument(
        None, help="Measure on this labelled file (.npz, .csv or class folders) instead of a split of the run's data."
    ),
    split: str | None = typer.Option(
        None,
        "--split",
        help="train, validation or test (default: test; with --spiking: validation).",
    ),
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
    measure: str = typer.Option("", "--measure", help="Another measurement, by its name in the registry."),
    asked: list[str] = typer.Option([], "--set", help="With --measure: KEY=VALUE, an option of it."),
    as_json: bool = typer.Option(False, "--json", help="Machine-readable output."),
) -> None:
    """Measure a run again on one of its splits, or on a new labelled file.

    On test, its energy account is counted again and stored.
    """
    from bitspike.paths import finished_run

    finished_run(run)
    from bitspike.run.finished import load
    from bitspike.studies.energy import account_again

    options: dict[str, Any] = {"window": window, "synapse": synapse, "tau_s": tau_s, "dt": dt, "most": most}
    options["products"] = products
    if file is not None:
        for option, came in {"--split": split, "--data": data, "--spiking": as_spikes, "--measure": measure}.items():
            if came:
                refuse(option, came, f"it left out where a file is measured, {file}")
    if as_spikes:
        if draws is not None:
            refuse("--draws", draws, "no --draws with --spiking")
        if measure or asked:
            refuse("--measure" if measure else "--set", measure or asked[0], "it left out with --spiking")
        for name in ("window", "tau_s", "dt"):
            if options[name] is not None:
                options[name] /= 1000
        given = {name: value for name, value in options.items() if value is not None}
        if synapse == "none":
            if tau_s is not None:
                refuse("--tau-s", f"{tau_s:g}", "it left out with --synapse none")
            given["synapse"] = None
        given |= {"time": (200 if time is None else time) / 1000, "reset": reset}
        _measure(run, "", split or "validation", data, given, as_json)
        return
    for name, value in {**options, "reset": reset or None}.items():
        if value is not None:
            refuse(f"--{name.replace('_', '-')}", value, "it only with --spiking")
    if measure:
        for option, given_too in {"--draws": draws, "--time": time}.items():
            if given_too is not None:
                refuse(option, given_too, f"it left out with --measure {measure}")
        from bitspike.run.recipe_files import options_of

        _measure(run, measure, split or "test", data, options_of(asked), as_json)
        return
    if asked:
        refuse("--set", asked[0], "it only with --measure")
    split = split or "test"
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
        from bitspike.reports.measurement import energy_lines

        other = found.learner.bayesian and draws not in (None, found.draws)
        if other or (time is not None and time < len(found.result["over_time"])):
            typer.echo("  what an answer costs as it is shipped, after all time steps:")
        for line in energy_lines(account):
            typer.echo(f"  {line}")
        typer.echo("  `bitspike report` has the whole account")


def _measure(run: Path, name: str, split: str, data: Path | None, options: dict[str, Any], as_json: bool) -> None:
    """Make a measurement (no name: the one that runs this network as spikes), store it, draw the page, print it."""
    from bitspike import registry
    from bitspike.options import read
    from bitspike.reports.measurement import check_plain, file_of
    from bitspike.run.finished import load
    from bitspike.run.progress import shown_images

    found, room = load(run), "measurement"
    if not name:
        kinds = [known for known in registry.names(room) if registry.trait(room, known, "spikes", False)]
        # Of one that takes every network, last: it says what this one lacks.
        fitting = [known for known in reversed(kinds) if registry.find(room, known).takes(found)]
        name = fitting[0]
        table = registry.options(room, name)
        for key, value in options.items():
            if key not in table.model_fields:
                came = value if isinstance(value, str | None) else f"{1000 * value:g} ms"
                refuse(f"--{key.replace('_', '-')}", came, registry.trait(room, name, "alone", "it left out"))
    kind = registry.make(read(registry.options(room, name, "--measure"), options, name))
    file = file_of(name)
    with shown_images(str(run), as_json) as progress:
        reading = kind.measure(found, split, data=data, progress=progress)
    check_plain(name, reading)
    page = _redrawn(found, file, reading)
    if as_json:
        typer.echo(json.dumps(reading))
        return
    first, *rest = kind.lines(reading)
    typer.echo(f"{run}: {first}")
    for line in rest:
        typer.echo(f"  {line}")
    if page is not None:
        typer.echo(f"report: {page}")


def _store(run: Any, name: str, content: dict[str, Any]) -> bool:
    """Write into the run's folder, for its report; a folder that cannot be written keeps nobody from reading on."""
    try:
        run.folder.write(name, content)
    except BitspikeError as error:
        typer.echo(f"bitspike: not stored: {error}", err=True)
        return False
    return True


def _redrawn(run: Any, name: str, content: dict[str, Any]) -> Path | None:
    """Store, and draw the run's page again with it; None, and why, where one of them cannot be done."""
    from bitspike.reports import report

    if not _store(run, name, content):
        return None
    try:
        return report(run.path)
    except BitspikeError as error:
        typer.echo(f"bitspike: report not redrawn: {error}", err=True)
        return None
