"""The one table of runs the command prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

COLUMNS = (
    "run",
    "data",
    "accuracy",
    "95 % interval",
    "NLL",
    "ECE",
    "ECE scaled",
    "RMSE",
    "weight bits",
    "spikes/inference",
    "energy",
)


def measured_on(path: Path) -> tuple[str, Any, int]:
    """A run's data in words, what tells them from others (digests and subset), and how many test examples it has."""
    from bitspike.errors import BitspikeError
    from bitspike.run.folder import RunFolder

    try:
        data = RunFolder(path).read("environment.json")["data"]
        digests = data["digests"]
        return data["name"], (sorted(digests.items()), data.get("subset")), int(data["examples"]["test"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BitspikeError(f"'{path / 'environment.json'}': incomplete ({error})") from None


def row(path: Path, data: str = "-") -> list[str]:
    """A run's cells, in the order of COLUMNS; a dash where a number does not apply."""
    from bitspike.run.folder import RunFolder
    from bitspike.share import wilson

    result: dict[str, Any] = RunFolder(path).result()
    test, bits, energy = result["test"], result["bits"], result["energy"]

    def number(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    accuracy, examples = test.get("accuracy"), measured_on(path)[2]
    interval = "-"
    if accuracy is not None and examples > 0:
        interval = "{:.1%} to {:.1%}".format(*wilson(accuracy, examples))
    joules = energy["network"]["joules_compute"]
    spikes = energy["network"].get("spikes")
    return [
        path.name,
        data,
        number(accuracy, ".2%"),
        interval,
        number(test.get("nll"), ".3f"),
        number(test.get("ece"), ".3f"),
        number(test.get("scaled", {}).get("ece"), ".3f"),
        number(test.get("rmse"), ".3f"),
        number(bits.get("weights_stored"), ",.0f"),
        number(spikes, ",.0f"),
        "-" if joules is None else f"{joules * 1e9:,.1f} nJ",
    ]


def show_table(paths: Sequence[Path]) -> None:
    """Print the table; a column that applies to no run is left out."""
    from rich.console import Console
    from rich.table import Table

    found = [measured_on(path) for path in paths]
    mixed = len({str(which) for _, which, _ in found}) > 1
    rows = [row(path, name if mixed else "-") for path, (name, _, _) in zip(paths, found, strict=True)]
    kept = [i for i in range(len(COLUMNS)) if any(cells[i] != "-" for cells in rows)]
    table = Table(box=None, pad_edge=False)
    for i in kept:
        table.add_column(COLUMNS[i], justify="left" if i == 0 else "right", no_wrap=True)
    for cells in rows:
        table.add_row(*(cells[i] for i in kept))
    console = Console(highlight=False)
    # A pipe has no width: let no cell be cut.
    console.width = max(console.width, 140) if not console.is_terminal else console.width
    console.print(table)
    console.print("test set; interval: Wilson, of this many examples", end="; ", style="dim")
    console.print("energy: 45 nm estimate of arithmetic alone, analytic, not measured", style="dim")
    if mixed:
        names = ", ".join(dict.fromkeys(f"{name} ({examples:,} test examples)" for name, _, examples in found))
        typer.echo(f"these runs were measured on different data, {names}: their figures do not compare", err=True)


def show_shipped(paths: Sequence[Path]) -> None:
    """What each run answers with and why, and its warnings, on standard error; runs of earlier versions say nothing."""
    from bitspike.run.folder import RunFolder

    for path in paths:
        result: dict[str, Any] = RunFolder(path).result()
        if "shipped" in result:
            typer.echo(f"{path.name} ships {result['shipped']['why']}", err=True)
        for line in result.get("warnings", ()):
            typer.echo(f"{path.name}  warning: {line}", err=True)
