"""`bitspike doctor`: what this installation has and which data it finds."""

from __future__ import annotations

import json

import typer

from bitspike.cli.doctor_kernels import back_ends, print_kernel, print_layers
from bitspike.version import __version__

EXAMPLE = "Example: bitspike doctor --recipe digits-st"


def doctor(
    kernel: str = typer.Option("", help="Print a neuron's equations and the source generated from them."),
    recipe: str = typer.Option("", help="Say what each layer of a recipe's network runs on, and why."),
    as_json: bool = typer.Option(False, "--json", help="Machine-readable output."),
) -> None:
    """What this installation has, what it lacks, and which kernels it takes."""
    if kernel:
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
