"""`bitspike train RECIPE`: train, measure, write the report."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from bitspike.cli.again import again

EXAMPLE = "Example: bitspike train digits-st --epochs 5 --out runs/short"


def train(
    recipe: str = typer.Argument(..., help="A name from `bitspike recipes`, or a TOML file."),
    out: Path | None = typer.Option(None, "--out", help="Run folder (default: runs/NAME)."),
    sets: list[str] = typer.Option([], "--set", help="Override a recipe's key: training.epochs=5. Repeatable."),
    seed: int | None = typer.Option(None, "--seed", min=0, help="Seed (run folder runs/NAME-seed-N)."),
    seeds: int = typer.Option(
        0, "--seeds", min=0, max=10_000, help="Train this many seeds, 0, 1, ..., one after the other."
    ),
    folds: int = typer.Option(
        0, "--folds", min=0, max=1000, help="Cross-validation: train on this many folds (run folders NAME-fold-1, ...)."
    ),
    epochs: int | None = typer.Option(None, "--epochs", min=1, help="Short for --set training.epochs=N."),
    batch: int | None = typer.Option(None, "--batch", min=2, help="Short for --set training.batch=N."),
    lr: float | None = typer.Option(None, "--lr", help="Learning rate, short for --set optimizer.lr=X."),
    data: Path | None = typer.Option(None, "--data", help="Data folder; wins over BITSPIKE_DATA."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an earlier run in the folder."),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or mps."),
    processes: int = typer.Option(1, "--processes", min=1, help="Data-parallel processes."),
    precision: str = typer.Option("32-true", "--precision", help="32-true, 64-true or bf16-mixed."),
    threads: int = typer.Option(0, "--threads", min=0, max=1024, help="CPU threads (0: as many as torch takes)."),
    tensorboard: bool = typer.Option(False, "--tensorboard", help="Also write TensorBoard event files."),
    as_json: bool = typer.Option(False, "--json", help="Print result.json instead of a table."),
) -> None:
    """Train a recipe, measure it, write its report."""
    from bitspike.cli.table import show_shipped, show_table
    from bitspike.errors import refuse
    from bitspike.paths import named_beside, run_name
    from bitspike.run.recipe_files import load_recipe

    if seeds and seed is not None:
        refuse("--seeds", f"--seed {seed} as well", "one of the two")
    if folds and (seeds or folds == 1):
        came = f"--seeds {seeds} as well" if seeds else folds
        refuse("--folds", came, "one of the two" if seeds else "2 or more")
    short = {"training.epochs": epochs, "training.batch": batch, "optimizer.lr": lr}
    changes = [*sets, *(f"{key}={value!r}" for key, value in short.items() if value is not None)]
    checked = load_recipe(recipe, changes, seed)
    base = out if out is not None else Path("runs") / run_name(checked.name)
    if folds:
        base = base if seed is None or out is not None else named_beside(base, f"-seed-{seed}")
        plan = [(checked.seed, named_beside(base, f"-fold-{k}")) for k in range(1, folds + 1)]
    elif seeds:
        plan = [(number, named_beside(base, f"-seed-{number}")) for number in range(seeds)]
    elif seed is not None and out is None:
        plan = [(seed, named_beside(base, f"-seed-{seed}"))]
    else:
        plan = [(checked.seed, base)]
    import torch

    from bitspike.run import several
    from bitspike.run.folder import RunFolder
    from bitspike.run.signals import Interrupted, Stopped
    from bitspike.run.start import train as start

    if threads:
        torch.set_num_threads(threads)
    in_fold = [[f"data.folds={folds}", f"data.fold={k}"] for k in range(1, folds + 1)] or [[]] * len(plan)
    read = [load_recipe(recipe, [*changes, *more], number) for (number, _), more in zip(plan, in_fold, strict=True)]
    if len(plan) > 1 and several.rank() == 0:
        # Before the first is trained: the last one's folder may hold something else.
        for resolved, (_, folder) in zip(read, plan, strict=True):
            RunFolder(folder).check(resolved, resume, overwrite)
    finished = []
    for resolved, (number, folder) in zip(read, plan, strict=True):
        try:
            run = start(
                resolved, folder, data=data, resume=resume, overwrite=overwrite,
                device=device, processes=processes, precision=precision, quiet=as_json, tensorboard=tensorboard,
            )  # fmt: skip
        except (Interrupted, Stopped) as stop:
            where = base if folds or seeds else folder
            words = ["train", recipe, "--out", str(where), "--resume"]
            words += ["--seeds", str(seeds)] if seeds else ["--seed", str(number)]
            words += [word for entry in changes for word in ("--set", entry)]
            words += ["--folds", str(folds)] if folds else []
            words += ["--data", str(data)] if data else []
            words += ["--device", device] if device != "auto" else []
            words += ["--processes", str(processes)] if processes > 1 else []
            words += ["--precision", precision] if precision != "32-true" else []
            words += ["--threads", str(threads)] if threads else []
            words += ["--tensorboard"] if tensorboard else []
            said = str(stop) if isinstance(stop, Interrupted) else "stopped; what was saved last stands"
            typer.echo(f"bitspike: {said}; to go on: {again(words)}", err=True)
            raise typer.Exit(128 + stop.number) from None
        finished.append(run)
        if run.rank == 0:
            from bitspike.reports import report

            page = report(folder)
            if not as_json:
                typer.echo(f"report: {page}", err=True)
    summary = None
    if folds:
        from bitspike.run.folds import summarised

        summary = summarised(finished, base)
    if finished[0].rank == 0:
        if as_json:
            found = [run.result for run in finished] if seeds or folds else finished[0].result
            content = {"mean": summary.mean, "std": summary.std, "runs": found} if summary else found
            typer.echo(json.dumps(content))
        else:
            show_table([run.path for run in finished])
            show_shipped([run.path for run in finished])
            if summary is not None:
                typer.echo(f"{base.name}  {summary.line()} ({summary.path})")
