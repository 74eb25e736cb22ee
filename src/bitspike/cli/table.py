"""The one table of runs the command prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from bitspike.share import wilson

WIDEST = 10_000
# Where a column's number stands in result.json, and how it is written beside the number of test examples.
COLUMNS: dict[str, tuple[str, Callable[[Any, int], str]]] = {
    "accuracy": ("test accuracy", lambda share, _: f"{share:.2%}"),
    "95 % interval": ("test accuracy", lambda share, n: "{:.1%} to {:.1%}".format(*wilson(share, n)) if n > 0 else "-"),
    "NLL": ("test nll", lambda value, _: f"{value:.3f}"),
    "ECE": ("test ece", lambda value, _: f"{value:.3f}"),
    "ECE scaled": ("test scaled ece", lambda value, _: f"{value:.3f}"),
    "RMSE": ("test rmse", lambda value, _: f"{value:.3f}"),
    "weight bits": ("bits weights_stored", lambda count, _: f"{count:,.0f}"),
    "spikes/inference": ("energy network spikes", lambda count, _: f"{count:,.0f}"),
    "energy": ("energy", lambda account, _: _energy(account)),
}


def _energy(account: dict[str, Any]) -> str:
    from bitspike.reports.totals import totals

    joules = totals(account).get("network")
    return "-" if joules is None else f"{joules * 1e9:,.1f} nJ"


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


def drawn_anew(paths: Sequence[Path]) -> bool:
    """Whether the runs are of one data set, with the same options, that each recipe's seed draws."""
    from bitspike.registry import trait
    from bitspike.run.folder import RunFolder

    first, *others = (RunFolder(path).recipe().data for path in paths)
    return all(other == first for other in others) and bool(trait("data", first.set, "generated", False))


def row(path: Path, data: str, examples: int) -> list[str]:
    """A run's cells: name, data and COLUMNS; a dash where a number does not apply."""
    from bitspike.run.folder import RunFolder

    cells, result = [path.name, data], RunFolder(path).result()
    for place, written in COLUMNS.values():
        value: Any = result
        for key in place.split():
            value = value.get(key) if isinstance(value, dict) else None
        cells.append("-" if value is None else written(value, examples))
    return cells


def show_table(paths: Sequence[Path]) -> bool:
    """Print the table; a column that applies to no run is left out. Returns whether the runs are of different data."""
    from rich.console import Console
    from rich.table import Table

    found = [measured_on(path) for path in paths]
    mixed = len({str(which) for _, which, _ in found}) > 1
    rows = [row(path, name if mixed else "-", n) for path, (name, _, n) in zip(paths, found, strict=True)]
    titles = ["run", "data", *COLUMNS]
    kept = [i for i in range(len(titles)) if any(cells[i] != "-" for cells in rows)]
    table = Table(box=None, pad_edge=False)
    for i in kept:
        table.add_column(titles[i], justify="left" if i == 0 else "right", no_wrap=True)
    for cells in rows:
        table.add_row(*(cells[i] for i in kept))
    # As wide as it comes to: no cell is cut, neither in a pipe nor on a narrow terminal, which wraps its lines.
    console = Console(highlight=False, width=WIDEST)
    console.print(table)
    console.print("test set; interval: Wilson, of this many examples", end="; ", style="dim")
    console.print("energy: 45 nm estimate of arithmetic and neurons, analytic, not measured", style="dim")
    if mixed:
        names = dict.fromkeys(f"{name} ({examples:,} test examples)" for name, _, examples in found)
        if len(names) == 1 and drawn_anew(paths):
            said = "each of these runs was measured on data that its own seed drew"
            typer.echo(f"{said}, {next(iter(names))}: they differ by their data too", err=True)
        else:
            said = f"these runs were measured on different data, {', '.join(names)}"
            typer.echo(f"{said}: their figures do not compare", err=True)
    return mixed


def show_shipped(paths: Sequence[Path]) -> None:
    """What each run answers with and why, and its warnings, on standard error; runs of earlier versions say nothing."""
    from bitspike.run.folder import RunFolder

    for path in paths:
        result: dict[str, Any] = RunFolder(path).result()
        if "shipped" in result:
            typer.echo(f"{path.name} ships {result['shipped']['why']}", err=True)
        for line in result.get("warnings", ()):
            typer.echo(f"{path.name}  warning: {line}", err=True)
