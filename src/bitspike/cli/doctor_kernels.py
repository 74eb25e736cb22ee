"""The part of `bitspike doctor` that looks into the kernels."""

from __future__ import annotations

import json

import typer


def back_ends() -> dict[str, str]:
    """Each back end of the time loops, with why it cannot run here."""
    from bitspike.kernels.cpu import back_end as cpu
    from bitspike.kernels.cuda import back_end as cuda

    found = {"reference": "plain PyTorch, any dtype and device"}
    found["cpu"] = cpu.unavailable() or "Numba, compiled on first use"
    found["cuda"] = cuda.unavailable() or "Triton, compiled on first use"
    return found


def print_kernel(kind: str) -> None:
    """Equations of neuron `kind`, what its adjoint keeps, and the generated CPU source."""
    import torch

    from bitspike.errors import refuse
    from bitspike.kernels import Recurrence
    from bitspike.kernels.cpu import back_end as cpu
    from bitspike.kernels.formula import formula
    from bitspike.neurons import with_steps

    known = with_steps()
    if kind not in known:
        refuse("kernel", repr(kind), f"one of {', '.join(known)}")
    neuron = known[kind]()
    state, constants = neuron.initial(torch.zeros(1, 1)), neuron.constants()
    recurrence = Recurrence(neuron.step, type(state), type(constants), neuron.spike)
    typer.echo(f"{kind}: one step in; input x, output y, a prime marks the state after the step")
    for line in formula(recurrence):
        typer.echo(f"  {line}")
    found = recurrence.adjoint(())
    typer.echo(f"kept for the adjoint: {len(found.kept)} value(s) per step; step key {recurrence.traced.key()}")
    typer.echo(cpu.source(found))


def print_layers(name: str, as_json: bool) -> None:
    """What each layer of the recipe's network takes, on one training batch of its data."""
    from bitspike.models.explain import table
    from bitspike.run.explain import explain_recipe
    from bitspike.run.recipe_files import load_recipe

    rows = explain_recipe(load_recipe(name))
    typer.echo(json.dumps([row._asdict() for row in rows]) if as_json else table(rows))
