"""`bitspike predict RUN FILE`: classes and probabilities for new inputs."""

from __future__ import annotations

import json
from pathlib import Path

import typer

MANY, MOST_FILES, MOST_BYTES = 500, 20_000, 2 << 30


EXAMPLE = "Example: bitspike predict runs/digits-st picture.png --json"


def predict(
    run: Path = typer.Argument(..., help="A finished run folder."),
    source: str = typer.Argument(
        ..., help="Image, event file, .npz, .csv, a folder of these, or - for CSV rows on stdin."
    ),
    draws: int | None = typer.Option(None, "--draws", min=0, help="Ensemble draws (0: MAP; default: as shipped)."),
    raw: bool = typer.Option(False, "--raw", help="Probabilities without temperature scaling."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object per input, with every class."),
) -> None:
    """Class and probability of new inputs."""
    from bitspike.errors import refuse
    from bitspike.paths import finished_run

    finished_run(run)
    files = source_files(source)
    if files > MANY:
        typer.echo(f"reading {files:,} entries of '{source}'", err=True)
    import torch

    from bitspike.run.finished import load

    ready = load(run)
    if raw and ready.form.task == "regression":
        refuse("--raw", "it for values", "it left out: only probabilities have a temperature")
    x, names = ready.prepare(source if source == "-" else Path(source))
    ready.check_seen(x, names)
    outputs = ready.predict(x, samples=draws, scaled=not raw)
    if outputs.ndim == 3:
        # A class for each step: one answer per step, up to each sequence's end.
        within = ~outputs.isnan().any(-1)
        steps = [torch.nonzero(row)[:, 0].tolist() for row in within]
        names = [f"{name} step {t + 1}" for name, some in zip(names, steps, strict=True) for t in some]
        outputs = outputs[within]
    for name, output in zip(names, outputs.tolist(), strict=True):
        if ready.form.task == "regression":
            half = len(output) // 2
            record = {"input": name, "value": output[:half], "spread": output[half:]}
            text = "  ".join(f"{v:.10g} +- {s:.3g}" for v, s in zip(output[:half], output[half:], strict=True))
        else:
            best = max(range(len(output)), key=output.__getitem__)
            record = {"input": name, "class": ready.classes[best], "probability": output[best]}
            record["probabilities"] = dict(zip(ready.classes, output, strict=True))
            text = f"{ready.classes[best]}  {output[best]:.4f}"
        typer.echo(json.dumps(record) if as_json else f"{name}  {text}")


def source_files(source: str) -> int:
    """How many entries `source` holds; what cannot be read to an end, or only in a very long time, is refused."""
    import os
    import stat

    from bitspike import paths
    from bitspike.errors import refuse

    field, wanted = "predict", "a file, a folder of files, or - for standard input"
    if source == "-":
        return 1
    path = paths.home(source, field)
    if paths.kind_of(path, field) != stat.S_IFDIR:
        paths.regular(path, field, wanted)
        if (size := path.stat().st_size) > MOST_BYTES:
            refuse(field, f"'{source}', {size:,} bytes", f"at most {MOST_BYTES:,}")
        return 1
    count = total = 0
    with os.scandir(path) as entries:
        for entry in entries:
            count += 1
            if count > MOST_FILES:
                refuse(field, f"more than {MOST_FILES:,} entries in '{source}'", "at most that, in several folders")
            inner = paths.kind_of(Path(entry.path), field)
            if inner not in (stat.S_IFREG, stat.S_IFDIR, None) and not entry.name.startswith("."):
                refuse(field, f"'{entry.path}', {paths.SPECIAL.get(inner, 'a special file')}", "ordinary files only")
            total += entry.stat().st_size if inner == stat.S_IFREG else 0
    if total > MOST_BYTES:
        refuse(field, f"{total:,} bytes in '{source}'", f"at most {MOST_BYTES:,}")
    return count
