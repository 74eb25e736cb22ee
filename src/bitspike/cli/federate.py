"""`bitspike federate RECIPE`: learn by clients that keep their data, measure, write the report."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from bitspike.cli.again import again

EXAMPLE = "Example: bitspike federate federated-digits --set federation.rounds=5"


def federate(
    recipe: str = typer.Argument(..., help="A name from `bitspike recipes`, or a TOML file, with [federation] in it."),
    out: Path | None = typer.Option(None, "--out", help="Run folder (default: runs/NAME)."),
    sets: list[str] = typer.Option([], "--set", help="Override a recipe's key: federation.clients=20. Repeatable."),
    seed: int | None = typer.Option(None, "--seed", min=0, help="Seed (run folder runs/NAME-seed-N)."),
    engine: str = typer.Option(
        "local", "--engine", help="local: all clients in this process; flower-simulation; flower."
    ),
    data: Path | None = typer.Option(None, "--data", help="Data folder; wins over BITSPIKE_DATA."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last round that was saved."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an earlier run in the folder."),
    device: str = typer.Option("cpu", "--device", help="auto, cpu, cuda or mps."),
    threads: int = typer.Option(0, "--threads", min=0, max=1024, help="CPU threads (0: as many as torch takes)."),
    as_json: bool = typer.Option(False, "--json", help="Print result.json instead of a table."),
) -> None:
    """Learn a recipe by clients that keep their data, measure it, write its report."""
    from bitspike.cli.table import show_shipped, show_table
    from bitspike.errors import check_name
    from bitspike.paths import folder_for
    from bitspike.run.recipe_files import load_recipe

    check_name("--engine", engine, ("local", "flower-simulation", "flower"))
    checked = load_recipe(recipe, sets, seed)
    folder = folder_for(checked.name, out, seed)
    import torch

    from bitspike.federated.start import federate as start
    from bitspike.run.signals import Interrupted, Stopped

    if threads:
        torch.set_num_threads(threads)
    given = {"engine": engine, "data": data, "resume": resume, "overwrite": overwrite, "device": device}
    try:
        run = start(checked, folder, quiet=as_json, **given)  # type: ignore[arg-type]
    except (Interrupted, Stopped) as stop:
        words = ["federate", recipe, "--out", str(folder), "--seed", str(checked.seed), "--resume"]
        words += [word for entry in sets for word in ("--set", entry)]
        words += ["--data", str(data)] if data else []
        words += ["--engine", engine] if engine != "local" else []
        words += ["--device", device] if device != "cpu" else []
        words += ["--threads", str(threads)] if threads else []
        said = str(stop) if isinstance(stop, Interrupted) else "stopped; the rounds that were saved stand"
        typer.echo(f"bitspike: {said}; to go on: {again(words)}", err=True)
        raise typer.Exit(128 + stop.number) from None
    from bitspike.reports import report

    page = report(folder)
    if as_json:
        typer.echo(json.dumps(run.result))
        return
    typer.echo(f"report: {page}", err=True)
    show_table([run.path])
    show_shipped([run.path])
