"""`bitspike show RUN`: the network of a run, node by node."""

from __future__ import annotations

import json
from pathlib import Path

import typer

EXAMPLE = "Example: bitspike show runs/digits-st"


def show(
    run: Path = typer.Argument(..., help="A finished run folder."),
    member: str = typer.Option("", "--member", help="Of Bayesian weights: a draw's number, or map."),
    as_json: bool = typer.Option(False, "--json", help="Machine-readable output."),
) -> None:
    """The network of a run: its nodes with their shapes, weights, bits and constants."""
    from bitspike.paths import finished_run

    finished_run(run)
    from bitspike.run.finished import load

    ready = load(run)
    # An ensemble has a plan for each draw, all of one form.
    first: int | str | None = 0 if ready.draws > 1 else None
    asked = int(member) if member.isdecimal() and len(member) < 10 else member
    plan = ready.plan(asked if member else first)
    rows = plan.rows()
    if as_json:
        typer.echo(json.dumps({"run": str(run), "member": plan.member, "nodes": rows}))
        return
    typer.echo(plan.table())
    values = sum(row["weights"] for row in rows)
    bits = sum(tensor.numel() * each for node in plan.nodes for tensor, each in node.weights.values())
    drawn = f"; weights: {plan.member}, of {ready.draws} shipped" if ready.draws > 1 else ""
    drawn = drawn or (f"; weights: {plan.member}" if plan.member else "")
    typer.echo(f"{values:,} values in {bits:,.0f} bits{drawn}")
