"""`bitspike init FILE`: a recipe for a person's own data."""

from __future__ import annotations

import re
from pathlib import Path

import typer

EXAMPLE = "Example: bitspike init readings.csv, then bitspike train readings.toml"


def init(
    file: Path = typer.Argument(..., help="An .npz, a CSV, or a folder with one folder of files per class."),
    out: Path | None = typer.Option(None, "--out", help="Recipe to write (default: NAME.toml here)."),
    weights: str = typer.Option("bayesian", "--weights", help="bayesian, straight-through or full."),
    group: str | None = typer.Option(None, "--group", help="Column or array that says who an example is of."),
    time: bool | None = typer.Option(None, "--time/--no-time", help="x of a table has a time axis, or has none."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the recipe if there is one."),
) -> None:
    """Look at your own data and write a recipe that trains a spiking network on them."""
    from typing import Any

    from bitspike.errors import BitspikeError, check_name, refuse
    from bitspike.paths import replaceable
    from bitspike.run.initial import described, look, recipe_toml, there

    check_name("--weights", weights, ("bayesian", "straight-through", "full"), "bayesian, straight-through or full")
    if not there(file):
        refuse("init", f"'{file}', which is not there", "a folder of class folders, an .npz or a CSV")
    whole = file.resolve()
    called = (whole.parent.name if whole.name.lower() == "train" else whole.name) if file.is_dir() else whole.stem
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", called)
    name = re.sub(r"[-_.]?train$", "", stem, flags=re.IGNORECASE).strip("-._")[:60] or "own-data"
    written = out if out is not None else Path(f"{name}.toml")
    if written.suffix != ".toml" or (there(written) and written.is_dir()):
        refuse("--out", f"'{written}'", "a path that ends in .toml")
    if there(written) and not overwrite:
        refuse("--out", f"'{written}', which exists", "another path, or --overwrite")

    from bitspike.run.recipe_files import parse_recipe
    from bitspike.run.rules import choices

    facts, dataset = look(file, group, time)
    for line in described(facts, dataset):
        typer.echo(line)
    precision: Any = weights
    made = choices(facts, precision)
    about = f"{facts.examples:,} examples of {file.name}, {weights} weights"
    text = recipe_toml(name, about, made, str(written))
    recipe = parse_recipe(text, f"recipe '{written}'")
    from bitspike.run.assemble import build_encoder, build_model, check_recipe, form_of

    # Built once, so that what is written is known to start.
    check_recipe(recipe, dataset)
    build_encoder(recipe, form_of(dataset))
    build_model(recipe, form_of(dataset))
    typer.echo("rules:")
    for choice in made:
        if choice.why:
            typer.echo(f"  {choice.key} = {choice.value}: {choice.why}")
    replaceable(written, "--out")
    try:
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(text, encoding="utf-8")
    except (OSError, UnicodeEncodeError) as error:
        raise BitspikeError(f"--out '{written}': {getattr(error, 'strerror', None) or error}") from None
    typer.echo(f"written: {written}; next: bitspike train {written}")
