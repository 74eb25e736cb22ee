"""`bitspike tune RECIPE`: members learn side by side with hyperparameters that evolve; `bitspike tune replay RUN`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from bitspike.cli.again import again

EXAMPLE = "Example: bitspike tune tune-digits --population 4; then: bitspike tune replay runs/tune-digits"


def tune(
    recipe: str = typer.Argument(
        ..., help="A name from `bitspike recipes`, or a TOML file, with [population] in it; or the word replay."
    ),
    run: Path | None = typer.Argument(None, help="replay: the run whose winner's schedule is trained from scratch."),
    out: Path | None = typer.Option(None, "--out", help="Run folder (default: runs/NAME; of a replay RUN-replay)."),
    population: int | None = typer.Option(None, "--population", help="Members (population.size)."),
    strategy: str | None = typer.Option(None, "--strategy", help="pbt, random or grid (population.strategy)."),
    sets: list[str] = typer.Option([], "--set", help="Override a recipe's key: population.every=50. Repeatable."),
    seed: int | None = typer.Option(
        None, "--seed", min=0, help="Seed (run folder runs/NAME-seed-N; RUN-replay-seed-N)."
    ),
    engine: str = typer.Option("local", "--engine", help="local: on this machine; ray: on a cluster (extra ray)."),
    address: str | None = typer.Option(
        None, "--address", help="ray: HOST:PORT of a cluster, or auto (default: one of this machine's own)."
    ),
    workers: int | None = typer.Option(
        None, "--workers", min=1, max=256, help="Processes (default: as many as cores; 1: this one alone)."
    ),
    member: int | None = typer.Option(None, "--member", min=0, help="replay: this member instead of the winner."),
    data: Path | None = typer.Option(None, "--data", help="Data folder; wins over BITSPIKE_DATA."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the turns that were published."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an earlier run in the folder."),
    device: str = typer.Option("cpu", "--device", help="auto, cpu, cuda or mps."),
    threads: int = typer.Option(
        0, "--threads", min=0, max=1024, help="CPU threads of each process (0: cores, shared out; --resume: as before)."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print result.json instead of a table."),
) -> None:
    """Evolve a recipe's hyperparameters while it learns (or search them at random, or on a grid)."""
    from bitspike.cli.table import show_shipped, show_table
    from bitspike.errors import check_name, refuse

    check_name("--engine", engine, ("local", "ray"))
    if threads:
        import torch

        torch.set_num_threads(threads)
    if recipe == "replay":
        from bitspike.population.replay import replay

        if run is None:
            refuse("replay", "no run", "a finished run: bitspike tune replay runs/NAME")
        unread: dict[str, Any] = {"--workers": workers, "--address": address}
        unread["--engine"] = None if engine == "local" else engine
        unread |= {
            "--population": population,
            "--strategy": strategy,
            "--set": sets,
            "--resume": resume,
            "--threads": threads or None,
        }
        for name, value in unread.items():
            if value not in (None, [], False):
                refuse(name, f"{value} with replay", "it left out: a replay is as its run's log says")
        found = replay(run, out, member=member, seed=seed, data=data, overwrite=overwrite, device=device, quiet=as_json)
    else:
        if run is not None:
            refuse("tune", f"'{run}' behind a recipe", "one recipe, or: tune replay RUN")
        if member is not None:
            refuse("--member", member, "it with replay")
        sets = sets + [f"population.size={population}"] * (population is not None)
        sets += [f"population.strategy={strategy}"] * (strategy is not None)
        given = {"engine": engine, "address": address, "resume": resume, "overwrite": overwrite, "workers": workers}
        found = _start(recipe, out, sets, seed, threads, as_json, data, device, **given)
    from bitspike.reports import report

    page = report(found.path)
    if as_json:
        typer.echo(json.dumps(found.result))
        return
    typer.echo(f"report: {page}", err=True)
    front = _front(found.path)
    show_table([found.path, *front])
    show_shipped([found.path])


def _front(path: Path) -> list[Path]:
    """Runs of the front's networks, where there are several objectives; says what the front is worth."""
    from bitspike.population.record import read
    from bitspike.population.start import FRONT

    if not (path / "population.json").exists():  # a replay
        return []
    front = read(path / "population.json")[0].get("front")
    if front is None:
        return []
    reference = ", ".join(
        f"{name} {value:.4g}" for name, value in zip(front["objectives"], front["reference"], strict=True)
    )
    runs = [path / FRONT / str(row["member"]) for row in front["networks"]]
    said = f"front: {len(runs)} networks, {path / FRONT}/K of member K; hypervolume {front['hypervolume']:.4g} on "
    typer.echo(f"{said}validation, from {reference}", err=True)
    return runs


def _start(
    recipe: str,
    out: Path | None,
    sets: list[str],
    seed: int | None,
    threads: int,
    quiet: bool,
    data: Path | None,
    device: str,
    **given: Any,
) -> Any:
    from bitspike.paths import folder_for
    from bitspike.population.start import tune as start
    from bitspike.run.recipe_files import load_recipe
    from bitspike.run.signals import Interrupted, Stopped

    checked = load_recipe(recipe, sets, seed)
    folder = folder_for(checked.name, out, seed)
    try:
        return start(checked, folder, quiet=quiet, data=data, device=device, threads=threads, **given)
    except (Interrupted, Stopped) as stop:
        words = ["tune", recipe, "--out", str(folder), "--seed", str(checked.seed), "--resume"]
        words += [word for entry in sets for word in ("--set", entry)]
        words += ["--data", str(data)] if data else []
        words += ["--device", device] if device != "cpu" else []
        words += ["--threads", str(threads)] if threads else []
        words += ["--workers", str(given["workers"])] if given["workers"] else []
        words += ["--engine", given["engine"]] if given["engine"] != "local" else []
        words += ["--address", given["address"]] if given["address"] else []
        said = str(stop) if isinstance(stop, Interrupted) else "stopped; the turns that were published stand"
        typer.echo(f"bitspike: {said}; to go on: {again(words)}", err=True)
        raise typer.Exit(128 + stop.number) from None
