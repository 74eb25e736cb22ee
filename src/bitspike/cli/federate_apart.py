"""`bitspike federate serve` and `bitspike federate join`: a federation between machines, one command on each."""

from __future__ import annotations

from pathlib import Path

import typer

from bitspike.cli.again import again

SERVE_EXAMPLE = "Example: bitspike federate serve federated-digits --set federation.clients=3 --out runs/three"
JOIN_EXAMPLE = "Example: bitspike federate join --bundle runs/three/join --client 0"


def serve(
    recipe: str = typer.Argument(..., help="A name from `bitspike recipes`, or a TOML file, with [federation] in it."),
    address: str = typer.Option("127.0.0.1:8443", "--address", help="HOST:PORT to listen on, and nowhere else."),
    names: list[str] = typer.Option([], "--name", help="Host in the certificate; clients connect to the first."),
    out: Path | None = typer.Option(None, "--out", help="Run folder (default: runs/NAME); OUT/join is for clients."),
    wait: float = typer.Option(600.0, "--wait", min=1.0, help="Seconds that a round waits for replies."),
    own_data: bool = typer.Option(False, "--own-data", help="Each client brings its own examples, all of them."),
    sets: list[str] = typer.Option([], "--set", help="Override a recipe's key: federation.clients=3. Repeatable."),
    seed: int | None = typer.Option(None, "--seed", min=0, help="Seed (run folder runs/NAME-seed-N)."),
    data: Path | None = typer.Option(None, "--data", help="Data folder; wins over BITSPIKE_DATA."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last round that was saved."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an earlier run in the folder."),
    device: str = typer.Option("cpu", "--device", help="auto, cpu, cuda or mps."),
    threads: int = typer.Option(0, "--threads", min=0, max=1024, help="CPU threads (0: as many as torch takes)."),
) -> None:
    """Serve a federation over TLS to clients that join it (extra flower)."""
    from bitspike.federated.flower.settings import wanted
    from bitspike.paths import folder_for
    from bitspike.run.recipe_files import load_recipe

    wanted("federate serve")
    checked = load_recipe(recipe, sets, seed)
    folder = folder_for(checked.name, out, seed)
    import torch

    from bitspike.federated.flower.deployment import Deployment
    from bitspike.federated.start import federate as start
    from bitspike.run.signals import Interrupted

    if threads:
        torch.set_num_threads(threads)
    how = Deployment(address, tuple(names), wait, own_data, here=False)
    try:
        run = start(
            checked, folder, data=data, engine="flower", resume=resume, overwrite=overwrite, device=device,
            quiet=False, deployment=how,
        )  # fmt: skip
    except Interrupted as stop:
        words = ["federate", "serve", recipe, "--out", str(folder), "--seed", str(checked.seed), "--resume"]
        words += ["--address", address, *(word for name in names for word in ("--name", name))]
        words += [word for entry in sets for word in ("--set", entry)]
        words += ["--own-data"] if own_data else []
        words += ["--data", str(data)] if data else []
        words += ["--wait", f"{wait:g}"] if wait != 600 else []
        words += ["--device", device] if device != "cpu" else []
        words += ["--threads", str(threads)] if threads else []
        typer.echo(f"bitspike: {stop}; to go on: {again(words)}", err=True)
        raise typer.Exit(128 + stop.number) from None
    from bitspike.cli.table import show_shipped, show_table
    from bitspike.reports import report

    typer.echo(f"report: {report(folder)}", err=True)
    show_table([run.path])
    show_shipped([run.path])


def join(
    bundle: Path = typer.Option(Path(), "--bundle", help="client-K.json that the server wrote, or the folder of all."),
    client: int | None = typer.Option(None, "--client", min=0, help="Number of this client, with a folder of bundles."),
    server: str | None = typer.Option(None, "--server", help="HOST:PORT, in place of the bundle's."),
    data: Path | None = typer.Option(None, "--data", help="Data folder; wins over BITSPIKE_DATA."),
    out: Path | None = typer.Option(None, "--out", help="What this client carries (default: runs/NAME-client-K)."),
    wait: float = typer.Option(600.0, "--wait", min=1.0, help="Seconds without the server until it gives up."),
    device: str = typer.Option("cpu", "--device", help="auto, cpu, cuda or mps."),
    threads: int = typer.Option(0, "--threads", min=0, max=1024, help="CPU threads (0: as many as torch takes)."),
) -> None:
    """Take part in a federation with this machine's data, until it is done (extra flower)."""
    import torch

    from bitspike.federated.flower.joining import join as start

    if threads:
        torch.set_num_threads(threads)
    start(bundle, client, server, data, out, device, wait, lambda text: typer.echo(text, err=True))
