"""The one table of runs the command prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = ("run", "accuracy", "NLL", "ECE", "ECE scaled", "RMSE", "weight bits", "spikes/inference", "energy")


def row(path: Path) -> list[str]:
    """A run's cells, in the order of COLUMNS; a dash where a number does not apply."""
    from bitspike.run.folder import RunFolder

    result: dict[str, Any] = RunFolder(path).result()
    test, bits, energy = result["test"], result["bits"], result["energy"]

    def number(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    joules = energy["network"]["joules_compute"]
    spikes = energy["network"].get("spikes")
    return [
        path.name,
        number(test.get("accuracy"), ".2%"),
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

    rows = [row(path) for path in paths]
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
    console.print("test set; energy: 45 nm estimate of arithmetic alone, analytic, not measured", style="dim")


def show_shipped(paths: Sequence[Path]) -> None:
    """What each run answers with and why, and its warnings, on standard error; runs of earlier versions say nothing."""
    import typer

    from bitspike.run.folder import RunFolder

    for path in paths:
        result: dict[str, Any] = RunFolder(path).result()
        if "shipped" in result:
            typer.echo(f"{path.name} ships {result['shipped']['why']}", err=True)
        for line in result.get("warnings", ()):
            typer.echo(f"{path.name}  warning: {line}", err=True)
