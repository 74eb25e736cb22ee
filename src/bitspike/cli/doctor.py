"""`bitspike doctor`: what this installation has and which data it finds."""

from __future__ import annotations

import json

import typer

from bitspike.errors import refuse
from bitspike.version import __version__

EXAMPLE = "Example: bitspike doctor --recipe digits-st"


def doctor(
    kernel: str = typer.Option("", help="Print a neuron's equations and the source generated from them."),
    recipe: str = typer.Option("", help="Say what each layer of a recipe's network runs on, and why."),
    as_json: bool = typer.Option(False, "--json", help="Machine-readable output."),
) -> None:
    """What this installation has, what it lacks, and which kernels it takes."""
    if kernel:
        if recipe:
            refuse("--recipe", "--kernel as well", "one of the two")
        if as_json:
            refuse("--json", "it with --kernel", "it left out: equations and source are text")
        print_kernel(kernel)
        return
    if recipe:
        print_layers(recipe, as_json)
        return
    import os
    import platform

    import torch

    from bitspike import data, registry
    from bitspike.extras import states
    from bitspike.products import capabilities

    found = {
        "bitspike": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "devices": ["cpu", *(["cuda"] if torch.cuda.is_available() else [])],
        "time loops": back_ends(),
        "products": str(capabilities()),
        "BITSPIKE_DATA": os.environ.get("BITSPIKE_DATA", "not set"),
        "data": {name: data.where(name) for name in data.names()},
        "extras": states(),
    }
    if own := registry.own():
        found["own"] = own
    if as_json:
        typer.echo(json.dumps(found))
        return
    for key, value in found.items():
        if isinstance(value, dict):
            typer.echo(key)
            for name, state in value.items():
                typer.echo(f"  {name:<16} {state}")
        else:
            typer.echo(f"{key:<16} {', '.join(value) if isinstance(value, list) else value}")


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

    from bitspike.errors import check_name
    from bitspike.kernels import Recurrence
    from bitspike.kernels.cpu import back_end as cpu
    from bitspike.kernels.formula import formula
    from bitspike.neurons import with_steps

    known = with_steps()
    check_name("kernel", kind, known)
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
